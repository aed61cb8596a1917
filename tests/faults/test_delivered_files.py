"""Weights, recipe and result speak of the same trial, whatever happens between two writes, and no link is followed."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from sample_folder import BEST, make_run, weights

from autoaccel.core.recipe import PLAIN
from autoaccel.errors import AutoaccelError, StoreError
from autoaccel.storage.delivery import RECIPE, RESULT, WEIGHTS, check_weights, current, deliver, settle
from autoaccel.storage.files import write_atomically
from autoaccel.storage.folder import RunFolder
from autoaccel.storage.json_files import read_config, read_result, read_seconds
from autoaccel.storage.log import LOG, Log
from autoaccel.storage.records import read_record
from autoaccel.storage.space import RESERVE
from autoaccel.tuner.result import Result

RECIPES = {3: PLAIN["plain"].to_yaml(), 4: BEST.to_yaml()}


def in_a_child(act):
    """Run a function in a forked process; return its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        act()
        os._exit(0)
    except BaseException:
        os._exit(1)


def delivered_trial(run):
    """Return the trial that all three files speak of, as a reader sees them."""
    data = read_result(current(run, RESULT))
    check_weights(current(run, WEIGHTS), data["weights"]["sha256"])
    trial = data["delivered"]["trial"]
    assert data["weights"]["trial"] == trial
    assert current(run, RECIPE).read_text() == RECIPES[trial]
    assert load_file(current(run, WEIGHTS))["layer.weight"].equal(weights(trial)["layer.weight"])
    return trial


def test_a_kill_at_any_step_of_a_delivery_leaves_one_that_is_whole(tmp_path):
    """Fault: the process ends at the n-th system call of a delivery, for each n. Promise: the files of the old trial or
    of the new one, for who reads and for who opens the folder next."""
    run = make_run(tmp_path / "run")
    data = {key: part for key, part in read_result(run / RESULT).items() if key != "weights"}
    new = {**data, "delivered": {**data["delivered"], "trial": 3}}
    source, seen = run / "trials" / "0003" / WEIGHTS, []
    for last in range(1, 60):

        def act(last=last):
            left = [last]

            def step(event, _):
                if event in ("open", "os.rename", "os.remove"):
                    left[0] -= 1
                    if not left[0]:
                        os._exit(9)

            sys.addaudithook(step)
            deliver(run, new, RECIPES[3], 3, source)

        code = in_a_child(act)
        read = delivered_trial(run)
        settle(run)
        assert delivered_trial(run) == read
        assert not list(run.glob(".*.next"))
        seen.append(read)
        if code == 0:
            break
        deliver(run, data, RECIPES[4], 4, run / "trials" / "0004" / WEIGHTS)
    assert code == 0 and sorted(seen, reverse=True) == seen and set(seen) == {3, 4}


@pytest.mark.parametrize("place", [20, 90, -1])
def test_damaged_weights_are_refused_before_they_are_loaded(tmp_path, place):
    """Fault: a bit of the delivered weights flips. Promise: one line, and nothing is loaded."""
    run = make_run(tmp_path / "run")
    data = bytearray((run / WEIGHTS).read_bytes())
    data[place] ^= 8
    (run / WEIGHTS).write_bytes(data)
    with pytest.raises(StoreError, match="SHA-256 differs") as caught:
        Result.load(run).model()
    assert "\n" not in str(caught.value)


def test_a_pickle_named_as_weights_is_not_opened(tmp_path):
    """Fault: a hostile pickle in the place of the weights. Promise: refused, its code does not run."""
    run, marker = make_run(tmp_path / "run"), tmp_path / "marker"
    (run / WEIGHTS).write_bytes(f"cos\nsystem\n(S'touch {marker}'\ntR.".encode())
    with pytest.raises(StoreError, match="SHA-256 differs"):
        Result.load(run).model()
    assert not marker.exists()


def test_no_room_for_a_file_is_one_line_and_leaves_the_old_one(tmp_path):
    """Fault: a file may not grow (RLIMIT_FSIZE), as on a full disk. Promise: the path and the bytes are named, the old
    file is whole, nothing else is left, and it works again when there is room."""
    path = tmp_path / "result.json"
    write_atomically(path, "old")

    def act():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 20_000))
        with pytest.raises(
            StoreError, match=r"result.json: cannot be written: .*; 50,000 bytes are needed, [\d,]+ "
        ):
            write_atomically(path, "x" * 50_000)

    assert in_a_child(act) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"] and path.read_text() == "old"
    write_atomically(path, "new")
    assert path.read_text() == "new"


def test_no_room_for_a_line_of_the_log_leaves_the_log_whole(tmp_path):
    """Fault: the log may not grow. Promise: an error with the path, no half line, and it goes on when there is room."""
    run = make_run(tmp_path / "run")
    before = (run / LOG).read_bytes()

    def act():
        log = Log(run / LOG)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, len(before) + 9000))
        with pytest.raises(StoreError, match=r"events.log: cannot be written"):
            log.append(*log.entries[-1])
        assert (run / LOG).read_bytes() == before
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 9000,) * 2)
        log.append(*log.entries[-1])

    assert in_a_child(act) == 0
    assert (run / LOG).read_bytes()[: len(before)] == before
    assert len(read_record(run).trials) == 5 and not read_record(run).notes


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 34 MiB, which holds the space that is set aside and little more."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=34m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_the_last_writes_have_room_on_a_full_disk(small_disk):
    """Fault: other processes fill the disk during a run. Promise: the space that was set aside takes the last files; when
    that is full too, exit 5 with the bytes, and what was there before is whole."""
    run = make_run(small_disk / "run")
    folder = RunFolder(run)
    assert (run / RESERVE).stat().st_size == 32 << 20
    filler = small_disk / "filler"
    with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(65536)):
            pass
    folder.write("report.html", bytes(20 << 20))
    assert not (run / RESERVE).exists()
    with pytest.raises(StoreError, match=r"report.html: .*No space left on device; 15,000,000 bytes are needed"):
        folder.write("report.html", bytes(15_000_000))
    assert (run / "report.html").stat().st_size == 20 << 20 and delivered_trial(run) == 4
    filler.unlink()
    (run / "report.html").unlink()
    folder.write("report.html", bytes(15_000_000))
    folder.close()


@pytest.mark.parametrize("name", ["report.html", "trials", "events.log", ".result.json.tmp", "trials/0004", "lock"])
def test_a_link_in_a_run_folder_is_refused(tmp_path, name):
    """Fault: somebody plants a symbolic link. Promise: one line, and what it leads to is untouched."""
    run, outside = make_run(tmp_path / "run"), tmp_path / "outside"
    folder = name.startswith("trials")
    outside.mkdir() if folder else outside.write_text("mine")
    place = run / name
    if place.exists():
        place.rename(tmp_path / "was")
    place.symlink_to(outside)
    with pytest.raises(StoreError, match=f"{name} is a symbolic link"):
        RunFolder(run)
    assert list(outside.iterdir()) == [] if folder else outside.read_text() == "mine"


def test_a_link_that_appears_later_is_replaced_and_not_followed(tmp_path):
    """Fault: a link takes the place of a file, or of its temporary one, while the run goes on."""
    outside = tmp_path / "outside"
    outside.write_text("mine")
    for name in ("report.html", ".report.html.tmp"):
        (tmp_path / name).symlink_to(outside)
    write_atomically(tmp_path / "report.html", "ours")
    assert outside.read_text() == "mine" and (tmp_path / "report.html").read_text() == "ours"
    assert not (tmp_path / "report.html").is_symlink()


BAD = ["", "[1, 2]", "7", '"text"', "null", "{", '{"seconds": "many"}', '{"seconds": -1}', '{"seconds": NaN}',
       "[" * 100_000, '{"a":' * 3000 + "1" + "}" * 3000, b"\xff\xfe", '{"seconds": 1e999}']  # fmt: skip


@pytest.mark.parametrize("content", BAD, ids=range(len(BAD)))
def test_an_account_that_holds_something_else_is_one_line(tmp_path, content):
    """Fault: account.json holds other JSON, or none. Promise: a StoreError in one line."""
    (tmp_path / "account.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(StoreError, match=r"account.json: ") as caught:
        read_seconds(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


CHANGES = [("result", "headline", 3), ("result", "metric", "loss"), ("result", "final", {"reason": 3}),
           ("result", "comparison", {}), ("result", "leaderboard", [{"metric": "x"}]), ("result", "recipe", None),
           ("result", "weights", {"sha256": 5}), ("result", "spent", [1]), ("result", "trials", {"complete": "a"}),
           ("config", "target", ["model.py"]), ("config", "budget", {"seconds": "x"}), ("config", "seed", "zero"),
           ("config", "environment", 3), ("config", "known", "all")]  # fmt: skip


@pytest.mark.parametrize(("file", "key", "value"), CHANGES)
def test_wrong_types_in_a_run_are_one_line(tmp_path, file, key, value):
    """Fault: result.json or config.json hold values of other types. Promise: a StoreError in one line that names it."""
    run = make_run(tmp_path / "run")
    path = run / f"{file}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(StoreError, match=rf"{file}.json: {key}") as caught:
        read_record(run)
    assert "\n" not in str(caught.value)
    read = (lambda: Result.load(run)) if file == "result" else (lambda: read_config(run))
    with pytest.raises(AutoaccelError):
        read()


KILLED = """
import sys
from pathlib import Path
from autoaccel.storage.folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


def test_a_killed_owner_does_not_hold_the_folder(tmp_path):
    """Fault: kill -9 of the process that has the folder open. Promise: named while it lives, free when it is dead."""
    run = make_run(tmp_path / "run")
    command = [sys.executable, "-c", KILLED, str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match=f"in use by process {process.pid} on "):
            RunFolder(run)
        process.send_signal(signal.SIGKILL)
        process.wait()
    folder = RunFolder(Path(run))
    folder.close()
    assert not (run / "owner.json").exists() and not (run / RESERVE).exists()
