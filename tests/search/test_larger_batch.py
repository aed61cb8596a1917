"""A final training with larger batches, on devices that have nothing to do for batches of the recipe's own size."""

import math
from dataclasses import replace

import pytest
from simulation import FACTS, quality
from simulation import simulate as simulated

from autoaccel.core.budget import Budget
from autoaccel.core.recipe import PLAIN, Choice
from autoaccel.core.trial import OutcomeKind, Purpose
from autoaccel.search.larger_batch import with_larger_batches
from autoaccel.search.ways import Way

MINUTES = Budget(seconds=600)
MANY = replace(FACTS, n_train=100_000)


def size(request):
    return request.recipe.batch_size.parameters["size"]


def share_limited(request):
    """Seconds of a step of a device that takes as long for 32 samples as for fewer, and a little to talk."""
    return max(32.0, size(request) / request.processes) * (1 + 0.02 * math.log2(request.processes))


def slow_alone(request):
    """Seconds of a step that takes as long for up to 256 samples of a device."""
    return max(256.0, size(request) / request.processes) * (1 + 0.02 * math.log2(request.processes))


def simulate(table=quality, pace=share_limited, facts=MANY, **options):
    options = {"workers": 8, "gpus": True} | options
    return simulated(MINUTES, table, pace=pace, standard_error=None, profiled=facts, **options)


def test_devices_that_a_batch_is_too_small_for_have_a_larger_one():
    search, clock, _ = simulate()
    [final] = search.trials.of(Purpose.FINAL)
    paced = [one.request for one in search.trials.of(Purpose.PACE)]
    own = {size(request) for request in paced if request.recipe != final.request.recipe}
    best = final.request.devices // final.request.larger
    assert Way.of(final.request) == Way(8, 8) and final.request.larger > 1 and len(own) == 1
    assert size(final.request) == final.request.larger * own.pop()
    assert size(final.request) / 8 == size(paced[0]) / best and paced[-1].recipe == final.request.recipe
    assert final.request.origin.endswith(f", batches x {final.request.larger}") and clock.now() <= 600
    # What plain would have reached, it would have with batches of its own, which as many devices do not make faster.
    assert final.request.speed <= best
    # Shares of other batches would be too small, and all devices are busy.
    assert not search.trials.of(Purpose.EVIDENCE)


@pytest.mark.parametrize(
    ("options", "count"),
    [({"workers": 16, "nodes": (8, 8)}, 1), ({"facts": replace(FACTS, n_train=5000), "pace": slow_alone}, 1)],
)
def test_what_larger_batches_leave_idle_trains_the_next_best_recipes_with_such(options, count):
    search, clock, _ = simulate(**options)
    [final] = search.trials.of(Purpose.FINAL)
    others = [one for one in search.trials if one.number > final.number]
    larger = final.request.larger
    assert larger > 1 and clock.now() <= 600 and len(others) >= count
    for other in others:
        assert other.complete and other.purpose is Purpose.SEARCH
        assert Way.of(other.request) == Way.of(final.request) and other.request.larger == larger
        assert other.request.origin.endswith(f", batches x {larger}")
    assert len({one.request.recipe for one in [final, *others]}) == len(others) + 1


def test_where_the_own_batch_keeps_all_devices_busy_it_stays():
    search, _, _ = simulate(pace=lambda request: size(request) / request.processes)
    [final] = search.trials.of(Purpose.FINAL)
    assert Way.of(final.request) == Way(8, 8) and final.request.larger == 1


def test_larger_batches_that_take_longer_are_not_taken():
    search, _, _ = simulate(pace=lambda request: float(size(request)) * request.processes**0.1)
    [final] = search.trials.of(Purpose.FINAL)
    assert Way.of(final.request) == Way(1, 1) and final.request.larger == 1
    assert len(search.trials.of(Purpose.PACE)) == 5


@pytest.mark.parametrize("options", [{"longest": Budget(epochs=3000)}, {"workers": 1}, {"gpus": False}])
def test_batches_stay_where_passes_count_or_nothing_is_idle(options):
    search, _, _ = simulate(**options)
    assert all(one.request.larger == 1 for one in search.trials)


def test_few_data_have_no_larger_batches():
    search, _, _ = simulate(facts=FACTS)
    assert all(size(one.request) * 16 <= FACTS.n_train for one in search.trials if one.request.larger > 1)


def test_when_it_diverges_the_next_recipe_keeps_its_batch():
    def table(request, p):
        return math.nan if request.larger > 1 and request.purpose is Purpose.FINAL else quality(request, p)

    search, clock, _ = simulate(table)
    first, second = search.trials.of(Purpose.FINAL)
    assert first.outcome.kind is OutcomeKind.INFEASIBLE and first.request.larger > 1
    assert second.complete and second.request.larger == 1 and clock.now() <= 600


def test_rates_are_scaled_with_the_square_root_or_as_the_recipe_says():
    muon = Choice("muon", {"lr": 0.02, "adam_lr": 0.004, "weight_decay": 0.1})
    batches = Choice("constant_batch", {"size": 32})
    recipe = replace(PLAIN["plain"], optimizer=muon, batch_size=batches)
    larger = with_larger_batches(recipe, 4, MANY)
    assert larger.batch_size.parameters == {"size": 128}
    assert larger.optimizer.parameters == {"lr": 0.04, "adam_lr": 0.008, "weight_decay": 0.1}
    said = replace(recipe, techniques={"decoupled": {"rule": "none"}})
    assert with_larger_batches(said, 4, MANY).optimizer == muon
    assert with_larger_batches(recipe, 4, replace(MANY, n_train=2048)) is not None
    assert with_larger_batches(recipe, 4, replace(MANY, n_train=2047)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": Choice("constant_batch", {"size": {"from": 16, "to": 64}})},
        {"batch_size": Choice("users_own", {})},
        {"optimizer": Choice("adamw", {"lr": {"from": 0.1, "to": 0.01}})},
    ],
)
def test_what_changes_in_a_way_of_its_own_is_left_alone(change):
    recipe = replace(PLAIN["plain"], batch_size=Choice("constant_batch", {"size": 32}))
    assert with_larger_batches(replace(recipe, **change), 2, MANY) is None
    fixed = replace(MANY, capabilities=MANY.capabilities - {"free_batches"})
    assert with_larger_batches(recipe, 2, MANY) is not None and with_larger_batches(recipe, 2, fixed) is None
