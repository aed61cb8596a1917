"""Checkpoints on disk: whatever happens while one is written, there is one that can be read."""

import json
import os
import resource
import shutil
import signal

import pytest

from autoaccel.core import checkpoints
from autoaccel.core.checkpoints import FOLDER, MANIFEST, STATE
from autoaccel.core.quantities import Cost

BEFORE, AFTER = b"before" * 1000, b"after" * 1000


def write(folder, content=BEFORE, steps=1.0):
    return checkpoints.write(folder, Cost(seconds=2.5, steps=steps), lambda file: file.write(content))


def in_another_process(work):
    """Return how a forked process that does some work ends."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_two_newest_are_kept_and_the_newest_comes_first(tmp_path):
    for step in range(4):
        write(tmp_path, b"%d" % step, step)
    found = checkpoints.checkpoints(tmp_path)
    assert [made.state.read_bytes() for made in found] == [b"3", b"2"]
    assert all(made.intact for made in found)
    assert checkpoints.saved(tmp_path) == Cost(seconds=2.5, steps=3)
    checkpoints.drop(tmp_path)
    assert checkpoints.saved(tmp_path) == Cost() and not list(tmp_path.iterdir())


@pytest.mark.parametrize("at", range(5))
def test_one_can_be_read_when_the_process_is_killed_at_any_step_of_a_write(tmp_path, monkeypatch, at):
    """The steps are the calls that bring something to the disk: four of fsync, and the renaming between them."""
    write(tmp_path)
    done = []

    def dying(call):
        def instead(*arguments):
            if len(done) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            done.append(call)
            return call(*arguments)

        return instead

    monkeypatch.setattr(os, "fsync", dying(os.fsync))
    monkeypatch.setattr("pathlib.Path.replace", dying(shutil.move))
    assert in_another_process(lambda: write(tmp_path, AFTER)) == -signal.SIGKILL
    monkeypatch.undo()
    newest = checkpoints.checkpoints(tmp_path)[0]
    assert newest.intact and newest.state.read_bytes() in (BEFORE, AFTER)
    write(tmp_path, AFTER)
    assert checkpoints.checkpoints(tmp_path)[0].state.read_bytes() == AFTER
    assert len(list((tmp_path / FOLDER).iterdir())) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b"B" + path.read_bytes()[1:]),
        lambda path: path.unlink(),
    ],
    ids=["empty", "torn", "one bit", "gone"],
)
def test_a_damaged_state_is_told_from_its_manifest(tmp_path, damage):
    write(tmp_path)
    damage(write(tmp_path, AFTER).state)
    newest, previous = checkpoints.checkpoints(tmp_path)
    assert not newest.intact and previous.intact and previous.state.read_bytes() == BEFORE


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "{", '{"schema": 9}', '{"schema": 1, "spent": 3, "size": 1, "sha256": ""}', "[" * 10**5,
     '{"schema": 1, "spent": {"seconds": "x"}, "size": 1, "sha256": ""}', "\x00\xff"],
)  # fmt: skip
def test_a_checkpoint_without_a_manifest_that_says_what_it_is_does_not_count(tmp_path, content):
    write(tmp_path)
    (write(tmp_path, AFTER).path / MANIFEST).write_text(content)
    (only,) = checkpoints.checkpoints(tmp_path)
    assert only.state.read_bytes() == BEFORE


def test_a_full_disk_leaves_the_one_before(tmp_path):
    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with pytest.raises(OSError, match="File too large"):
            write(tmp_path, AFTER)

    write(tmp_path)
    assert in_another_process(work) == 0
    (only,) = checkpoints.checkpoints(tmp_path)
    assert only.intact and only.state.read_bytes() == BEFORE
    assert list((tmp_path / FOLDER).iterdir()) == [only.path]


def test_the_manifest_says_what_the_file_holds(tmp_path):
    made = write(tmp_path)
    said = json.loads((made.path / MANIFEST).read_text())
    assert said == {
        "schema": 1,
        "spent": {"seconds": 2.5, "steps": 1.0},
        "size": len(BEFORE),
        "sha256": made.digest,
    }
    assert sorted(path.name for path in made.path.iterdir()) == [MANIFEST, STATE]
