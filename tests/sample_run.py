"""Records of a small run, for tests of the modules that read runs."""

from autoaccel.core.budget import Budget
from autoaccel.core.events import Finished, Profiled, Reported, Start
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose, Report, TrialRequest

FACTS = TaskFacts(
    kind="table", capabilities=frozenset({"table"}), metric="loss", maximize=False, n_train=80, n_valid=20
)


def request(trial=0, purpose=Purpose.BASELINE, origin="plain", recipe=PLAIN["plain"]):
    return TrialRequest(trial, recipe, Budget(seconds=2.0), purpose, origin=origin, milestones=(0.5, 1.0))


def report(trial=0, milestone=1, metric=0.5):
    return Report(
        trial,
        milestone,
        (milestone + 1) / 2,
        metric,
        metric,
        0.01,
        Cost(seconds=1.0, flops=1e6, steps=5, samples=50),
    )


def complete(trial=0, metric=0.5):
    return Finished(
        trial,
        Outcome(
            OutcomeKind.COMPLETE, Cost(seconds=2.0, flops=2e6, steps=10, samples=100), report(trial, metric=metric)
        ),
    )


def failed(trial, reason, where=""):
    return Finished(trial, Outcome(OutcomeKind.FAILED, Cost(seconds=1.0), reason=reason, where=where))


def entries():
    """Two plain trials, the second one unfinished."""
    return [
        (1.0, Profiled(FACTS)),
        (1.0, Start(request(0))),
        (2.0, Reported(report(0, 0))),
        (3.0, Reported(report(0, 1))),
        (3.0, complete(0)),
        (3.0, Start(request(1, origin="plain_constant", recipe=PLAIN["plain_constant"]))),
    ]
