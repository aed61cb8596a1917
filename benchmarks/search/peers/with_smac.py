"""SMAC3 (Lindauer et al. 2022), through its ask and tell."""

from __future__ import annotations

import tempfile
from pathlib import Path

import joblib
from smac import MultiFidelityFacade, Scenario
from smac.runhistory.dataclasses import TrialValue

from benchmarks.search.peers.units import configurations, from_configuration, unit_space
from benchmarks.search.trainings import ETA, RUNGS, Trainings, search

INITIAL = 10
"""Recipes before the forest is asked, the default first. Its own, ten a hyperparameter, would be all of them."""


@search
def smac(trainings: Trainings, seed: int) -> None:
    """Run the brackets of Hyperband with recipes that a random forest proposes."""
    problem = trainings.problem
    space = unit_space(problem, seed)
    known = configurations(problem, space)
    first = [*known, *space.sample_configuration(max(2, INITIAL - len(known)))]
    # The forest of ten trees is fitted faster without threads.
    with tempfile.TemporaryDirectory() as folder, joblib.parallel_config("sequential"):
        scenario = Scenario(
            space, deterministic=True, min_budget=1, max_budget=1 / RUNGS[0], seed=seed, n_trials=100_000,
            output_directory=Path(folder),
        )  # fmt: skip
        facade = MultiFidelityFacade(
            scenario,
            lambda config, seed, budget: 0.0,
            # Its own design would try the default after the random recipes.
            initial_design=MultiFidelityFacade.get_initial_design(scenario, n_configs=0, additional_configs=first),
            intensifier=MultiFidelityFacade.get_intensifier(scenario, eta=ETA),
            overwrite=True,
            logging_level=False,
        )
        while True:
            info = facade.ask()
            loss = trainings.train(from_configuration(problem, info.config), info.budget * RUNGS[0])
            facade.tell(info, TrialValue(cost=loss, time=info.budget), save=False)
