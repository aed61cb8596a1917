"""The commands as a user types them, in real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DIGITS = str(Path(__file__).parents[1] / "examples" / "digits.py")


def call(*arguments, cwd, **options):
    command = [sys.executable, "-m", "autoaccel.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=200, **options)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """One real run, shared by the tests that examine its results."""
    folder = tmp_path_factory.mktemp("tuned")
    started = time.monotonic()
    result = call("tune", DIGITS, "--budget", "40s", "--json", cwd=folder)
    return folder, result, time.monotonic() - started


def test_a_run_ends_in_time_with_everything(tuned):
    folder, result, seconds = tuned
    assert result.returncode == 0, result.stderr
    assert seconds < 42
    data = json.loads(result.stdout)
    assert data["final"]["test"]["metric"] < 1.0
    assert data["comparison"]["plain"]["trial"] is not None
    run = folder / "runs" / "digits"
    for name in data["paths"]:
        assert (run / name).stat().st_size > 0, name
    assert not list(run.glob("trials/*/model.safetensors"))


def test_the_study_opens_in_optuna(tuned):
    import optuna

    storage = f"sqlite:///{tuned[0]}/runs/digits/study.db"
    study = optuna.load_study(study_name="digits", storage=storage)
    assert study.best_trial.value is not None
    assert any(name.startswith("digits @ ") for name in optuna.get_all_study_names(storage))


def test_the_model_loads_as_printed(tuned):
    folder, result, _ = tuned
    lines = json.loads(result.stdout)["load"]
    code = "import torch\ninputs = torch.zeros(2, 1, 8, 8)\n" + lines + "\nprint(output.shape)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder / "runs/digits", capture_output=True, text=True, check=False
    )
    assert "torch.Size([2, 10])" in done.stdout, done.stderr


@pytest.mark.slow
def test_the_script_trains_without_autoaccel(tuned, tmp_path):
    """It reaches the loss of the final training up to the noise of the seed, with autoaccel blocked from import."""
    folder, result, _ = tuned
    script = folder / "runs/digits/train_best.py"
    (tmp_path / "run.py").write_text(
        "import sys, runpy, importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'autoaccel' else find(name, *rest)\n"
        "class Block:\n    def find_spec(self, name, *rest):\n"
        "        if name.partition('.')[0] == 'autoaccel': raise ImportError(name)\n"
        f"sys.meta_path.insert(0, Block())\nsys.path.insert(0, {str(script.parent)!r})\n"
        f"sys.argv = [{str(script)!r}]\nrunpy.run_path({str(script)!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    test = float(done.stdout.split("test: metric ")[1].split(",")[0])
    assert test < json.loads(result.stdout)["final"]["test"]["metric"] + 0.1


def test_report_and_export_read_the_folder(tuned):
    folder, _, _ = tuned
    assert call("report", "runs/digits", cwd=folder).returncode == 0
    page = (folder / "runs/digits/report.html").read_text()
    assert "At equal budget" in page
    for form in ("yaml", "json", "accelerate", "script"):
        done = call("export", "runs/digits", "--format", form, cwd=folder)
        assert done.returncode == 0 and done.stdout, done.stderr


def test_train_with_a_recipe(tmp_path):
    done = call("train", DIGITS, "--recipe", "plain", "--steps", "20", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["final"]["validation"]["loss"] > 0


SLOW_METRIC = """
import time
import torch
from torch import nn
from autoaccel import Task
x = torch.rand(5000, 20, generator=torch.Generator().manual_seed(0))
y = (x.sum(1) > 10).long()

def agreement(targets, predicted):
    time.sleep(0.2)
    return float((targets == predicted).mean())

task = Task(
    model=lambda: nn.Linear(20, 2), train=(x, y), test=(x[:500], y[:500]), metric=agreement, direction="max"
)
"""


@pytest.mark.slow
def test_a_slow_metric_keeps_the_budget(tmp_path):
    """Its calls are reserved for: those of each evaluation, and those of the standard errors at the end."""
    (tmp_path / "model.py").write_text(SLOW_METRIC)
    started = time.monotonic()
    done = call("train", "model.py", "--recipe", "plain", "--budget", "25s", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 27
    final = json.loads(done.stdout)["final"]
    assert final["cost"]["steps"] > 100 and final["validation"]["standard_error"] > 0


@pytest.mark.slow
def test_kill_and_resume(tmp_path):
    """A resumed run continues with the rest of its budget and keeps its finished trials."""
    command = [sys.executable, "-m", "autoaccel.cli", "tune", DIGITS, "--budget", "30s", "--quiet"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    log = tmp_path / "runs/digits/events.log"
    deadline = time.monotonic() + 25
    while time.monotonic() < deadline and not (log.exists() and log.read_text().count('"finished"') >= 2):
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    spent = json.loads((tmp_path / "runs/digits/account.json").read_text())["seconds"]
    refused = call("tune", DIGITS, "--budget", "30s", cwd=tmp_path)
    assert refused.returncode == 2 and "--resume" in refused.stderr
    started = time.monotonic()
    done = call("tune", DIGITS, "--budget", "30s", "--resume", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 31.5 - spent
    assert json.loads(done.stdout)["trials"]["complete"] >= 3


def test_interrupt_leaves_a_recipe(tmp_path):
    command = [sys.executable, "-m", "autoaccel.cli", "tune", DIGITS, "--budget", "60s", "--quiet"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    log = tmp_path / "runs/digits/events.log"
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline and not (log.exists() and '"complete"' in log.read_text()):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=15) == 6
    for name in ("recipe.yaml", "model.safetensors", "report.html"):
        assert (tmp_path / "runs/digits" / name).exists()


def begin(folder, *arguments):
    """Start a command in its own process."""
    command = [sys.executable, "-m", "autoaccel.cli", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path, text, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not (path.exists() and text in path.read_text()):
        time.sleep(0.05)


def begin_training(folder):
    """Start a training of the digits that would take minutes, and wait until it runs."""
    (folder / "model.py").write_text(
        f"import sys\nfrom dataclasses import replace\nsys.path.insert(0, {str(Path(DIGITS).parent)!r})\n"
        "from digits import net, task as digits\n\n\n"
        "def speaking():\n    made, calls = net(), []\n"
        "    def count(*_):\n        calls.append(1)\n        if len(calls) == 30:\n"
        "            print('under way', flush=True)\n"
        "    made.register_forward_hook(count)\n    return made\n\n\ntask = replace(digits, model=speaking, space={})\n"
    )
    process = begin(folder, "train", "model.py", "--recipe", "plain", "--budget", "10m")
    wait_for(folder / "runs/model-train/trials/0000/log.txt", "under way", seconds=120)
    return process


def test_an_interrupted_training_anneals_and_is_delivered(tmp_path):
    process = begin_training(tmp_path)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 6, errors
    lines = errors.splitlines()
    assert lines[0].startswith("finishing: annealing over about the next ")
    assert "100%: metric" in lines[-2] and "interrupted; what was found is in" in lines[-1]
    assert "asked to finish early, after" in output
    run = tmp_path / "runs/model-train"
    data = json.loads((run / "result.json").read_text())
    assert data["status"] == "interrupted" and data["final"]["test"]["loss"] > 0
    assert 0 < data["final"]["cost"]["steps"] < 10000
    assert (run / "model.safetensors").exists() and (run / "recipe.yaml").exists()


def test_a_training_that_is_interrupted_twice_stops_at_once_and_leaves_a_checkpoint(tmp_path):
    process = begin_training(tmp_path)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    _, errors = process.communicate(timeout=60)
    if process.returncode == 6:  # between the two it had annealed, which takes a third of a second here
        assert (tmp_path / "runs/model-train/result.json").exists()
        return
    assert process.returncode == 130, errors
    assert "`autoaccel resume runs/model-train` goes on from its last checkpoint" in errors
    assert not (tmp_path / "runs/model-train/result.json").exists()
    done = call("train", "model.py", "--recipe", "plain", "--budget", "9m", "--resume", cwd=tmp_path)
    assert done.returncode == 2 and "budget: 10 min then, 9 min now" in done.stderr


@pytest.mark.slow
def test_an_interrupted_final_training_anneals_and_is_delivered(tmp_path):
    (tmp_path / "model.py").write_text(
        "import torch\nfrom torch import nn\nfrom autoaccel import Task\nx = torch.rand(3000, 4)\n"
        "y = (x.sum(1) > 2).long()\ntask = Task(model=lambda: nn.Linear(4, 2), train=(x, y), test=(x[:99], y[:99]))\n"
    )
    process = begin(tmp_path, "tune", "model.py", "--budget", "30s")
    wait_for(tmp_path / "runs/model/events.log", '"purpose": "final"', seconds=120)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 6, errors
    assert sum(line.startswith("finishing: annealing") for line in errors.splitlines()) == 1
    data = json.loads((tmp_path / "runs/model/result.json").read_text())
    assert data["status"] == "interrupted" and data["final"]["reason"] == "asked to finish early"
    assert data["final"]["test"] and data["final"]["cost"]["seconds"] < 8
    resumed = call("tune", "model.py", "--budget", "30s", "--resume", "--json", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["final"] == data["final"]


@pytest.mark.parametrize(
    ("content", "arguments", "code", "message"),
    [
        (None, ["--budget", "30s"], 3, "no such file"),
        ("x = (", ["--budget", "30s"], 3, "model.py:1"),
        ("x = 1", ["--budget", "30s"], 3, "no task found"),
        ("\nimport nothing_like_this", ["--budget", "30s"], 3, "model.py:2"),
        ("x = 1", ["--budget", "4"], 2, "needs a unit"),
        ("x = 1", [], 2, "a budget is needed"),
        ("x = 1", ["--budget", "30s", "--workers", "0"], 2, "--workers"),
        ("x = 1", ["--budget", "30s", "--warm-start", "nowhere"], 2, "--warm-start nowhere: no such folder"),
    ],
)
def test_bad_input_is_one_clear_message(tmp_path, content, arguments, code, message):
    if content is not None:
        (tmp_path / "model.py").write_text(content)
    done = call("tune", "model.py", *arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"model.py", "__pycache__"}


def test_small_commands(tmp_path):
    assert "autoaccel" in call("--version", cwd=tmp_path).stdout
    assert "vision" in call("spaces", cwd=tmp_path).stdout
    assert "optimizer" in call("spaces", "vision", cwd=tmp_path).stdout
    assert call("init", cwd=tmp_path).returncode == 0
    profile = call("profile", "model.py", cwd=tmp_path)
    assert profile.returncode == 0 and "FLOPs" in profile.stdout, profile.stderr


def test_the_supervisor_never_imports_torch(tmp_path):
    """It does not touch a GPU either: only the fork server and its workers do, in their own processes."""
    (tmp_path / "model.py").write_text(
        "import torch\nfrom torch import nn\nfrom autoaccel import Task\nx = torch.rand(300, 4)\n"
        "task = Task(model=lambda: nn.Linear(4, 2), train=(x, (x.sum(1) > 2).long()))\n"
    )
    code = (
        "import atexit, sys\natexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
        "from autoaccel.cli import main\nmain()"
    )
    command = [sys.executable, "-c", code, "tune", "model.py", "--flops", "4e6", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "False"


def test_what_the_users_file_prints_does_not_mix_with_the_result(tmp_path):
    (tmp_path / "model.py").write_text(
        "import torch\nfrom torch import nn\nfrom autoaccel import Task\nprint('hello')\nx = torch.rand(300, 4)\n"
        "task = Task(model=lambda: nn.Linear(4, 2), train=(x, (x.sum(1) > 2).long()))\n"
    )
    done = call("train", "model.py", "--recipe", "plain", "--steps", "3", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["status"] == "complete"
    assert "hello" in (tmp_path / "runs/model-train/import.txt").read_text()


def test_a_plan_tells_what_a_budget_would_bring_and_trains_nothing(tmp_path):
    (tmp_path / "model.py").write_text(
        "import torch\nfrom torch import nn\nfrom autoaccel import Task\ntorch.set_num_threads(1)\n"
        "x = torch.rand(600, 4)\ny = (x.sum(1) > 2).long()\n"
        "task = Task(model=lambda: nn.Linear(4, 2), train=(x, y))\n"
    )
    done = call("plan", "model.py", "--budget", "10m", "--no-memory", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert any(line.startswith("budget: 10 min") for line in told["plan"])
    assert [row["factor"] for row in told["budgets"]] == [0.5, 1, 2]
    for row in told["budgets"]:
        assert 0 < row["outcome"]["low"] <= row["outcome"]["expected"] <= row["outcome"]["high"]
        assert sum(row["trials"].values()) > 1
    assert told["budgets"][1]["plain"]["expected"] == 1
    assert not (tmp_path / "runs").exists()
    refused = call("plan", "model.py", cwd=tmp_path)
    assert refused.returncode == 2 and "--budget 4h" in refused.stderr


@pytest.mark.slow
def test_the_memory_is_listed_and_forgotten(tmp_path):
    """A real run leaves its recipes, and the next one says which it tries early."""
    (tmp_path / "model.py").write_text(
        "import torch\nfrom torch import nn\nfrom autoaccel import Task\ntorch.set_num_threads(1)\n"
        "x = torch.rand(600, 4)\ny = (x.sum(1) > 2).long()\n"
        "task = Task(model=lambda: nn.Linear(4, 2), train=(x, y))\n"
    )
    environment = {**os.environ, "AUTOACCEL_MEMORY": str(tmp_path / "data" / "memory.jsonl")}

    def called(*arguments):
        return call(*arguments, cwd=tmp_path, env=environment)

    assert "nothing is remembered in" in called("memory", "list").stdout
    done = called("tune", "model.py", "--flops", "1e7", "--quiet")
    assert done.returncode == 0, done.stderr
    table = called("memory", "list").stdout.splitlines()
    assert table[1].split()[:4] == ["1", "table,", "classes", "accuracy"] and float(table[1].split()[4]) < 1
    assert len(json.loads(called("memory", "list", "--json").stdout)) == len(table) - 2
    planned = called("tune", "model.py", "--flops", "1e7", "--dry-run", "--warm-start", "runs/model").stdout
    assert "warm start 1: " in planned
    assert "memory 1: " in called("tune", "model.py", "--flops", "1e7", "--dry-run").stdout
    assert called("memory", "forget").returncode == 2
    assert called("memory", "forget", "1").returncode == 0
    assert called("memory", "forget", "--all").returncode == 0
    assert "nothing is remembered in" in called("memory", "list").stdout
    assert "off" in call("memory", "list", cwd=tmp_path).stdout


def test_techniques_are_listed_and_shown(tmp_path):
    assert "progressive_resizing" in call("techniques", cwd=tmp_path).stdout
    (shown,) = json.loads(call("techniques", "ema", "--json", cwd=tmp_path).stdout)
    assert shown["parameters"]["half_life"]["domain"]["log"] and shown["hooks"] == ["step", "evaluate"]
    wrong = call("techniques", "emma", cwd=tmp_path)
    assert wrong.returncode == 2 and "did you mean 'ema'" in wrong.stderr
