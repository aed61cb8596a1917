"""Samplers: any of Optuna's through its public interface, and those of other people."""

import optuna
import pytest
from autoaccel.search_spaces import read
from extending import example
from simulation import FACTS, Book, quality

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Profiled, Start
from autoaccel.core.trial import Purpose
from autoaccel.errors import UsageError
from autoaccel.execution.simulated import TableExecutor
from autoaccel.search.base import Findings, Proposal, SearchSettings
from autoaccel.search.optuna_sampler import OptunaSampler
from autoaccel.search.samplers import SAMPLERS, find_sampler
from autoaccel.search.searches import find_search
from autoaccel.spaces.space import SearchSpace
from autoaccel.techniques.registry import catalog
from autoaccel.tuner.loop import Loop
from autoaccel.tuner.replay import replay

OPTUNA = {
    "random": lambda: optuna.samplers.RandomSampler(seed=0),
    "tpe": lambda: optuna.samplers.TPESampler(seed=0),
    "qmc": lambda: optuna.samplers.QMCSampler(
        seed=0, warn_asynchronous_seeding=False, warn_independent_sampling=False
    ),
    "genetic": lambda: optuna.samplers.NSGAIISampler(seed=0, population_size=8),
}


def run(sampler, seconds=1200, seed=0):
    """The proposals of a simulated run, and what it found."""
    clock, book = SimulatedClock(2.0), Book()
    settings = SearchSettings(SearchSpace.load("vision"), Budget(seconds=seconds), seed, 1.5, sampler)
    search = find_search(None)(settings)
    Loop(search, TableExecutor(quality, clock), clock, [book]).run([Profiled(FACTS)])
    requests = [e.request for _, e in book.entries if isinstance(e, Start)]
    return search, [r for r in requests if r.purpose is Purpose.SEARCH and r.parent is None], book


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", OPTUNA)
def test_any_optuna_sampler_proposes_recipes_of_the_space(name):
    """The portfolio comes first, and no recipe comes twice."""
    space = SearchSpace.load("vision")
    search, proposed, _ = run(OPTUNA[name]())
    origins = [request.origin for request in proposed]
    first = [origin for origin in origins if origin.startswith("portfolio ")]
    assert len(first) >= 3 and first == origins[: len(first)]
    assert "model" in origins
    assert len({request.recipe for request in proposed}) == len(proposed)
    fitted, _ = space.for_task(FACTS.capabilities)
    domains = fitted.domains()
    for request in (r for r in proposed if r.origin == "model"):
        assert all(domains[n].contains(given) for n, given in request.recipe.flat().items() if n in domains)
    assert search.final() is not None


def test_a_sampler_knows_the_portfolios_results():
    """Enqueued recipes are trials of the study like all others, and their values are those of the recipes."""
    space, _ = SearchSpace.load("vision").for_task(FACTS.capabilities)
    sampler = OptunaSampler(space, optuna.samplers.TPESampler(seed=0))
    proposal = sampler.propose(Findings())
    sampler.tell(proposal, 0.25)
    (trial,) = [t for t in sampler._study.trials if t.state.is_finished()]
    assert trial.value == 0.25
    flat = proposal.recipe.flat()
    assert trial.params["optimizer"] == flat["optimizer"]
    assert all(flat.get(name, False) == given for name, given in trial.params.items() if name in flat)


def test_an_infeasible_recipe_is_pruned_and_violates_a_constraint():
    """A failed trial would teach the sampler nothing. A recipe from another source is told in the same way."""
    space, _ = SearchSpace.load("vision").for_task(FACTS.capabilities)
    sampler = OptunaSampler(space, optuna.samplers.RandomSampler(seed=0), portfolio=False)
    sampler.tell(sampler.propose(Findings()), None)
    sampler.tell(Proposal(sampler.propose(Findings()).recipe, "mutation"), None)
    told = [trial for trial in sampler._study.trials if trial.state.is_finished()]
    assert [trial.state for trial in told] == [optuna.trial.TrialState.PRUNED] * 2
    assert all(max(trial.constraints.values()) > 0 for trial in told)


def test_a_seeded_sampler_replays():
    _, _, book = run(OPTUNA["tpe"]())
    space, budget = SearchSpace.load("vision"), Budget(seconds=1200)
    again = find_search(None)(SearchSettings(space, budget, 0, 1.5, OPTUNA["tpe"]()))
    cut = book.entries[: len(book.entries) // 2]
    replay(again, cut)
    known = {e.request.trial: e.request.recipe for _, e in cut if isinstance(e, Start)}
    assert {n: again.trials[n].request.recipe for n in known} == known


def test_a_sampler_from_outside_is_used():
    search, proposed, _ = run(example("sampler").Tournament)
    assert {request.origin for request in proposed} == {"tournament"}
    assert search.final() is not None


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_by_name(name):
    assert run(name, seconds=300)[0].final() is not None


def test_an_unknown_sampler_or_search_is_refused():
    with pytest.raises(UsageError, match="did you mean 'random'"):
        find_sampler("randm")
    with pytest.raises(UsageError, match="accepted is a name, an Optuna sampler"):
        find_sampler(7)
    for wrong in ("grid", ["halving"]):
        with pytest.raises(UsageError, match="accepted is halving"):
            find_search(wrong)


def test_the_same_sampler_object_gives_the_same_run():
    """As in a notebook, where a cell is run again, or a run resumed with the object at hand."""
    sampler = optuna.samplers.TPESampler(seed=1)
    once, again = (run(sampler, seconds=600)[1] for _ in range(2))
    assert [request.recipe for request in once] == [request.recipe for request in again]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_sampler_that_has_tried_everything_says_so():
    data = {
        "optimizer": {"sgd": {"momentum": [0.0, 0.9]}},
        "learning_rate": {"linear": {}},
        "batch_size": {"constant_batch": {"size": [16, 32]}},
    }
    space = SearchSpace.from_data(data, catalog(), read, "small")
    sampler, tried = OptunaSampler(space, optuna.samplers.BruteForceSampler(seed=0)), []
    while (proposal := sampler.propose(Findings())) is not None:
        tried.append(proposal.recipe)
        sampler.tell(proposal, float(len(tried)))
    assert len(set(tried)) == len(tried) == 4


def test_a_sampler_that_cannot_draw_is_refused():
    space, _ = SearchSpace.load("vision").for_task(FACTS.capabilities)
    sampler = OptunaSampler(
        space, optuna.samplers.GridSampler({"batch_size": ["constant_batch"]}, seed=0), portfolio=False
    )
    with pytest.raises(UsageError, match="GridSampler cannot draw from the search space vision"):
        sampler.propose(Findings())
