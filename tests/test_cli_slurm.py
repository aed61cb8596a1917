"""`autoaccel tune --executor slurm`: what it submits, what it says, and what it refuses in one line."""

import json
import sys
from contextlib import closing
from pathlib import Path

import pytest

from autoaccel import api, cli
from autoaccel.errors import UsageError
from autoaccel.storage.folder import RunFolder

MODEL = """
import torch
from torch import nn
from autoaccel import Task
task = Task(model=lambda: nn.Linear(2, 1), train=(torch.randn(80, 2), torch.randn(80, 1)))
"""
SBATCH = '#!/bin/sh\ncp "$1" submitted.sh\necho "Submitted batch job 7"\n'
REFUSED = [
    ("tune m.py --executor slurm --budget 4h --inline", "--executor cannot be slurm"),
    ("tune m.py --executor slurm --budget 4h --dry-run", "does not go with --dry-run"),
    ("tune m.py --executor slurm --budget 4h --fork", "--warm-start RUN does the same"),
    ("tune m.py --executor slurm --flops 1e18", "add --slurm time=8h"),
    ("tune m.py --executor slurm --budget 4h --slurm time=3m", "a duration from 10 min on"),
    ("tune m.py --executor slurm --budget 4h --slurm time=1:00:00x", "is not understood"),
    ("tune m.py --executor slurm --budget 4h --slurm time", "a duration from 10 min on"),
    ("tune m.py --executor slurm --budget 4h --slurm signal=USR1", "not open to choice"),
    ("tune m.py --executor slurm --budget 4h --slurm ntasks-per-node=2", "not open to choice"),
    ("tune m.py --executor slurm --budget 4h --slurm parsable", "not open to choice"),
    ("tune m.py --executor slurm --budget 4h --slurm --gpus=1", "a long option of sbatch"),
    ("tune m.py --executor slurm --budget 4h --slurm mem=", "a long option of sbatch"),
    ("tune m.py --executor slurm --budget 4h --slurm mem=1G --slurm mem=2G", "given twice"),
    ("tune m.py --executor slurm --budget 4h --seed -1", "--seed must be"),
    ("tune m.py --executor slurm --budget 4h --space nothing", "no search space"),
    ("tune m.py --executor slurm --budget 4h --resume", "no unfinished run"),
    ("tune m.py --executor slurm --budget 4h --out m.py/run", "m.py/run: cannot be used as a run folder"),
    ("tune m.py --budget 4h --slurm gpus=1", "--slurm needs --executor slurm"),
    ("tune m.py --budget 4h --executor slurmm", "slurm on the command line"),
]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder with a task, and Slurm's commands, of which `sbatch` takes every job and starts none."""
    commands, folder = tmp_path / "bin", tmp_path / "here"
    commands.mkdir(), folder.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": "#!/bin/sh\n"}.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=":")
    monkeypatch.chdir(folder)
    (folder / "m.py").write_text(MODEL)
    return commands


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["autoaccel", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code, *capsys.readouterr()


def submitted():
    """What the job does, as submitit will read it."""
    from submitit.core.utils import DelayedSubmission

    (path,) = Path().glob("**/7_submitted.pkl")
    return DelayedSubmission.load(path)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0][8:60])
def test_what_cannot_be_sent_is_refused_in_one_line(case, cluster, monkeypatch, capsys):
    pytest.importorskip("submitit")
    command, said = case
    code, out, err = run(monkeypatch, capsys, *command.split())
    assert (code, out) == (2, "") and err.count("\n") == 1 and said in err, err
    assert [path.name for path in Path().iterdir()] == ["m.py"]


def test_the_job_is_the_command_with_the_local_executor(cluster, monkeypatch, capsys):
    pytest.importorskip("submitit")
    given = "tune m.py -b 4h --seed 3 --subject-to size_mb<=1 --subject-to memory_mb<=64 --no-memory --json"
    wanted = "--slurm partition=gpu --slurm gpus=2 --slurm cpus-per-task=8 --slurm job-name=mine --slurm exclusive"
    code, out, err = run(monkeypatch, capsys, *given.split(), "--executor", "slurm", *wanted.split())
    assert (code, err) == (0, "")
    log = str(Path("runs/m.slurm/7_0_log.out"))
    assert json.loads(out) == {"job": "7", "folder": "runs/m", "log": log, "minutes": 245}
    lines = Path("submitted.sh").read_text().splitlines()
    for each in ("partition=gpu", "gpus=2", "cpus-per-task=8", "exclusive", "requeue", "job-name=mine", "time=245"):
        assert f"#SBATCH --{each}" in lines
    assert "#SBATCH --signal=USR2@90" in lines and "--cpus-per-task=8" in lines[-1]
    job = submitted()
    expected = "tune m.py --budget=4h --seed=3 --subject-to=size_mb<=1 --subject-to=memory_mb<=64 --no-memory"
    where = f"--out={Path('runs/m').resolve()}"
    assert job.function._command == [sys.executable, "-m", "autoaccel.cli", *expected.split(), where]
    assert (job._timeout_min, job._timeout_countdown) == (245, 3)


def test_a_shorter_time_is_given_as_often_as_the_budget_needs(cluster, monkeypatch, capsys):
    pytest.importorskip("submitit")
    arguments = "tune m.py --budget 4h --executor slurm --slurm time=65m --out mine"
    code, out, err = run(monkeypatch, capsys, *arguments.split())
    assert (code, err) == (0, "") and "job 7: submitted, for at most 1 h 5 min" in out
    assert "autoaccel status mine" in out and "squeue -j 7" in out and "mine.slurm/7_0_log.out" in out
    assert "#SBATCH --time=65" in Path("submitted.sh").read_text()
    assert submitted()._timeout_countdown == 3 + 3  # four jobs of an hour, and three more


def test_what_submitit_leaves_is_beside_the_run_folder(cluster, monkeypatch, capsys):
    """It leaves links, and a run folder that holds any is refused: the job could not run."""
    pytest.importorskip("submitit")
    Path("mine").mkdir()
    monkeypatch.chdir("mine")
    code, _, err = run(
        monkeypatch, capsys, *["tune", "../m.py", "--budget", "4h", "--executor", "slurm", "--out", "."]
    )
    assert (code, err) == (0, "") and {path.name for path in Path().iterdir()} == {"submitted.sh"}
    with closing(RunFolder(Path())):
        assert any(path.is_symlink() for path in Path("../mine.slurm").iterdir())


def test_two_submissions_have_two_folders(cluster, monkeypatch, capsys):
    """The first job may wait for hours, and has written nothing then."""
    pytest.importorskip("submitit")
    arguments = "tune m.py --budget 4h --executor slurm --json"
    folders = [json.loads(run(monkeypatch, capsys, *arguments.split())[1])["folder"] for _ in range(2)]
    assert folders == ["runs/m", "runs/m-2"]


def test_what_sbatch_says_is_one_line_and_nothing_is_left(cluster, monkeypatch, capsys):
    pytest.importorskip("submitit")
    (cluster / "sbatch").write_text(
        "#!/bin/sh\necho 'sbatch: error: invalid partition\nsbatch: error: failed' >&2\nexit 1\n"
    )
    code, out, err = run(monkeypatch, capsys, *["tune", "m.py", "--budget", "4h", "--executor", "slurm"])
    assert (code, out) == (2, "")
    assert err == "error: the job was not submitted: sbatch: error: invalid partition sbatch: error: failed\n"
    assert [path.name for path in Path().iterdir()] == ["m.py"]


def test_without_slurm_or_submitit_a_line_says_so(cluster, monkeypatch, capsys):
    arguments = ["tune", "m.py", "--budget", "4h", "--executor", "slurm"]
    pytest.importorskip("submitit")
    (cluster / "srun").unlink()
    monkeypatch.setenv("PATH", str(cluster))
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "") and "no srun on this machine" in err and err.count("\n") == 1
    monkeypatch.delitem(sys.modules, "autoaccel.execution.slurm")
    monkeypatch.delattr("autoaccel.execution.slurm")
    monkeypatch.setitem(sys.modules, "submitit", None)
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "") and "pip install 'autoaccel[slurm]'" in err and err.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["m.py"]


def test_from_python_the_command_is_named(cluster):
    with pytest.raises(UsageError, match=r"autoaccel tune model.py \.\.\. --executor slurm"):
        api.tune("m.py", "4h", executor="slurm")
    assert [path.name for path in Path().iterdir()] == ["m.py"]
