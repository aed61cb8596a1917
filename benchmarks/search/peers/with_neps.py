"""NePS: PriorBand (Mallik et al. 2023), through its ask and tell."""

from __future__ import annotations

import random

import neps as library
import numpy as np
import torch

from benchmarks.search.peers.units import numbers
from benchmarks.search.trainings import ETA, RUNGS, Trainings, search

LENGTH = "length"


@search
def neps(trainings: Trainings, seed: int) -> None:
    """Run the brackets of Hyperband with recipes drawn at random, near the default and near the best."""
    # NePS draws from the generators of the process.
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    problem = trainings.problem
    optimizer = library.algorithms.priorband(_space(trainings), eta=ETA, sample_prior_first=True)
    engine = library.AskAndTell(optimizer)
    while True:
        trial = engine.ask()
        length = float(trial.config[LENGTH]) * RUNGS[0]
        engine.tell(trial, trainings.train(numbers(problem, trial.config), length))


def _space(trainings: Trainings) -> library.PipelineSpace:
    problem = trainings.problem
    parameters = {LENGTH: library.IntegerFidelity(1, round(1 / RUNGS[0]))}
    for name, domain in problem.domains.items():
        if domain.options:
            place = domain.options.index(problem.default[name])
            parameters[name] = library.Categorical(domain.options, prior=place, prior_confidence="medium")
            continue
        kind = library.Integer if domain.integer else library.Float
        prior = {"prior": problem.default[name], "prior_confidence": "medium"}
        parameters[name] = kind(domain.low, domain.high, log=domain.log, **prior)
    space: library.PipelineSpace = type("Space", (library.PipelineSpace,), parameters)()
    return space
