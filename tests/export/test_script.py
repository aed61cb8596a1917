"""The exported script trains what autoaccel trains, and can be read."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import autoaccel
from autoaccel.api import train
from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import PLAIN, Choice, Recipe
from autoaccel.core.schedules import Schedule
from autoaccel.core.trial import TrialRequest
from autoaccel.errors import UsageError
from autoaccel.export.script import recipe_files, training_script
from autoaccel.export.sources import declared
from autoaccel.techniques.registry import classes
from autoaccel.training.data.discovery import load_target, resolve
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment

PACKAGE = Path(autoaccel.__file__).parent
MODEL = """
import torch
from torch import nn
from autoaccel import Task
x = torch.rand(500, 4, generator=torch.Generator().manual_seed(0))
net = lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
task = Task(model=net, train=(x, (x.sum(1) > 2).long()), test=(x[:50], (x[:50].sum(1) > 2).long()))
"""
IMAGES = """
import torch
from torch import nn
from autoaccel import Task
x = torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(0))
y = (x[:, 0, :4].mean((1, 2)) > x[:, 0, 4:].mean((1, 2))).long()
def net():
    body = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(128, 2))
task = Task(model=net, train=(x, y), test=(x[:50], y[:50]), class_weights=(1.0, 2.0))
"""
PRICES = """
import torch
from torch import nn
from autoaccel import Task
x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
task = Task(model=lambda: nn.Linear(4, 1), train=(x, x.sum(1) + 5), valid=(x[:50], x[:50].sum(1) + 5))
"""
AVERAGED = Recipe(
    Choice("muon", {"lr": Schedule(0.02, 0.01), "weight_decay": 0.1}),
    Choice("rex", {"warmup": 0.1}),
    Choice("constant_batch", {"size": 32}),
    {"mixup": {"alpha": 0.2}, "ema": {"half_life": 0.05}, "clip": {}},
)
SMOOTHED = Recipe(
    Choice("sgd", {"lr": 0.1, "momentum": Schedule(0.8, 0.9), "weight_decay": Schedule(0.01, 0.0)}),
    Choice("cosine", {"floor": 0.01}),
    Choice("constant_batch", {"size": 48}),
    {"clip": {"norm": 0.5}, "label_smoothing": {"eps": Schedule(0.2, 0.1)}},
)
ADAPTED = Recipe(Choice("adamw", {"lr": 0.01}), Choice("constant"), techniques={"lora": {"rank": 4}, "swa": {}})
OVERFITTING = """
import torch
from torch import nn
from autoaccel import Task

generator = torch.Generator().manual_seed(0)
x = torch.randn(600, 20, generator=generator)
y = (x @ torch.randn(20, 3, generator=generator)).argmax(1)
wrong = torch.rand(400, generator=generator) < 0.3
y[:400][wrong] = torch.randint(0, 3, (int(wrong.sum()),), generator=generator)
task = Task(
    lambda: nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 3)),
    train=(x[:200], y[:200]), valid=(x[200:400], y[200:400]), test=(x[400:], y[400:]), metric="loss",
)
"""
PRUNED = Recipe(Choice("sgd"), Choice("wsd"), techniques={"structured_pruning": {}, "cutout": {}})
SELECTING = Recipe(techniques={"infobatch": {}, "ema": {"half_life": 0.05}})
UNEVEN = Recipe(  # three samples of a batch for one process, two for the other
    Choice("sgd", {"lr": 0.1}), Choice("constant"), Choice("constant_batch", {"size": 5}), {"ema": {}}
)
AVERAGING = Recipe(  # after each step of SGD, which is as good as averaging gradients
    Choice("sgd", {"lr": 2.0, "momentum": 0.0}),
    Choice("constant"),
    techniques={"local_sgd": {"after": 0.0, "every": 1e-6}},
)
RECIPES = {
    "plain": PLAIN["plain"],
    "averaged": AVERAGED,
    "smoothed": SMOOTHED,
    "adapted": ADAPTED,
    "pruned": PRUNED,
    "selecting": SELECTING,
}


def write(folder, recipe, target, *, steps=60, micro_batch=0, milestones=()):
    """The script and what lies beside it."""
    files = {"train_best.py": training_script(recipe, str(target), 0, {"steps": steps}, micro_batch, milestones)}
    for name, text in {**files, **recipe_files(recipe, milestones)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "train_best.py"


def run(*arguments, cwd):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def losses(output):
    return [float(line.rpartition("loss ")[2]) for line in output.splitlines() if "loss " in line]


@pytest.mark.parametrize(
    ("name", "model", "micro_batch"),
    [
        ("averaged", MODEL, 0),
        ("plain", MODEL, 0),
        pytest.param("plain", MODEL, 24, marks=pytest.mark.slow),
        pytest.param("plain", IMAGES, 0, marks=pytest.mark.slow),
        pytest.param("smoothed", IMAGES, 0, marks=pytest.mark.slow),
        pytest.param("adapted", MODEL, 0, marks=pytest.mark.slow),
        pytest.param("pruned", IMAGES, 0, marks=pytest.mark.slow),
        pytest.param("averaged", MODEL, 20, marks=pytest.mark.slow),
    ],
)
def test_the_script_trains_what_train_does(tmp_path, name, model, micro_batch):
    """With as many steps and the same seed it finds the same losses, in micro-batches too."""
    (tmp_path / "model.py").write_text(model)
    recipe = RECIPES[name]
    result = train(str(tmp_path / "model.py"), recipe, Budget(steps=80), out=tmp_path / "run", devices="cpu")
    script = write(tmp_path, recipe, tmp_path / "model.py", steps=80, micro_batch=micro_batch)
    final = result.data["final"]
    expected = [final["validation"]["loss"], final["test"]["loss"]]
    assert losses(run(script, cwd=tmp_path))[-2:] == pytest.approx(expected, rel=1e-4)
    assert (tmp_path / "model.safetensors").stat().st_size > 0


@pytest.mark.parametrize("recipe", [PLAIN["plain"], Recipe(techniques={"ema": {}})], ids=["plain", "averaged"])
def test_the_script_keeps_the_best_weights_as_training_does(tmp_path, recipe, one_thread):
    """On a table that overfits: the same milestone, the same scores, the same weights."""
    (tmp_path / "model.py").write_text(OVERFITTING)
    shares = tuple((i + 1) / 8 for i in range(8))
    request = TrialRequest(0, recipe, Budget(steps=400), milestones=shares, test=True, keep_best=True)
    environment = TrialEnvironment(SimulatedClock(), 0.0, lambda made: True, tmp_path / "run", cpu=True)
    outcome = run_trial(resolve(load_target(str(tmp_path / "model.py"))), request, environment)
    assert outcome.final.progress < 1, outcome.reason
    output = run(write(tmp_path, recipe, tmp_path / "model.py", steps=400, milestones=shares), cwd=tmp_path)
    assert f"the weights after {outcome.final.progress:.0%} are kept" in output
    kept, tested = losses(output)[-2:]
    assert (kept, tested) == pytest.approx((outcome.final.loss, outcome.test["loss"]), rel=1e-3)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path / "run", tmp_path))
    assert all(torch.allclose(ours[name], theirs[name], atol=5e-3) for name in theirs)


@pytest.mark.parametrize(
    ("recipe", "model"),
    [
        pytest.param(PLAIN["plain"], MODEL, id="plain", marks=pytest.mark.slow),
        pytest.param(SELECTING, MODEL, id="selecting"),
        pytest.param(UNEVEN, PRICES, id="uneven"),
        pytest.param(AVERAGING, MODEL, id="averaging"),
    ],
)
def test_two_processes_train_what_one_does(tmp_path, recipe, model):
    """Data parallel with gloo: the same batches, so the same losses. Processes that did not find each other would
    each say what they found."""
    (tmp_path / "model.py").write_text(model)
    script = write(tmp_path, recipe, tmp_path / "model.py", milestones=(0.25, 0.5, 1.0))
    found = []
    for count in (1, 2):
        launch = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count), script)
        output = run(*launch, cwd=tmp_path)
        assert output.count("validation at 100%") == 1
        found.append(losses(output)[-1])
    assert found[0] == pytest.approx(found[1], rel=1e-3)


BLOCKED = (
    "autoaccel",
    "pydantic",
    "optuna",
    "psutil",
    "yaml",
    "typer",
    "rich",
    "plotly",
    "filelock",
    "cloudpickle",
)
WITHOUT = """
import runpy, sys

class Block:
    def find_spec(self, name, *rest):
        frame = sys._getframe(1)
        while "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        # Other packages may look for some of them, and go on without.
        if name.partition(".")[0] in BLOCKED and "site-packages" not in frame.f_code.co_filename:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Block())
sys.path.insert(0, FOLDER)
sys.argv = ["train_best.py"]
runpy.run_path(FOLDER + "/train_best.py", run_name="__main__")
assert not any(name.startswith("autoaccel.") for name in sys.modules)
"""


@pytest.mark.parametrize("name", ["plain", "pruned", "selecting"])
def test_nothing_else_has_to_be_installed(tmp_path, name):
    (tmp_path / "model.py").write_text(IMAGES)
    write(tmp_path, RECIPES[name], tmp_path / "model.py", steps=3)
    (tmp_path / "without.py").write_text(f"BLOCKED, FOLDER = {BLOCKED}, {str(tmp_path)!r}\n{WITHOUT}")
    assert "validation at 100%" in run("without.py", cwd=tmp_path)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("milestones", [(), tuple((i + 1) / 16 for i in range(16))])
def test_a_script_can_be_read(name, milestones):
    script = training_script(RECIPES[name], "model.py", 0, {"steps": 3}, 16, milestones)
    ast.parse(script)
    lines = script.splitlines()
    assert len(lines) <= 200
    assert max(map(len, lines)) <= 120
    assert not any(line != line.rstrip() for line in lines)
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--line-length", "116", "--diff", "-"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    assert formatted.returncode == 0, formatted.stdout
    checks = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "E,F,W,I,B,N",
        "--line-length",
        "120",
        "-",
    ]
    checks += ["--config", "lint.isort.known-first-party = ['autoaccel_recipe']"]
    checked = subprocess.run(checks, input=script, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", [n for n, c in classes().items() if "reference" not in c.info.requires])
def test_every_technique_has_a_readable_script(name):
    """Its file is read as text: what that says is what the class says, and each of its hooks is called."""
    info = classes()[name].info
    script = training_script(
        Recipe(**{info.component: Choice(name)} if info.component else {"techniques": {name: {}}}),
        "model.py",
        0,
        {},
        milestones=(0.5, 1.0),
    )
    assert len(script.splitlines()) <= 200
    if f"\n{name} = " in script:
        for hook in set(info.hooks) - {"select", "loss"}:  # the sampler and the context call these
            assert f"{name}.{hook}(context" in script
    assert declared()[name].hooks == set(info.hooks)
    assert declared()[name].parallel == info.parallel
    assert declared()[name].order == info.order


CROWD = ("ema", "data_size", "flip", "crop", "cutout", "mixup", "focal", "dirac", "layer_freezing", "magnitude_pruning",
         "channels_last", "lookahead", "decoupled", "sam", "clip", "bf16", "device_data", "loader")  # fmt: skip


def test_a_crowd_of_techniques_is_called_in_loops():
    recipe = Recipe(Choice("sgd"), Choice("cosine"), Choice("batch_ramp"), {name: {} for name in CROWD})
    script = training_script(recipe, "model.py", 0, {}, milestones=(0.5, 1.0))
    assert len(script.splitlines()) <= 200 and max(map(len, script.splitlines())) <= 120
    assert "for technique in (data_size, flip, crop, cutout, mixup, channels_last, sam):" in script
    assert "stack.enter_context(technique.step(context))" in script


def test_what_is_written_out_has_its_place():
    """The script sets the learning rate and clips inside all `step` hooks, which is right as long as nobody else
    acts on gradients after the clipping, and only batch sizes come later."""
    after = {n for n, c in classes().items() if "step" in c.info.hooks and c.info.order >= 62}
    shapes = {n for n, c in classes().items() if c.info.component == "learning_rate"}
    assert after == {"sam", "clip", "constant_batch", "batch_ramp"} | shapes


@pytest.mark.parametrize("name", RECIPES)
def test_copies_are_whole(name):
    files = recipe_files(RECIPES[name])
    licence = files["autoaccel_recipe/LICENSE"]
    assert licence == (PACKAGE.parent / "LICENSE").read_text()
    copied = {path for path in files if path.endswith(".py")} - {"autoaccel_recipe/__init__.py"}
    for path in copied:
        source = (PACKAGE / path.removeprefix("autoaccel_recipe/")).read_text()
        assert files[path].replace("from autoaccel_recipe.", "from autoaccel.") == source
        assert "import autoaccel" not in files[path]


def test_a_plain_script_needs_no_technique():
    files = recipe_files(PLAIN["plain"])
    assert {path for path in files if "techniques/" in path} == {
        f"autoaccel_recipe/techniques/{name}.py"
        for name in ("__init__", "context", "shared/__init__", "shared/frozen", "shared/modules", "shared/tensors")
    }
    assert "TrainingContext" not in training_script(PLAIN["plain"], "model.py", 0, {})


def test_hostile_names_stay_data():
    for name in ("a' + evil() + '\n.py", 'a""" + evil() + """\\', "{{ evil() }}"):
        script = training_script(PLAIN["plain"], name, 0, {})
        assert "evil" not in {n.id for n in ast.walk(ast.parse(script)) if isinstance(n, ast.Name)}
        assert next(n for n in ast.parse(script).body if isinstance(n, ast.Assign)).value.value == name


def test_a_technique_of_another_package_is_named():
    with pytest.raises(UsageError, match="magic"):
        training_script(Recipe(techniques={"magic": {}}), "model.py", 0, {})


def test_a_script_carries_no_teacher():
    with pytest.raises(UsageError, match="distillation would learn from"):
        training_script(Recipe(techniques={"distillation": {}}), "model.py", 0, {})
