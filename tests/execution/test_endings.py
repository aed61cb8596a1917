"""What is said of processes that end, and the stack's line that is taken from a dump."""

import faulthandler
import signal
import threading

import pytest

from autoaccel.execution.local import endings
from autoaccel.execution.local.endings import KernelKills, ending, last_line, user_line


@pytest.fixture
def counters(monkeypatch):
    """The kernel's counters of the processes that it has killed: of our control group, and of the machine."""
    found = {"group": 2, "machine": 5}
    monkeypatch.setattr(endings, "kills", lambda: found["group"])
    monkeypatch.setattr(endings, "_killed_at_all", lambda: found["machine"])
    return found


def test_a_kill_by_the_kernel_says_so(counters):
    kernel = KernelKills()
    assert "not by the kernel" in ending(-9, kernel)
    counters["machine"] += 1
    assert ending(-9, kernel).endswith("the kernel probably ran out of memory")
    counters["group"] += 1
    assert ending(-9, kernel) == (
        "was killed by signal 9 (SIGKILL), which autoaccel did not send: the kernel ran out of memory"
    )
    assert "not by the kernel" in ending(-9, kernel)  # each kill counts once


def test_where_nothing_counts_it_is_a_guess(counters):
    counters.update(group=None, machine=None)
    assert ending(-9, KernelKills()).endswith("the kernel probably ran out of memory")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (7, "ended with exit code 7"),
        (-signal.SIGSEGV, "was killed by signal 11 (SIGSEGV): a crash in native code"),
        (-signal.SIGABRT, "was killed by signal 6 (SIGABRT): native code gave up"),
        (-signal.SIGTERM, "was killed by signal 15 (SIGTERM)"),
        (-200, "was killed by signal 200"),
    ],
)
def test_signals_have_names(status, words):
    assert ending(status, KernelKills()) == words


def test_full_shared_memory_is_named():
    assert "/dev/shm" in ending(-signal.SIGBUS, KernelKills())


def test_the_counters_of_this_machine_can_be_read():
    word = KernelKills().word()
    assert "not by the kernel" in word or "probably" in word


def test_the_line_is_that_of_the_thread_that_trains(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text('  File "/theirs/old.py", line 1 in f\n')
    start = log.stat().st_size
    with log.open("a") as file:
        file.write(
            'Thread 0x01 (most recent call first):\n  File "/theirs/pool.py", line 2 in run\n\n'
            'Current thread 0x02 (most recent call first):\n  File "<string>", line 3 in forward\n'
            f'  File "{endings.__file__}", line 4 in f\n  File "{threading.__file__}", line 5 in f\n'
            '  File "/theirs/model.py", line 6 in forward\n  File "/theirs/model.py", line 7 in <module>\n'
        )
    assert user_line(log, start) == "/theirs/model.py:6"
    assert user_line(log, log.stat().st_size) == "" and user_line(tmp_path / "none", 0) == ""


def test_what_faulthandler_writes_is_understood(tmp_path):
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        faulthandler.dump_traceback(file)
    assert user_line(log, 0).startswith(f"{__file__}:")


def test_a_last_line(tmp_path):
    assert last_line(tmp_path / "none") == ""
    (tmp_path / "log").write_text("one\ntwo\n\n")
    assert last_line(tmp_path / "log") == ": two"
