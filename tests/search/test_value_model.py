"""The model of value against length, the beliefs that rest on it, and who is promoted because of them."""

import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
from autoaccel.search_spaces import read
from simulation import FACTS, simulate

from autoaccel.core.budget import Budget
from autoaccel.core.catalog import Domain
from autoaccel.core.recipe import PLAIN
from autoaccel.search.encoding import Encoder
from autoaccel.search.valuation import Valuation
from autoaccel.search.value_model import Observation, ValueModel
from autoaccel.spaces.space import SearchSpace
from autoaccel.techniques.registry import catalog

OWN = {"width": Domain(8, 128, log=True, integer=True), "act": Domain(options=("relu", "gelu"))}


def own_space():
    data = {"schema": 2, "optimizer": {"adamw": {"lr": {"low": 1e-4, "high": 1e-1, "log": True}}},
            "learning_rate": {"linear": {}}, "batch_size": {"constant_batch": {"size": [16, 32, 64]}}}  # fmt: skip
    return SearchSpace.from_data(data, catalog(), read).with_model(OWN, {"width": 32, "act": "relu"})


def true_value(recipe, length):
    """A power law of the length above a floor that depends on the rate; the best rate is 1e-2."""
    return 1 + abs(math.log10(recipe.flat()["optimizer.adamw.lr"]) + 2) + 0.2 * length**-0.5


def seen(space, lengths, recipes=12):
    return [
        Observation(recipe, length, true_value(recipe, length))
        for recipe in (space.sample(seed) for seed in range(recipes))
        for length in lengths
    ]


def test_a_recipe_is_a_point_and_the_defaults_of_the_users_model_are_known():
    space = own_space()
    encode = Encoder(space)
    drawn = encode([space.sample(seed) for seed in range(50)])
    assert drawn.shape == (50, encode.dimensions) and drawn.min() >= 0 and drawn.max() <= 1
    plain, same, other = encode([PLAIN["plain"], *(with_model(PLAIN["plain"], width) for width in (32, 128))])
    assert (plain == same).all() and (plain != other).sum() == 1


def with_model(recipe, width):
    return type(recipe)(
        recipe.optimizer, recipe.learning_rate, recipe.batch_size, {}, {"width": width, "act": "relu"}
    )


def test_values_of_long_trainings_are_predicted_from_short_ones():
    space = own_space()
    model = ValueModel(Encoder(space), 0)
    model.fit(seen(space, (0.01, 0.03, 0.09)), math.log)
    recipes = [space.sample(seed) for seed in range(12)]
    found = model.predict(model.points(recipes), 0.27)
    expected = np.log([true_value(recipe, 0.27) for recipe in recipes])
    assert np.corrcoef(found.mean, expected)[0, 1] > 0.98
    assert np.abs(found.mean - expected).max() < 0.25
    new = [space.sample(seed) for seed in range(100, 120)]
    unseen = model.predict(Encoder(space)(new), 0.27)
    assert unseen.deviation.mean() > 1.2 * found.deviation.mean()


def test_what_a_recipe_without_a_value_teaches_is_that_it_is_bad():
    space = own_space()
    model = ValueModel(Encoder(space), 0)
    given = seen(space, (0.1,))
    broken = given[3].recipe
    marked = [one if one.recipe != broken else Observation(broken, 0.1, math.inf) for one in given]
    model.fit(marked, math.log)
    found = model.predict(model.points([one.recipe for one in given]), 0.1)
    assert np.isfinite(found.mean).all() and found.mean[3] > np.median(found.mean)


def test_longer_can_be_worse():
    """The trend of a table that overfits goes up; nothing says that a longer training is better."""
    space = own_space()
    model = ValueModel(Encoder(space), 0)
    rising = [Observation(one.recipe, one.length, 1 + one.length) for one in seen(space, (0.1, 0.3))]
    model.fit(rising, math.log)
    points = model.points([space.sample(0)])
    assert model.predict(points, 0.9).mean[0] > model.predict(points, 0.3).mean[0]


def test_a_default_is_replaced_only_by_what_is_clearly_better_at_the_final_length():
    space, plain = own_space(), PLAIN["plain"]
    others = [space.sample(seed) for seed in range(8)]

    def trusted(ahead, lengths):
        valuation = Valuation(space, FACTS, 0, defaults={plain})
        level = {plain: 2.0, **dict.fromkeys(others, 2.4), others[0]: 2.0 - ahead}
        valuation.update([Observation(r, n, level[r] + 0.1 / n**0.3) for r in level for n in lengths], 1.0)
        return valuation.trusted[0]

    assert trusted(0.001, (0.01,)) == plain
    assert trusted(0.5, (0.1, 0.3)) == others[0]


def test_new_recipes_start_where_the_best_of_many_is_seen_best():
    """Short trainings if they say nearly all, long ones if they say nothing."""
    lengths = (1 / 81, 1 / 27, 1 / 9, 1 / 3)
    space = own_space()
    recipes = [space.sample(seed) for seed in range(30)]
    source = np.random.default_rng(0)

    def start(says):
        valuation = Valuation(space, FACTS, 0)
        given = []
        for recipe in recipes:
            final, lucky = true_value(recipe, 1.0), source.normal(size=4)
            share = [says if n < 3 else 1.0 for n in range(4)]
            given += [
                Observation(recipe, length, share[n] * final + (1 - share[n]) * (2 + 0.6 * lucky[n]))
                for n, length in enumerate(lengths)
            ]
        valuation.update(given, 1.0)
        return valuation.start(lengths, 8.0)

    assert start(1.0) <= 1
    assert start(0.0) == 3


def test_a_rung_holds_at_most_a_third_of_the_one_below():
    search, _, _ = simulate(Budget(seconds=3600), longest=Budget(seconds=240))
    ladder = search._ladder
    counts = [len({r.request.recipe for r in ladder.on(rung)} | ladder.recipes_on(rung)) for rung in range(4)]
    started = [sum(r.request.parent is None and ladder.rung(r) == rung for r in search.trials) for rung in range(4)]
    assert counts[0] > 20
    for rung in range(1, 4):
        promoted = counts[rung] - started[rung]
        assert promoted <= counts[rung - 1] // 3 + 2  # plain in two forms may go up to be compared with


def test_the_same_seed_gives_the_same_decisions_in_another_process():
    """Recipes are looked up by hashes, which differ between processes; no decision may depend on them."""
    code = (
        "from simulation import *; from autoaccel.core.budget import Budget\n"
        "search, _, _ = simulate(Budget(seconds=1200), longest=Budget(seconds=60))\n"
        "print([(t.number, sorted(t.request.recipe.flat().items(), key=str), t.request.budget.seconds)"
        " for t in search.trials])"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] and len(runs[0]) > 1000


def test_a_recipes_hash_stays_in_its_process():
    recipe = PLAIN["plain"]
    hash(recipe)
    again = pickle.loads(pickle.dumps(recipe))
    assert "_hash" not in again.__dict__ and again == recipe and hash(again) == hash(recipe)
