"""A notebook whose cells define the model and the task, run by a real kernel."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
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


def kernel():
    """Return the process ID of the kernel, or None."""
    children = psutil.Process().children(recursive=True)
    return next((each.pid for each in children if any("ipykernel" in word for word in each.cmdline())), None)


def press_stop(log):
    """Send what the button sends when some trials are complete; return the time."""
    end = time.monotonic() + 90
    while not (log.exists() and log.read_text().count('"complete"') > 2) and time.monotonic() < end:
        time.sleep(0.1)
    os.kill(kernel(), signal.SIGINT)
    return time.monotonic()


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_the_stop_button_ends_a_run_with_what_was_found(tmp_path):
    """The button sends SIGINT to the kernel: the cell ends by itself, with a result, and the kernel lives on."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    last = (
        "result = tune(task, budget='100s', out='run')\nprint(result.data['status'], result.model()(x[:3]).shape)"
    )
    cells = [nbformat.v4.new_code_cell(source) for source in [*CELLS[:2], last, "print('alive')"]]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = nbclient.NotebookClient(notebook, timeout=140, resources={"metadata": {"path": str(tmp_path)}})
    with ThreadPoolExecutor(1) as pool:
        pressed = pool.submit(press_stop, tmp_path / "run" / "events.log")
        client.execute()
        assert time.monotonic() - pressed.result() < 40
    assert notebook.cells[-2].outputs[-1].text.strip() == "interrupted torch.Size([3, 2])"
    assert notebook.cells[-1].outputs[-1].text.strip() == "alive"
