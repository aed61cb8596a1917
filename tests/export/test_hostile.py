"""Scripts of recipes that come from strangers: names and values stay data, or the script is refused."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest

from autoaccel.core.recipe import PLAIN, Choice, Recipe
from autoaccel.core.records import Trials
from autoaccel.core.schedules import Schedule
from autoaccel.errors import UsageError
from autoaccel.export.formats import FORMATS, export
from autoaccel.export.script import training_script
from autoaccel.export.sources import declared
from autoaccel.reporting.result import result_lines
from autoaccel.storage.folder import relocated
from autoaccel.storage.records import RunRecord
from autoaccel.techniques.registry import catalog

HOSTILE = [
    "a=evil()",
    "lr=1); evil(); dict(a",
    '"""\nevil()\n"""',
    "'''\nevil()\n'''",
    "\\",
    "\\'\nevil()\n#",
    "{{ evil() }}",
    "{% raw %}",
    "a\nevil()\n",
    "a\r\u2028evil()",
    "é\U0001f600\u202e",
    "\0\x1b[2J",
    "\ud800",
    "",
    "class",
    "__import__('os')",
]
OTHER_VALUES = [None, True, [1], (1, "evil()"), float("inf"), float("nan"), 10**30]


def scripts_of(recipe: Recipe, target: str = "model.py") -> str:
    return training_script(recipe, target, 0, {"steps": 5}, milestones=(0.5, 1.0))


def assert_harmless(script: str) -> None:
    tree = ast.parse(script)
    assert "evil" not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    compile(script, "script", "exec")


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_names_of_parameters_never_become_code(name):
    for recipe in (
        Recipe(optimizer=Choice("adamw", {name: 1.0})),
        Recipe(techniques={"ema": {name: Schedule(0.1, 0.2)}}),
        Recipe(techniques={name: {"a": 1}}),
        Recipe(optimizer=Choice(name)),
    ):
        with pytest.raises(UsageError):
            scripts_of(recipe)


@pytest.mark.parametrize("value", [*HOSTILE, *OTHER_VALUES], ids=ascii)
def test_values_stay_what_they_are(value):
    script = scripts_of(replace(PLAIN["plain"], model={"x": value, str(value): [value, None]}))
    assert_harmless(script)
    (model,) = (
        node.value
        for node in ast.parse(script).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "MODEL"
    )
    if not isinstance(value, float):
        assert ast.literal_eval(model)["x"] == value


@pytest.mark.parametrize("value", [*HOSTILE, *OTHER_VALUES], ids=ascii)
def test_a_number_that_is_none_is_refused(value):
    if value == 10**30:
        assert_harmless(scripts_of(Recipe(optimizer=Choice("adamw", {"lr": value}))))
        return
    for recipe in (
        Recipe(optimizer=Choice("adamw", {"lr": value})),
        Recipe(batch_size=Choice("constant_batch", {"size": value})),
        Recipe(techniques={"ema": {"half_life": value}}),
    ):
        with pytest.raises(UsageError, match="not a number"):
            scripts_of(recipe)


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_words_and_targets_are_quoted(value):
    assert_harmless(scripts_of(Recipe(techniques={"loss_curriculum": {"first": value}}), value))


def test_a_technique_fills_only_its_own_place():
    swapped = Recipe(learning_rate=Choice("constant_batch"))
    for recipe in (swapped, Recipe(learning_rate=Choice("adamw")), Recipe(techniques={"sgd": {}})):
        with pytest.raises(UsageError, match="in another's place"):
            scripts_of(recipe)


def test_what_sources_say_is_what_classes_say():
    for name, info in catalog().items():
        assert declared()[name].parameters == set(info.parameters)
        assert declared()[name].component == info.component


def test_every_format_of_a_hostile_result_is_data_or_refused():
    recipe = PLAIN["plain"].to_data()
    recipe["optimizer"]["lr=evil()"] = 1
    recipe["techniques"]["evil()"] = {}
    config = {"seed": 0, "target": '"""evil()'}
    record = RunRecord(config, Trials([]), 0.0, {"recipe": recipe, "delivered": {"trial": None}})
    assert {"yaml", "json", "script", "accelerate"} == set(FORMATS)
    with pytest.raises(UsageError):
        export(record, "script")
    assert Recipe.from_yaml(export(record, "yaml")) == Recipe.from_data(json.loads(export(record, "json")))
    assert "evil" not in export(record, "accelerate")


def test_lines_to_copy_are_our_own(tmp_path: Path):
    folder = tmp_path / "it's a 'run'; evil()"
    for said in (str(folder), "elsewhere", ""):
        result = relocated({"folder": said, "target": "model.py", "load": "evil()"}, folder)
        assert_harmless(result["load"])
    data = {"metric": {"name": "loss"}, "headline": "", "target": "model.py; evil", "load": ""}
    assert result_lines(data, folder)[-1].startswith("    autoaccel train 'model.py; evil' --recipe '")
