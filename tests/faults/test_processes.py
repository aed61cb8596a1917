"""Processes that hang, die or are left behind: real processes, real signals, the default promises at shorter times."""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from autoaccel import api
from autoaccel.core.budget import Budget
from autoaccel.core.clock import SystemClock
from autoaccel.core.events import Finished
from autoaccel.core.recipe import PLAIN
from autoaccel.core.resources import Resources
from autoaccel.core.target import TaskRef
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.errors import MachineError, TaskError, UsageError
from autoaccel.execution.local.patience import Patience
from autoaccel.execution.local.supervisor import Supervisor

MODEL = """
import ctypes, os, signal, subprocess, sys, time, torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info
from autoaccel import Task

IMPORTED_IN = os.getpid()
LEAVE = [sys.executable, "-c", "import time; time.sleep(600)"]

def deadlock():
    lock = ctypes.create_string_buffer(64)
    ctypes.PyDLL(None).pthread_mutex_lock(lock)
    ctypes.PyDLL(None).pthread_mutex_lock(lock)  # in C, with the interpreter's lock held

def leave():
    subprocess.Popen(LEAVE)
    subprocess.Popen(LEAVE, start_new_session=True)
    if os.fork() == 0:  # a daemon, whose parent is gone
        os.setsid()
        if os.fork() == 0:
            os.execv(LEAVE[0], LEAVE)
        os._exit(0)
    os.wait()

class Net(nn.Module):
    def __init__(self, fault=""):
        super().__init__()
        self.layer, self.fault, self.calls = nn.Linear(4, 2), fault, 0
        if fault in ("leave", "leave and hang"):
            leave()

    def forward(self, x):
        self.calls += self.training
        if self.training and self.calls == 1 and self.fault == "forked" and IMPORTED_IN != os.getpid():
            deadlock()
        if self.training and self.calls > AFTER and "hang" in self.fault:
            if "ignore" in self.fault:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if "block" in self.fault:
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            if "spin" in self.fault:
                while True: pass
            if "native" in self.fault:
                deadlock()
            time.sleep(1000)
        return self.layer(x)

AFTER = 3
x, y = torch.rand(400, 4), torch.arange(400) % 2
"""
TASK = "task = Task(model=Net, train=(x, y))\n"
QUICK = Patience(
    idle=4.0, forked=1.5, step=6.0, stage=25.0, overtime=3.0, load=90.0, load_idle=4.0, answer=3.0, times=3.0
)
MARK = "AUTOACCEL_TEST_MARK"


@pytest.fixture(autouse=True)
def mark(monkeypatch):
    """Impatient supervisors, and processes that can be told from those of others."""
    monkeypatch.setattr(Supervisor, "patience", QUICK)
    monkeypatch.setenv(MARK, uuid.uuid4().hex)
    yield os.environ[MARK]
    for process in marked(os.environ[MARK]):
        process.kill()


def marked(word):
    """Return the processes that were started by this test and live."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found += [process] if process.environ().get(MARK) == word else []
        except psutil.Error:
            continue
    return found


def nothing_left(word, seconds=5.0, but=()):
    """Wait until no process of this test is left; fail after 5 s, which is what is promised."""
    end = time.monotonic() + seconds
    while left := [p for p in marked(word) if p.pid not in but]:
        if time.monotonic() > end:
            pytest.fail("\n".join(" ".join(process.cmdline()) for process in left))
        time.sleep(0.1)


def write(folder, body=TASK):
    path = folder / "model.py"
    path.write_text(MODEL + body)
    return str(path)


def line_of(path, text):
    """Return `file:line` of the last line of a file that holds the text."""
    lines = Path(path).read_text().splitlines()
    return f"{path}:{max(number for number, line in enumerate(lines, 1) if text in line)}"


def loaded(tmp_path, body=TASK, workers=2):
    made = Supervisor(TaskRef(write(tmp_path, body)), Resources(cpu=True, workers=workers), SystemClock(), tmp_path)
    made.load(None)
    return closing(made)


def request(trial, fault="", **more):
    """A trial of 20 steps that has no time limit of its own."""
    plain = PLAIN["plain_constant"]
    recipe = replace(plain, model={"fault": fault})
    return TrialRequest(trial, recipe, **{"budget": Budget(steps=20), "grace": None, **more})


def outcomes(supervisor, count=1):
    found = {}
    while len(found) < count:
        found.update({e.trial: e.outcome for e in supervisor.poll(0.5) if isinstance(e, Finished)})
    return found


def worker(supervisor, trial=0):
    """Return the process ID of a trial's worker as soon as it is known."""
    while not (job := supervisor._crew.jobs[trial]).pid:
        supervisor.poll(0.05)
    return job.pid


@pytest.mark.timeout(120)
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the deadlock is one of Linux's")
def test_every_kind_of_hang_is_ended_and_says_where(tmp_path, mark):
    """A step that never ends, asleep or not, in Python or in C, deaf to SIGTERM: TIMED_OUT with the user's line."""
    faults = {
        "hang": "time.sleep(1000)",
        "hang spin": "while True: pass",
        "hang native": "ctypes.PyDLL(None).pthread_mutex_lock(lock)  # in C",
        "hang ignore": "time.sleep(1000)",
        "hang block": "time.sleep(1000)",
    }
    with loaded(tmp_path, workers=len(faults)) as supervisor:
        started = time.monotonic()
        for trial, fault in enumerate(faults):
            supervisor.start(request(trial, fault))
        found = outcomes(supervisor, len(faults))
        assert time.monotonic() - started < 30
        for trial, line in enumerate(faults.values()):
            assert found[trial].kind is OutcomeKind.TIMED_OUT
            assert found[trial].where == line_of(tmp_path / "model.py", line)
        supervisor.start(request(9))
        assert outcomes(supervisor)[9].kind is OutcomeKind.COMPLETE
    nothing_left(mark)


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_commands_that_run_user_code_end_by_themselves(tmp_path, mark):
    """`train` under each kind of budget, `profile` and `check` with a step that hangs: exit 3 with the user's line."""
    body = "task = Task(model=lambda: Net('hang'), train=(x, y))\n"
    path = write(tmp_path, body)
    where = line_of(path, "time.sleep(1000)")
    # The check takes one step, training more.
    for number, budget in enumerate(("25s", "1e12 FLOPs")):
        with pytest.raises(
            TaskError, match=r"training ended as timed_out: .* has (happened|taken) .*; it was ended"
        ) as error:
            api.train(path, "plain", budget, out=tmp_path / str(number))
        assert where in str(error.value)
    with pytest.raises(TaskError, match="measuring the task: nothing has happened for") as error:
        api.profile(path)
    assert where in str(error.value)
    Path(path).write_text(Path(path).read_text().replace("AFTER = 3", "AFTER = 0"))
    with pytest.raises(TaskError, match="measuring the task: nothing has happened for") as error:
        api.check(path)
    assert where in str(error.value)
    nothing_left(mark)


@pytest.mark.timeout(120)
def test_a_hanging_import_ends(tmp_path, mark):
    """Without a budget after a bounded time, with one at its end; the first with the line that was running."""
    path = write(tmp_path, "time.sleep(500)\n" + TASK)
    where = line_of(path, "time.sleep(500)")
    with pytest.raises(TaskError, match="nothing has happened") as error:
        api.check(path)
    assert where in str(error.value)
    with pytest.raises(UsageError, match="too small"):  # maybe before torch is imported
        api.tune(path, "3s", out=tmp_path / "run")
    nothing_left(mark)


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_forked_worker_that_hangs_is_started_fresh(tmp_path, mark):
    """What deadlocks only after a fork: the same trial completes in a fresh process, and later ones start in one."""
    with loaded(tmp_path, workers=1) as supervisor:
        supervisor.start(request(0, "forked"))
        assert outcomes(supervisor)[0].kind is OutcomeKind.COMPLETE
        assert "started again as a fresh one" in (tmp_path / "trials/0000/log.txt").read_text()
        supervisor.start(request(1, "forked"))
        assert outcomes(supervisor)[1].kind is OutcomeKind.COMPLETE
        assert "fresh" not in (tmp_path / "trials/0001/log.txt").read_text()
    nothing_left(mark)


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_lost_template_is_started_again(tmp_path, mark):
    """Killed: its trial is LOST and the next one trains. Stopped: the same in bounded time. In the end: exit 5."""
    with loaded(tmp_path, workers=1) as supervisor:
        for trial, which in enumerate((signal.SIGKILL, signal.SIGSTOP)):
            supervisor.start(request(trial, "hang"))
            worker(supervisor, trial)
            os.kill(supervisor._crew._template.pid, which)
            if which is signal.SIGSTOP:  # nobody asks it for anything until a trial ends
                os.kill(worker(supervisor, trial), signal.SIGKILL)
            lost = outcomes(supervisor)[trial]
            assert lost.kind is OutcomeKind.LOST and "the process that starts workers" in lost.reason
            supervisor.start(request(10 + trial))
            assert outcomes(supervisor)[10 + trial].kind is OutcomeKind.COMPLETE
        os.kill(supervisor._crew._template.pid, signal.SIGKILL)
        with pytest.raises(MachineError, match=r"lost 3 times; .* was killed by signal 9 \(SIGKILL\)"):
            supervisor.start(request(20))
            outcomes(supervisor)
    nothing_left(mark)


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_template_that_cannot_load_again_is_given_up(tmp_path, mark):
    """It dies while it imports: not in a loop, and with the last line that it printed."""
    body = (
        f"flag = {str(tmp_path / 'flag')!r}\nif os.path.exists(flag):\n    print('no licence', flush=True)\n"
        "    os._exit(9)\nopen(flag, 'w').close()\n"
    )
    with loaded(tmp_path, body + TASK) as supervisor:
        os.kill(supervisor._crew._template.pid, signal.SIGKILL)
        supervisor.start(request(0))
        with pytest.raises(MachineError, match="lost 3 times; the last time it ended with exit code 9: no licence"):
            outcomes(supervisor, 2)
    nothing_left(mark)


@pytest.mark.timeout(120)
def test_a_killed_trial_says_by_what(tmp_path):
    """kill -9: LOST, with the signal, and what is known of the kernel's memory; another trial goes on."""
    with loaded(tmp_path) as supervisor:
        supervisor.start(request(0, "hang"))
        supervisor.start(request(1))
        os.kill(worker(supervisor), signal.SIGKILL)
        found = outcomes(supervisor, 2)
    assert found[0].kind is OutcomeKind.LOST and found[1].kind is OutcomeKind.COMPLETE
    assert "killed by signal 9 (SIGKILL), which autoaccel did not send" in found[0].reason


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_trials_that_are_killed_at_any_moment(tmp_path, mark):
    """kill -9 at 10 seeded moments from the fork to the end: LOST or already complete, and the next one trains."""
    moments, kinds = random.Random(0), []
    with loaded(tmp_path, workers=1) as supervisor:
        for trial in range(10):
            supervisor.start(request(trial, budget=Budget(steps=2000)))
            pid = worker(supervisor, trial)
            time.sleep(moments.uniform(0.0, 0.3))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            kinds.append(outcomes(supervisor)[trial].kind)
        supervisor.start(request(99))
        assert outcomes(supervisor)[99].kind is OutcomeKind.COMPLETE
    assert OutcomeKind.LOST in kinds and set(kinds) <= {OutcomeKind.LOST, OutcomeKind.COMPLETE}
    nothing_left(mark)


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_stopped_worker_that_goes_on_late(tmp_path, mark):
    """SIGSTOP, then SIGCONT: in time it completes; too late it is gone, and nothing of it comes back."""
    with loaded(tmp_path) as supervisor:
        for trial, seconds in ((0, 1.0), (1, 9.0)):
            supervisor.start(request(trial, budget=Budget(steps=4000)))
            pid = worker(supervisor, trial)
            while not supervisor._crew.jobs[trial].beats.read().begun:
                supervisor.poll(0.05)
            os.kill(pid, signal.SIGSTOP)
            end, events = time.monotonic() + seconds, []
            while time.monotonic() < end:
                events += supervisor.poll(0.1)
            if trial == 0:
                os.kill(pid, signal.SIGCONT)
                assert outcomes(supervisor)[0].kind is OutcomeKind.COMPLETE
        (late,) = (event for event in events if isinstance(event, Finished))
        assert late.outcome.kind is OutcomeKind.TIMED_OUT and not psutil.pid_exists(pid)
    nothing_left(mark)


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_workers_of_a_data_loader_that_die_or_hang(tmp_path, mark):
    """One that dies is an error of the task; one that hangs is ended, with the line in which it hangs."""
    body = """
class Samples(Dataset):
    def __len__(self):
        return 400
    def __getitem__(self, place):
        if place > 100 and get_worker_info() and os.path.exists(FLAG):
            if open(FLAG).read() == "die":
                os._exit(1)
            time.sleep(999)
        return x[place], y[place]
class Stream(IterableDataset):
    def __iter__(self):
        return iter(DataLoader(Samples(), batch_size=None, num_workers=1))
task = Task(model=Net, train=Stream(), valid=(x, y))
"""
    flag = tmp_path / "flag"
    with loaded(tmp_path, f"FLAG = {str(flag)!r}\n" + body, workers=1) as supervisor:
        flag.write_text("die")
        supervisor.start(request(0))
        dead = outcomes(supervisor)[0]
        assert dead.kind is OutcomeKind.FAILED and "DataLoader worker" in dead.reason, dead.reason
        flag.write_text("hang")
        supervisor.start(request(1))
        hung = outcomes(supervisor)[1]
        assert hung.kind is OutcomeKind.TIMED_OUT, hung
        assert hung.where == line_of(tmp_path / "model.py", "time.sleep(999)")
        nothing_left(mark, but=family(supervisor))
    nothing_left(mark)


def family(supervisor):
    """The warden and the fork server, which stay until the end."""
    template = supervisor._crew._template
    return template._warden.pid, template.pid


@pytest.mark.timeout(120)
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux only")
def test_nothing_outlives_a_trial(tmp_path, mark):
    """Children of a factory, in sessions of their own and daemons too: gone 5 s after the trial, however it ended.

    What the user's file starts when it is imported stays as long as the run, and no longer.
    """
    with loaded(tmp_path, "leave()\n" + TASK) as supervisor:
        own = len(marked(mark)) - 2
        assert own == 3
        supervisor.start(request(0, "leave"))
        supervisor.start(request(1, "leave and hang"))
        worker(supervisor, 1)
        found = outcomes(supervisor, 2)
        assert [found[0].kind, found[1].kind] == [OutcomeKind.COMPLETE, OutcomeKind.TIMED_OUT]
        end = time.monotonic() + 5
        while len(marked(mark)) > 2 + own and time.monotonic() < end:
            time.sleep(0.1)
        assert len(marked(mark)) == 2 + own
    nothing_left(mark)


@pytest.mark.timeout(120)
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux only")
@pytest.mark.parametrize("moment", ["importing", "training"])
def test_nothing_outlives_a_killed_supervisor(tmp_path, mark, moment):
    """SIGKILL of the command while it imports (a hang in C) and while it trains: nothing is left 5 s later."""
    path = write(tmp_path, "leave()\n" + ("deadlock()\n" if moment == "importing" else "") + TASK)
    command = [sys.executable, "-m", "autoaccel.cli", "train", path, "--recipe", "plain", "--budget", "100s"]
    started = subprocess.Popen([*command, "--out", str(tmp_path / "run")], stderr=subprocess.DEVNULL)
    least = {"importing": 6, "training": 7}[moment]  # command, warden, template, three children; worker
    end = time.monotonic() + 60
    while len(marked(mark)) < least and time.monotonic() < end:
        time.sleep(0.1)
    assert len(marked(mark)) >= least
    started.kill()
    started.wait()
    nothing_left(mark)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("error", ["", "raise ValueError('no')\n", "os._exit(3)\n", "os.kill(os.getpid(), 11)\n"])
def test_nothing_is_left_when_the_import_fails(tmp_path, mark, error):
    """An exception, an exit and a crash in the user's file, which has started children before."""
    path = write(tmp_path, "leave()\n" + error + ("" if error else "x = x[:0]\n") + TASK)
    with pytest.raises(TaskError):
        api.check(path)
    nothing_left(mark)
