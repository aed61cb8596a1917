"""Trials as processes: hung ones are killed, dead ones are reported, and failures name the user's line."""

import os
import re
import signal
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SystemClock
from autoaccel.core.codec import to_data
from autoaccel.core.events import Finished, Reported
from autoaccel.core.machine import Gpu, Machine, usable_cpus
from autoaccel.core.recipe import PLAIN
from autoaccel.core.resources import Resources
from autoaccel.core.target import TaskRef
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.errors import UsageError
from autoaccel.execution.local.crew import Crew
from autoaccel.execution.local.supervisor import Supervisor
from autoaccel.tuner.options import Options

MODEL = """
import os, time, torch
from torch import nn
from autoaccel import Task

class Net(nn.Module):
    def __init__(self, fault=""):
        super().__init__()
        self.layer, self.fault, self.calls = nn.Linear(4, 2), fault, 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 3 and self.training:
            if self.fault == "hang":
                time.sleep(1000)
            if self.fault == "die":
                os._exit(7)
            if self.fault == "raise":
                raise ValueError("no such thing")
            if self.fault == "blas":
                import numpy, threadpoolctl
                raise ValueError([lib["num_threads"] for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas"])
        return self.layer(x)

task = Task(model=Net, train=(torch.rand(400, 4), torch.arange(400) % 2))
"""


@pytest.fixture
def supervisor(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    made = Supervisor(TaskRef(str(tmp_path / "model.py")), Resources(cpu=True, workers=2), SystemClock(), tmp_path)
    made.load(None)
    yield made
    made.close()


def request(trial, fault, seconds=1.5, **more):
    plain = PLAIN["plain"]
    recipe = type(plain)(plain.optimizer, plain.learning_rate, plain.batch_size, {}, {"fault": fault})
    return TrialRequest(trial, recipe, Budget(seconds=seconds), grace=1.0, **more)


def outcomes(supervisor, count):
    found = {}
    while len(found) < count:
        found.update({e.trial: e.outcome for e in supervisor.poll(0.5) if isinstance(e, Finished)})
    return found


@pytest.mark.timeout(60)
def test_a_hang_is_killed_while_another_trial_goes_on(supervisor):
    supervisor.start(request(0, "hang"))
    supervisor.start(request(1, ""))
    found = outcomes(supervisor, 2)
    assert found[0].kind is OutcomeKind.TIMED_OUT and found[1].kind is OutcomeKind.COMPLETE
    assert found[0].cost.seconds < 4


@pytest.mark.timeout(60)
def test_faults_are_told_apart(supervisor, tmp_path):
    supervisor.start(request(0, "die"))
    supervisor.start(request(1, "raise"))
    found = outcomes(supervisor, 2)
    assert found[0].kind is OutcomeKind.LOST and "trials/0000" in found[0].reason
    assert found[1].kind is OutcomeKind.FAILED and found[1].reason == "ValueError: no such thing"
    line = MODEL.splitlines().index('                raise ValueError("no such thing")') + 1
    assert found[1].where == f"{tmp_path / 'model.py'}:{line}"


@pytest.mark.timeout(60)
def test_a_trial_ends_when_asked_to(supervisor):
    supervisor.start(request(0, "", seconds=100))
    supervisor.poll(1.0)
    supervisor.stop(0)
    assert outcomes(supervisor, 1)[0].kind is OutcomeKind.PRUNED


@pytest.mark.timeout(60)
@pytest.mark.parametrize("budget", [Budget(seconds=100), Budget(steps=1e7)])
def test_a_trial_that_is_asked_to_finish_early_is_complete(supervisor, tmp_path, budget):
    """If the budget has no seconds, it also waits at each milestone, and tells `proceed` from `finish_early`."""
    supervisor.start(replace(request(0, ""), budget=budget, milestones=(0.5, 1.0), grace=None))
    supervisor.poll(1.0)
    supervisor.finish_early(0)
    reports, finished = [], []
    while not finished:
        for event in supervisor.poll(0.5):
            if isinstance(event, Reported):
                reports.append(event.report)
                supervisor.proceed(0)
            else:
                finished.append(event.outcome)
    (outcome,) = finished
    assert outcome.kind is OutcomeKind.COMPLETE and outcome.cost.seconds < 5
    assert reports[-1].milestone == 1 and outcome.final.progress == 1
    assert (tmp_path / "trials/0000/model.safetensors").exists()


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at the parents of processes in /proc")
@pytest.mark.timeout(60)
def test_no_process_outlives_the_fork_server(supervisor):
    supervisor.start(request(0, "hang", seconds=100))
    while not (jobs := [j.pid for j in supervisor._crew.jobs.values() if j.pid]):
        supervisor.poll(0.1)
    os.kill(supervisor._crew._template.pid, signal.SIGKILL)
    for _ in range(50):
        if not _alive(jobs[0]):
            return
        signal.sigtimedwait([], 0.1)
    pytest.fail("the worker lives on")


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.timeout(60)
@pytest.mark.slow
def test_where_forks_could_not_use_cuda_workers_are_fresh_processes(tmp_path):
    """As if importing the user's file had initialized CUDA."""
    count = f"open({str(tmp_path / 'imported')!r}, 'a').write('x')\ntorch.cuda._is_in_bad_fork = lambda: True\n"
    (tmp_path / "model.py").write_text(MODEL + count)
    made = Supervisor(TaskRef(str(tmp_path / "model.py")), Resources(cpu=True), SystemClock(), tmp_path)
    with closing(made):
        made.load(None)
        made.start(request(0, "", seconds=8.0))
        assert outcomes(made, 1)[0].kind is OutcomeKind.COMPLETE
    assert (tmp_path / "imported").read_text() == "xx"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    made = Supervisor(TaskRef(str(tmp_path / "model.py")), Resources(devices=(3,)), SystemClock(), tmp_path)
    with closing(made), pytest.raises(UsageError, match="--devices 3: torch finds no GPU"):
        made.load(None)


@pytest.fixture
def eight(tmp_path, monkeypatch):
    """Return what makes a supervisor of eight GPUs that are names only, and the file where workers say theirs."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    gpus = tuple(Gpu(f"GPU-{number}", "NVIDIA H200") for number in range(8))
    really = Crew.load
    monkeypatch.setattr(Crew, "load", lambda *given: {**really(*given), "machine": to_data(Machine(gpus, 64))})

    def make(body):
        (tmp_path / "model.py").write_text(body.replace("SEEN", str(tmp_path / "seen")))
        return Supervisor(TaskRef(str(tmp_path / "model.py")), Resources(), SystemClock(), tmp_path)

    return make, tmp_path / "seen"


SAYS = """
import os, time, torch
from autoaccel import Task
torch.cuda.is_available = lambda: True
def net(fault=""):
    with open("SEEN", "a") as file:
        file.write(os.environ["CUDA_VISIBLE_DEVICES"] + "\\n")
    time.sleep(1000)
task = Task(model=net, train=(torch.rand(400, 4), torch.arange(400) % 2))
"""


@pytest.mark.parametrize(
    "body", [SAYS, SAYS.replace("torch.cuda", "os.environ['CUDA_VISIBLE_DEVICES'] = '0,1'\ntorch.cuda")]
)
def test_each_worker_sees_a_gpu_of_its_own_and_a_ninth_trial_waits(eight, body):
    make, seen = eight
    with closing(make(body)) as made:
        made.load(None)
        assert made.slots.count == 8 and made.slots.threads == 8
        for trial in range(10):
            made.start(request(trial, "", seconds=100.0))
        lines = _lines(made, seen, 8)
        assert sorted(lines) == [f"GPU-{number}" for number in range(8)]
        made.stop(9)  # it has not begun, and never will
        made.preempt(3)
        ended = {trial: outcome.kind for trial, outcome in outcomes(made, 2).items()}
        assert ended == {9: OutcomeKind.PRUNED, 3: OutcomeKind.PREEMPTED}
        (again,) = _lines(made, seen, 9)[8:]
        assert again in lines


def _lines(made, path, count):
    """Wait until so many workers have said what they see."""
    for _ in range(600):
        made.poll(0.0)
        found = path.read_text().splitlines() if path.exists() else []
        if len(found) >= count:
            return found
        time.sleep(0.05)
    raise AssertionError(f"only {found}")


def test_devices_are_numbers_among_those_that_are_seen():
    assert Options(devices="0,3").resources().devices == (0, 3)
    assert Options(devices="cpu").resources().cpu and Options().resources().devices == ()
    for text, message in {
        "0,0": "each number may come once",
        "9" * 5000: "numbers",
        "gpu": "numbers such as 0,1 or cpu",
    }.items():
        with pytest.raises(UsageError, match=message):
            Options(devices=text).resources()


@pytest.mark.skipif(usable_cpus() < 2, reason="one CPU is not divided")
def test_how_many_trials_run_side_by_side_is_measured(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    resources = Resources(cpu=True, choosing=8.0)
    with closing(Supervisor(TaskRef(str(tmp_path / "model.py")), resources, SystemClock(), tmp_path)) as supervisor:
        supervisor.load(None)
        clock = SystemClock()
        facts, _ = supervisor.profile(None)
        assert supervisor.slots.count * supervisor.slots.threads <= usable_cpus()
        assert facts.train.seconds > 0
        assert clock.now() < 60
        for number in range(supervisor.slots.count):
            supervisor.start(TrialRequest(number, PLAIN["plain"], Budget(steps=2)))
        ended = set()
        while len(ended) < supervisor.slots.count:
            for event in supervisor.poll(0.1):
                if isinstance(event, Reported):
                    supervisor.proceed(event.report.trial)
                else:
                    ended.add(event.trial)
                    assert event.outcome.kind is OutcomeKind.COMPLETE
    assert sorted(path.name for path in (tmp_path / "trials").iterdir()) == [
        f"{number:04d}" for number in range(supervisor.slots.count)
    ]


def test_numpy_has_as_many_threads_as_the_trial(supervisor):
    supervisor.start(request(0, "blas", seconds=10.0))
    outcome = outcomes(supervisor, 1)[0]
    counts = [int(count) for count in re.findall(r"\d+", outcome.reason)]
    assert outcome.kind is OutcomeKind.FAILED and counts and max(counts) == supervisor.slots.threads, outcome.reason
