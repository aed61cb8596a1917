"""What a node is told, and where relative paths begin there."""

import json
import os
from pathlib import Path

import pytest

from autoaccel.core.resources import Resources
from autoaccel.errors import MachineError, TaskError, UsageError

host = pytest.importorskip("autoaccel.execution.ray.host", reason="Ray is not installed", exc_type=ImportError)
messages = pytest.importorskip("autoaccel.execution.ray.messages", exc_type=ImportError)
files = pytest.importorskip("autoaccel.execution.ray.files", exc_type=ImportError)

MODEL = "from torch import nn\nfrom autoaccel import Task\nraise ValueError(open({path!r}).read())\n"


def told(root, cwd, **more):
    target = f"{root}/model.py"
    return messages.Told(
        target, str(root), str(cwd), "/runs/one", Resources(), 1, 1, 1, 0, None, host.versions(), **more
    )


@pytest.fixture
def sent(tmp_path, monkeypatch):
    """The folder of a node with what was sent there."""
    folder = tmp_path / "sent"
    folder.mkdir()
    (folder / "text.txt").write_text("found")
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder


@pytest.mark.parametrize(
    ("root", "cwd", "path", "found"),
    [
        ("/far/project", "/far/project", "text.txt", True),
        ("/far/project", "/far/project/below", "../text.txt", True),
        ("/far/project", "/far", "project/text.txt", True),
        ("/far/project", "/far", "text.txt", False),
        ("/far/project", "/elsewhere", "text.txt", False),
    ],
)
def test_relative_paths_mean_the_same_as_at_home_or_nothing(root, cwd, path, found, sent, tmp_path):
    (sent / "below").mkdir()
    (sent / "model.py").write_text(MODEL.format(path=path))
    said = []
    made = host.Host(told(root, cwd), tmp_path / "home", {}, said.append)
    with pytest.raises(TaskError) as error:
        made.load()
    made.fail(error.value)
    made.close()
    assert ("ValueError: found" in str(error.value)) is found
    assert said[-1].data["message"].startswith(f"{root}/model.py:3: "), "the place in the file is that at home"
    assert "import.txt" in said[-1].files


def test_other_versions_are_refused(sent, tmp_path):
    other = {**host.versions(), "torch": "2.0"}
    with pytest.raises(UsageError, match=r"this node has torch .*, and the driver 2\.0; install the same on all"):
        host._same_versions(other)


def test_what_another_trial_needs_stays_when_one_has_ended(sent, tmp_path):
    made = host.Host(told("", str(sent)), tmp_path / "home", {}, [].append)
    own, other, learned = (tmp_path / "home" / "trials" / name for name in ("0004", "0005", "0001"))
    for folder in (own, other, learned):
        folder.mkdir(parents=True)
    made._running = {4: {own, learned}, 5: {other, learned}}
    made._forget(4)
    assert not own.exists() and learned.is_dir() and other.is_dir()
    made._forget(5)
    made.close()
    assert not learned.exists() and not other.exists()


def test_commands_are_carried_out_in_their_order():
    inbox = messages.Inbox()
    inbox.put(1, ("stop", 7))
    assert inbox.take(0.0) == []
    inbox.put(2, ("close",))
    inbox.put(0, ("start",))
    assert inbox.take(0.0) == [("start",), ("stop", 7), ("close",)]


@pytest.mark.parametrize(
    "error", [TaskError("no data", "model.py:3"), UsageError("too small"), MachineError("gone")]
)
def test_an_error_crosses_the_wire(error):
    error.__cause__ = ValueError("the traceback")
    back = messages.error_of(json.loads(json.dumps(messages.error_data(error))))
    assert type(back) is type(error) and str(back) == str(error) and str(back.__cause__) == "the traceback"
    assert str(messages.error_of(messages.error_data(error), "node 1")).endswith("(on node 1)")
    assert isinstance(messages.error_of(messages.error_data(OSError("full"))), MachineError)


def test_files_come_back_as_they_were_and_scratch_folders_of_the_dead_go(tmp_path, monkeypatch):
    monkeypatch.setattr(files.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    dead = tmp_path / f"{files.PREFIX}dead"
    dead.mkdir()
    os.utime(dead, (0, 0))
    with files.scratch() as one:
        os.utime(one, (0, 0))
        (one / "trials" / "0001").mkdir(parents=True)
        (one / "trials" / "0001" / "log.txt").write_bytes(b"lines")
        (one / "trials" / "0001" / "empty").touch()
        (one / "link").symlink_to(Path(os.devnull))
        packed = files.packed(one, [one / "trials", one / "link", one / "missing"])
        with files.scratch():
            assert one.is_dir(), "its place lives"
    files.unpack(tmp_path / "run", packed)
    assert not dead.exists() and not one.exists()
    assert sorted(packed) == ["trials/0001/empty", "trials/0001/log.txt"]
    assert (tmp_path / "run" / "trials" / "0001" / "log.txt").read_bytes() == b"lines"
