"""BOHB (Falkner et al. 2018): the proposals of its own package in brackets of Hyperband, without its servers."""

from __future__ import annotations

import logging
import warnings

import numpy as np
from hpbandster.core.dispatcher import Job
from hpbandster.optimizers.config_generators.bohb import BOHB

from benchmarks.search.peers.simple import brackets
from benchmarks.search.peers.units import configurations, from_configuration, unit_space
from benchmarks.search.problems import Values
from benchmarks.search.trainings import Trainings, search


@search
def bohb(trainings: Trainings, seed: int) -> None:
    """Run the brackets of Hyperband with recipes that kernel densities of the good and the bad propose."""
    np.random.seed(seed)  # it draws from the generator of the process
    problem = trainings.problem
    space = unit_space(problem, seed)
    silent = logging.getLogger("bohb")
    silent.setLevel(logging.CRITICAL)
    engine = BOHB(configspace=space, logger=silent)
    first = configurations(problem, space)

    def propose(length: float) -> Values:
        return dict(first.pop(0) if first else engine.get_config(length)[0])

    def train(point: Values, length: float) -> float:
        job = Job((0, 0, 0), config=dict(point), budget=length)
        loss = trainings.train(from_configuration(problem, point), length)
        job.result = {"loss": loss}
        engine.new_result(job)
        return loss

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses older names of its libraries
        brackets(propose, train)
