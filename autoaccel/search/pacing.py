"""Turn a final training on one device into one on as many as make it faster, or into what measures that first.

Devices that have nothing to do for batches of the recipe's own size may have larger ones; see `larger_batch`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from autoaccel.core.budget import Budget
from autoaccel.core.facts import TaskFacts
from autoaccel.core.quantities import SECONDS, Cost
from autoaccel.core.records import Trials
from autoaccel.core.trial import PACED, Purpose, TrialRequest
from autoaccel.search.ending import GIVEN_UP
from autoaccel.search.larger_batch import MOST, larger_origin, with_larger_batches
from autoaccel.search.requests import like
from autoaccel.search.ways import Paces, Way

SHARE = 0.01
"""Largest share of a training's budget for the measurement of one way to run it."""
SETUP = 5.0
"""Seconds that a set-up is taken to last where none was measured."""
LEAST = 2.0
"""Seconds of that, at least, and how many times as long as its set-up and its steps are expected to take."""
SLOWER = 1.25
"""How many times as long a step may take with larger batches: they are better at equal steps, which is measured."""
FEWEST = 32
"""Fewest samples of a batch for each process, where no measurement may say whether fewer are of use."""


def shared(
    request: TrialRequest,
    trials: Trials,
    ways: Sequence[Way],
    setup: float = SETUP,
    longest: Budget | None = None,
    facts: TaskFacts | None = None,
) -> TrialRequest:
    """Return a training in the best way that is known, or the next measurement that finds it out.

    Args:
        request: The training.
        trials: The trials of the run, with the measurements.
        ways: The ways to use the devices, those with the fewest processes first.
        setup: Seconds that a set-up is expected to take.
        longest: The longest useful training, in what does not depend on the devices; None if unknown.
        facts: The facts of the task, if its batches may be larger where some devices have nothing to do otherwise.
    """
    if request.rescue or (request.resumes is not None and Way.of(request) in ways):  # it goes on as it began
        return request
    finals, beside = [*trials.of(Purpose.FINAL)], trials.of(Purpose.SEARCH)
    wide = (one.request for one in (*finals, *beside) if one.request.larger > 1)
    if before := next((one for one in wide if one.recipe == request.recipe), None):  # has been begun so
        return like(request, before)
    timed = not request.budget.deterministic
    paces = Paces(trials, request.recipe, ways if timed else _large_enough(request, ways), timed)
    way = paces.missing()
    if way is not None and _affordable(request, setup):
        return pace_request(request, way)
    given_up = any(one.outcome and one.outcome.kind in GIVEN_UP for one in finals if one.request.larger > 1)
    if facts and timed and longest is None and not given_up:
        following = _with_larger_batches(request, trials, ways, paces, setup, facts)
        if following is not None:
            return following
    best, budget = paces.best(), request.budget
    # Other quantities than time bring as much on any number of devices.
    speed = paces.speed() if set(budget) == {SECONDS} else 1.0
    if longest is not None and speed > 1:
        budget = Budget({**longest, **budget})
    return replace(request, budget=budget, devices=best.devices, processes=best.processes, speed=speed)


def _with_larger_batches(
    request: TrialRequest, trials: Trials, ways: Sequence[Way], paces: Paces, setup: float, facts: TaskFacts
) -> TrialRequest | None:
    """Return the training with larger batches if its steps take hardly longer, or what measures whether they do."""
    wide = _wider(request, ways, paces, facts)
    if wide is None:
        return None
    own, known = paces.seconds(paces.best()), Paces(trials, wide.recipe, ways).seconds(Way.of(wide))
    if known is None and own is not None and _affordable(wide, setup):
        return pace_request(wide, Way.of(wide))
    fast = known is not None and own is not None and known <= SLOWER * own < math.inf
    return replace(wide, speed=paces.speed()) if fast else None


def _wider(request: TrialRequest, ways: Sequence[Way], paces: Paces, facts: TaskFacts) -> TrialRequest | None:
    """Return the training on more devices, of which each has as much of larger batches as in the best way."""
    best = paces.best()
    times = min(MOST, ways[-1].devices // best.devices)
    if best.devices != best.processes or set(request.budget) != {SECONDS}:
        return None
    while times > 1:
        if recipe := with_larger_batches(request.recipe, times, facts):
            count, origin = times * best.devices, larger_origin(request.origin, times)
            return replace(request, recipe=recipe, origin=origin, devices=count, processes=count, larger=times)
        times //= 2
    return None


def pace_request(request: TrialRequest, way: Way) -> TrialRequest:
    """Return a request that times the steps of a training; see `TrialRequest` for the arguments."""
    return replace(
        request,
        budget=Budget({**(request.budget * SHARE), "steps": float(PACED)}),
        purpose=Purpose.PACE,
        milestones=(1.0,),
        test=False,
        origin=str(way),
        evaluation=Cost(),
        finalization=Cost(),
        grace=LEAST if request.budget.seconds else None,
        keep_best=False,
        measure=(),
        resumes=None,
        carried=Cost(),
        devices=way.devices,
        processes=way.processes,
    )


def _affordable(request: TrialRequest, setup: float) -> bool:
    """Return whether a measurement ends within its share of the time."""
    seconds = request.budget.seconds
    return not seconds or SHARE * seconds >= LEAST * max(1.0, setup + PACED * request.step.seconds)


def _large_enough(request: TrialRequest, ways: Sequence[Way]) -> Sequence[Way]:
    if ways[0].devices > 1:  # on CPUs one process has all threads
        return ways[:1]
    size = request.recipe.batch_size.parameters.get("size")
    samples = size if isinstance(size, int | float) else FEWEST  # of a schedule the smallest size counts, maybe
    return [way for way in ways if way.processes == 1 or samples >= FEWEST * way.processes]
