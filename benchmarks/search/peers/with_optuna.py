"""The peers of Optuna, through its ask and tell."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from autoaccel.core.catalog import Domain
from benchmarks.search.problems import Problem
from benchmarks.search.trainings import ETA, RUNGS, Trainings, search

optuna.logging.set_verbosity(optuna.logging.WARNING)


@search
def tpe(trainings: Trainings, seed: int) -> None:
    """Train what the tree-structured Parzen estimator proposes, in full."""
    _in_full(trainings, _tpe(seed))


@search
def gp(trainings: Trainings, seed: int) -> None:
    """Train what a Gaussian process proposes, in full."""
    with _experimental():
        sampler = optuna.samplers.GPSampler(seed=seed)
    _in_full(trainings, sampler)


def _in_full(trainings: Trainings, sampler: optuna.samplers.BaseSampler) -> None:
    study = optuna.create_study(sampler=sampler)
    space = _begin(study, trainings.problem)
    while True:
        trial = study.ask(space)
        study.tell(trial, trainings.train(trial.params, 1.0))


@search
def tpe_hyperband(trainings: Trainings, seed: int) -> None:
    """Train what the Parzen estimator proposes, and prune by Hyperband within the trial.

    Trials are scheduled for the full length and pay for the part that was trained. The default is not pruned.
    """
    steps = [round(length / RUNGS[0]) for length in RUNGS]
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=steps[-1], reduction_factor=ETA)
    # Hyperband tells trials apart by the study's name, which is random unless given.
    study = optuna.create_study(sampler=_tpe(seed), pruner=pruner, study_name=f"seed {seed}")
    space = _begin(study, trainings.problem)
    while True:
        trial, begin, value, state = study.ask(space), 0.0, 0.0, TrialState.COMPLETE
        for step, length in zip(steps, RUNGS, strict=True):
            if trial.number:
                value = trainings.go_on(trial.params, begin, length)
            else:
                value = trainings.look(trial.params, length) if length < 1.0 else trainings.train(trial.params, 1.0)
            trial.report(value, step)
            begin = length
            if trial.number and length < 1.0 and trial.should_prune():
                state = TrialState.PRUNED
                break
        study.tell(trial, value if state is TrialState.COMPLETE else None, state=state)


def _tpe(seed: int) -> optuna.samplers.BaseSampler:
    with _experimental():
        return optuna.samplers.TPESampler(seed=seed, multivariate=True)


@contextmanager
def _experimental() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _begin(study: optuna.Study, problem: Problem) -> dict[str, BaseDistribution]:
    for values in (problem.default, *problem.known):
        study.enqueue_trial(dict(values))
    return {name: _distribution(domain) for name, domain in problem.domains.items()}


def _distribution(domain: Domain) -> BaseDistribution:
    if domain.options:
        return CategoricalDistribution(domain.options)
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)
