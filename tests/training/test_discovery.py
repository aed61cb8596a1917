"""Files as people write them are imported; what cannot be is refused in one line."""

import sys
from pathlib import Path

import pytest
import torch

from autoaccel.core.target import module_of, target_name
from autoaccel.errors import TaskError
from autoaccel.training.data.discovery import load_target, resolve, with_data

BODY = """
import torch
from autoaccel import Task
task = Task(model=lambda: torch.nn.Linear(4, 2), train=(torch.rand(40, 4), torch.arange(40) % 2))
"""


@pytest.fixture(autouse=True)
def unchanged():
    """Imports in this process leave nothing behind."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if "autoaccel" not in name:
            del sys.modules[name]


def write(path, text=BODY):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_a_file_is_a_script_without_arguments(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["autoaccel", "tune", "--budget", "3"])
    parser = "import argparse, sys\nparser = argparse.ArgumentParser()\nparser.add_argument('--lr', default=1)\n"
    path = write(tmp_path / "model.py", parser + "given = parser.parse_args(), sys.argv\n" + BODY)
    load_target(path)
    assert sys.modules["model"].given[0].lr == 1 and sys.modules["model"].given[1] == [path]
    assert sys.argv[1] == "tune"
    needed = write(tmp_path / "model.py", parser.replace("default", "required") + "parser.parse_args()\n")
    with pytest.raises(TaskError, match=r"model\.py:4: it ends the process when it is imported \(exit 2\)"):
        load_target(needed)


def test_code_below_the_main_guard_does_not_run(tmp_path):
    load_target(write(tmp_path / "model.py", BODY + "if __name__ == '__main__':\n    raise SystemExit(3)\n"))


@pytest.mark.parametrize("folder", ["", "sub"])
def test_a_file_of_a_package_is_imported_under_its_name(tmp_path, folder):
    for content in ("1", "2"):  # another folder with a package of the same name
        root = tmp_path / content / "mypack"
        write(root / "__init__.py", "")
        write(root / folder / "__init__.py", "")
        write(root / folder / "parts.py", f"content = {content}\n")
        write(root / folder / "numbers.py", "raise RuntimeError('hides a module of Python')\n")
        text = "from .parts import content\nimport numbers, parts\n" + BODY
        target = load_target(write(root / folder / "model.py", text))
        module = sys.modules[target.model.__module__]
        assert module.__name__ == ".".join(filter(None, ("mypack", folder, "model")))
        assert module.content == int(content)


def test_a_folder_may_have_colons(tmp_path):
    path = write(tmp_path / "of: 10:30" / "model.py")
    assert resolve(load_target(path)).kind is None and resolve(load_target(f"{path}:task"))
    assert target_name(f"{path}:task") == f"{path}:task"


@pytest.mark.parametrize("name", ["torch.py", "numpy.py", "random.py", "autoaccel.py", "sklearn/__init__.py"])
def test_a_name_that_hides_a_module_is_refused(tmp_path, name):
    path = write(tmp_path / name)
    word = name.partition(".")[0].partition("/")[0]
    message = f"{path}: hides the module '{word}', which is installed; give the (file|folder) another name"
    for function in (load_target, target_name):
        with pytest.raises(TaskError, match=message):
            function(path)


def test_other_names_are_not_refused(tmp_path):
    for name in ("test.py", "model.py", "my model.py", "v1.2.py", "pack/torch.py"):
        write(tmp_path / "pack" / "__init__.py", "")
        write(tmp_path / name)
        assert module_of(tmp_path / name)[0] == tmp_path
    installed = Path(torch.__file__).parent / "hub.py"
    assert module_of(installed) == (installed.parents[1], "torch.hub")


def test_what_a_file_switches_off_is_on_again(tmp_path):
    switches = "torch.set_grad_enabled(False)\ntorch.set_default_device('meta')\n"
    load_target(write(tmp_path / "model.py", BODY + switches))
    assert torch.is_grad_enabled() and torch.rand(1).device.type == "cpu"


def test_functions_are_called_once_with_the_same_numbers(tmp_path):
    text = (
        BODY
        + "calls = []\ndef data(n=40):\n    calls.append(n)\n    return torch.rand(n, 4), torch.arange(n) % 2\n"
    )
    text += "def make():\n    return Task(model=task.model, train=data, valid=lambda: data(20), test=data)\n"
    target = load_target(write(tmp_path / "model.py", text) + ":make")
    made = with_data(target, 3)
    assert with_data(made, 3) is made and sys.modules["model"].calls == [40, 20, 40]
    again = with_data(target, 3)
    assert torch.equal(made.train[0], again.train[0]) and torch.equal(made.valid[0], again.valid[0])
    assert not torch.equal(made.train[0], made.test[0]) and made.where.startswith(str(tmp_path))


def test_a_function_that_raises_is_named_with_its_line(tmp_path):
    text = BODY + "def make():\n    return Task(model=task.model, train=lambda: 1 / 0)\n"
    with pytest.raises(TaskError, match=r"model\.py:6: ZeroDivisionError: division by zero"):
        with_data(load_target(write(tmp_path / "model.py", text) + ":make"), 0)
    text = BODY + "def make():\n    return 3\n"
    with pytest.raises(TaskError, match="must return a Task, it returned int"):
        with_data(load_target(write(tmp_path / "model.py", text) + ":make"), 0)
