"""A notebook whose cells define the model and the task, run by a real kernel."""

import pytest

CELLS = [
    "import torch\nfrom torch import nn\nfrom autoaccel import Task, tune",
    """class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
    def forward(self, x):
        return self.layers(x)
x = torch.rand(600, 4)
task = Task(model=Net, train=(x, (x.sum(1) > 2).long()), space={"width": (4, 16)})""",
    "result = tune(task, budget='2e7 FLOPs')",
    "print(result.model()(x[:3]).shape, type(result.leaderboard()).__name__, result.report().exists())",
]


@pytest.mark.slow
def test_a_task_made_of_cells(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    nbclient.NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert notebook.cells[-1].outputs[-1].text.strip() == "torch.Size([3, 2]) DataFrame True"
