"""Editors accept what is shipped, and refuse what the readers refuse."""

import jsonschema
import pytest
from autoaccel.search_spaces import names, read

from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.spaces.json_schema import space_schema
from autoaccel.spaces.space import SearchSpace
from autoaccel.techniques.registry import catalog


@pytest.mark.parametrize("name", names())
def test_the_shipped_spaces_are_valid(name):
    jsonschema.validate(read(name), space_schema(catalog()))


@pytest.mark.parametrize(
    "data",
    [
        {"optimiser": {}},
        {"schema": 3},
        {"optimizer": {"adamw": {"wait_decay": 0.1}}},
        {"techniques": {"mixup": {"alpha": []}}},
        {"optimizer": {"ema": {}}},
        {"portfolio": {"mine": {"optimizer": 3}}},
    ],
)
def test_a_wrong_space_is_not_valid(data):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, space_schema(catalog()))


def test_recipes_are_valid():
    sampled = [SearchSpace.load(name).sample(seed) for name in names() for seed in range(5)]
    for recipe in [*PLAIN.values(), *sampled]:
        jsonschema.validate(recipe.to_data(), Recipe.json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"optimizer": {"lr": 0.1}}, Recipe.json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"batch_size": {"name": "constant_batch", "size": {"start": 1}}}, Recipe.json_schema())
