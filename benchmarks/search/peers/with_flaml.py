"""FLAML's cost-frugal local search (Wu et al. 2021), through its ask and tell.

With the length as its resource, as it was better here than at full length, and than BlendSearch either way.
"""

from __future__ import annotations

import logging
import warnings
from itertools import count

import optuna

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its models of tables are not asked for
    from flaml import CFO, tune

from autoaccel.core.catalog import Domain
from benchmarks.search.peers.units import numbers
from benchmarks.search.trainings import ETA, RUNGS, Trainings, search

logging.getLogger("flaml").setLevel(logging.WARNING)
COST, LENGTH = "cost", "length"
PATIENCE = 100
"""Refusals of a step in a row after which FLAML itself gives up."""
optuna.logging.set_verbosity(optuna.logging.WARNING)


@search
def flaml(trainings: Trainings, seed: int) -> None:
    """Search near the default, train longer what is better, and begin anew elsewhere."""
    problem = trainings.problem
    first = [dict(values) for values in (problem.default, *problem.known)]
    engine = CFO(
        metric="loss", mode="min", space={name: _domain(domain) for name, domain in problem.domains.items()},
        points_to_evaluate=first, seed=seed, cost_attr=COST, resource_attr=LENGTH, min_resource=1,
        max_resource=round(1 / RUNGS[0]), reduction_factor=ETA,
    )  # fmt: skip
    refused = 0
    for number in count():
        config = engine.suggest(str(number))
        refused = 0 if config else refused + 1
        if refused > PATIENCE:
            return
        if config:
            length = config.get(LENGTH, 1 / RUNGS[0]) * RUNGS[0]
            loss = trainings.train(numbers(problem, config), length)
            engine.on_trial_complete(str(number), {"config": config, "loss": loss, COST: length})


def _domain(domain: Domain) -> object:
    if domain.options:
        return tune.choice(list(domain.options))
    if domain.integer:
        kind = tune.lograndint if domain.log else tune.randint
        return kind(int(domain.low), int(domain.high) + 1)
    return (tune.loguniform if domain.log else tune.uniform)(domain.low, domain.high)
