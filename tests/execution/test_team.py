"""Trials of several processes: they train what one does, end together, and the cause is told, not what follows it."""

import os
import signal
from contextlib import closing
from dataclasses import replace

import psutil
import pytest

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SystemClock
from autoaccel.core.events import Finished, Reported
from autoaccel.core.recipe import PLAIN
from autoaccel.core.resources import Resources
from autoaccel.core.target import TaskRef
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.execution.local.supervisor import Supervisor

pytestmark = pytest.mark.slow
MODEL = """
import os, time, torch
from accelerate import PartialState
from torch import nn
from autoaccel import Task

class Net(nn.Module):
    def __init__(self, fault="", rank=1, slow=0.0):
        super().__init__()
        self.layer, self.fault, self.slow, self.calls = nn.Linear(4, 2), fault, slow, 0
        self.here = PartialState().process_index == rank

    def forward(self, x):
        self.calls += 1
        if self.training:
            time.sleep(self.slow)
        if self.calls > 5 and self.training and self.here:
            if self.fault == "die":
                os._exit(7)
            if self.fault == "raise":
                raise ValueError("no such thing")
            if self.fault == "memory":
                raise torch.OutOfMemoryError("CUDA out of memory")
            if self.fault == "leave":
                os._exit(0)
        return self.layer(x)

generator = torch.Generator().manual_seed(0)
task = Task(model=Net, train=(torch.rand(400, 4, generator=generator), torch.arange(400) % 2))
"""


@pytest.fixture(scope="module")
def supervisor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "model.py").write_text(MODEL)
    made = Supervisor(TaskRef(str(folder / "model.py")), Resources(cpu=True, workers=2), SystemClock(), folder)
    made.load(None)
    made.profile(None)
    yield made
    made.close()


def asked(number, steps=40, processes=2, **model):
    recipe = replace(PLAIN["plain"], model=model)
    return TrialRequest(number, recipe, Budget(steps=steps), devices=2, processes=processes, milestones=(0.5, 1.0))


def ended(supervisor, number, reports=None, wait=60.0):
    """Wait for a trial's end."""
    clock = SystemClock()
    while clock.now() < wait:
        for event in supervisor.poll(0.1):
            if isinstance(event, Reported) and reports is not None:
                reports.append(event.report)
                supervisor.proceed(event.report.trial)
            if isinstance(event, Finished) and event.trial == number:
                return event.outcome
    raise AssertionError(f"trial {number} did not end")


def others(supervisor):
    """The processes of the run besides its fork server and warden."""
    return [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]


def left(supervisor, before):
    """Those that have come since, and do not end within two seconds."""
    _, alive = psutil.wait_procs(set(others(supervisor)) - before, timeout=2.0)
    return alive


def test_two_processes_train_what_one_does(supervisor):
    outcomes = []
    for number, processes in ((0, 1), (1, 2)):
        reports = []
        supervisor.start(asked(number, processes=processes))
        outcomes.append(ended(supervisor, number, reports))
        assert len(reports) == 2, "only the first process reports"
    one, two = outcomes
    assert one.kind is two.kind is OutcomeKind.COMPLETE, two.reason
    assert two.final.loss == pytest.approx(one.final.loss, rel=1e-4)
    assert two.cost["samples"] == one.cost["samples"]
    assert (supervisor.trial_folder(1) / "model.safetensors").is_file()
    assert "FutureWarning" not in (supervisor.trial_folder(1) / "log.txt").read_text()


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        ("die", OutcomeKind.LOST, "ended with exit code 7"),
        ("raise", OutcomeKind.FAILED, "ValueError: no such thing"),
        ("memory", OutcomeKind.LOST, "one of 2 processes ran out of memory"),
        ("leave", OutcomeKind.LOST, "ended with exit code 0"),
    ],
)
def test_what_went_wrong_in_one_is_the_reason(supervisor, fault, rank, kind, reason):
    number = 10 + ["die", "raise", "memory", "leave"].index(fault) * 2 + rank
    before = set(others(supervisor))
    supervisor.start(asked(number, steps=4000, fault=fault, rank=rank))
    outcome = ended(supervisor, number)
    assert outcome.kind is kind, outcome.reason
    assert reason in outcome.reason
    assert left(supervisor, before) == []


@pytest.mark.parametrize("which", [0, 1])
def test_a_killed_process_ends_the_trial_in_under_two_seconds(supervisor, which):
    before = set(others(supervisor))
    reports = []
    supervisor.start(replace(asked(30 + which, steps=10**6, slow=0.01), milestones=(1e-5, 1.0)))
    while not reports:
        reports += [event for event in supervisor.poll(0.1) if isinstance(event, Reported)]
    supervisor.proceed(30 + which)
    workers = sorted(set(others(supervisor)) - before, key=lambda process: process.create_time())
    assert len(workers) == 2
    clock = SystemClock()
    os.kill(workers[which].pid, signal.SIGKILL)
    outcome = ended(supervisor, 30 + which)
    assert clock.now() < 2.0
    assert not any(process.is_running() for process in workers), "all of them had devices"
    assert outcome.kind is OutcomeKind.LOST
    assert "SIGKILL" in outcome.reason
    assert ("process 2 of 2" in outcome.reason) == (which == 1)
    assert left(supervisor, before) == []


def test_a_request_to_stop_or_to_finish_early_reaches_all(supervisor):
    for number, ask, kind in ((40, "stop", OutcomeKind.PRUNED), (41, "finish_early", OutcomeKind.COMPLETE)):
        before = set(others(supervisor))
        supervisor.start(replace(asked(number, steps=10**5, slow=0.001), milestones=(1e-3, 1.0)))
        while not [event for event in supervisor.poll(0.1) if isinstance(event, Reported)]:
            pass
        supervisor.proceed(number)
        getattr(supervisor, ask)(number)
        assert ended(supervisor, number, []).kind is kind
        assert left(supervisor, before) == []


def test_a_preempted_one_goes_on_from_its_checkpoint(supervisor):
    supervisor.start(replace(asked(50, steps=3000, slow=0.001), milestones=(1e-3, 1.0)))
    while not [event for event in supervisor.poll(0.1) if isinstance(event, Reported)]:
        pass
    supervisor.proceed(50)
    supervisor.preempt(50)
    outcome = ended(supervisor, 50, [])
    assert outcome.kind is OutcomeKind.PREEMPTED
    assert outcome.saved.steps > 0
    again = replace(asked(51, steps=3000), milestones=(1e-3, 1.0), resumes=50, carried=outcome.saved)
    supervisor.start(again)
    following = ended(supervisor, 51, [])
    assert following.kind is OutcomeKind.COMPLETE, following.reason
    assert following.cost.steps == 3000


def test_the_rest_waits_for_one_that_needs_all(supervisor):
    supervisor.start(replace(asked(60, processes=1), devices=1))
    supervisor.start(asked(61))
    supervisor.start(replace(asked(62, processes=1), devices=1))
    order = []
    while len(order) < 3:
        for event in supervisor.poll(0.1):
            order += [event.trial] if isinstance(event, Finished) else []
            if isinstance(event, Reported):
                supervisor.proceed(event.report.trial)
    assert order == [60, 61, 62]


def test_an_accelerator_of_the_users_file_does_not_hide_the_others(tmp_path):
    """It was made before there were any, and has a precision that no trial asks for."""
    made = "from accelerate import Accelerator\naccelerator = Accelerator(cpu=True, mixed_precision='bf16')\n"
    used = MODEL.replace("nn.Linear(4, 2)", "nn.Linear(4, 2).to(accelerator.device)")
    (tmp_path / "model.py").write_text(made + used)
    target = TaskRef(str(tmp_path / "model.py"))
    with closing(Supervisor(target, Resources(cpu=True, workers=2), SystemClock(), tmp_path)) as supervisor:
        supervisor.load(None)
        facts, _ = supervisor.profile(None)
        assert supervisor.identify(None)[0] == facts.fingerprint
        outcomes = []
        for number, processes in ((0, 1), (1, 2)):
            supervisor.start(replace(asked(number, processes=processes), milestones=(1.0,)))
            outcomes.append(ended(supervisor, number))
    one, two = outcomes
    assert one.kind is two.kind is OutcomeKind.COMPLETE, (one.reason, two.reason)
    assert two.cost["samples"] == one.cost["samples"], "each batch is shared"
    assert two.final.loss == pytest.approx(one.final.loss, rel=1e-4)
