"""Options that are None or sequences, and parameters that exist only beside certain values of others."""

import json
import warnings

import jsonschema
import optuna
import pytest
from autoaccel.search_spaces import read

from autoaccel.core.budget import Budget
from autoaccel.core.catalog import Domain, Parameter, TechniqueInfo
from autoaccel.core.codec import from_data, to_data
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import Choice, Recipe
from autoaccel.core.records import TrialRecord
from autoaccel.core.trial import Outcome, OutcomeKind, TrialRequest
from autoaccel.errors import TaskError, UsageError
from autoaccel.export.python import literal
from autoaccel.search.base import Findings
from autoaccel.search.mixed_sampler import MixedSampler
from autoaccel.search.optuna_sampler import OptunaSampler, tpe
from autoaccel.spaces.domains import model_domains, plain_space
from autoaccel.spaces.json_schema import space_schema
from autoaccel.spaces.space import SearchSpace
from autoaccel.storage.optuna_export import StudyFile
from autoaccel.techniques.registry import catalog
from autoaccel.tuner.summary import trials_csv

GIVEN = {
    "hidden": [(64,), (128, 64), [32, [8, 8]]],
    "act": [None, "relu"],
    "dropout": [True, False],
    "rate": {"low": 0, "high": 0.5, "when": {"dropout": True}},
    "layers": (1, 4),
    "skip": {"options": [(1,), None], "when": {"layers": [2, 3], "act": [None]}},
    "late": {"low": 1, "high": 8, "integer": True, "when": {"rate": {"low": 0.2, "high": 0.5}}},
}


def space(given=GIVEN):
    return SearchSpace.load("minimal", catalog()).with_model(model_domains(given))


def is_as_conditions_say(model):
    assert ("rate" in model) == model["dropout"]
    assert ("skip" in model) == (model["layers"] in (2, 3) and model["act"] is None)
    assert ("late" in model) == (model.get("rate", 0) >= 0.2)


def test_values_reach_the_recipe_as_they_were_given():
    made = space()
    seen = [made.sample(seed).model for seed in range(100)]
    for model in seen:
        is_as_conditions_say(model)
        assert any(model["hidden"] == given and type(model["hidden"]) is type(given) for given in GIVEN["hidden"])
    assert {model["act"] for model in seen} == {None, "relu"} and {"rate", "skip", "late"} <= set().union(*seen)


def test_values_survive_yaml_json_and_the_flat_form():
    for seed in range(50):
        recipe = space().sample(seed)
        for again in (Recipe.from_yaml(recipe.to_yaml()), Recipe.from_flat(recipe.flat()),
                      from_data(Recipe, json.loads(json.dumps(to_data(recipe))))):  # fmt: skip
            assert again == recipe and hash(again) == hash(recipe)
        jsonschema.validate(recipe.to_data(), Recipe.json_schema())
        assert eval(literal(dict(recipe.model))) == recipe.model


def test_a_list_in_a_recipe_is_a_list():
    assert Recipe.from_yaml("model: {hidden: [64, 32], act: null}").model == {"hidden": [64, 32], "act": None}
    assert Recipe.from_yaml("model: {hidden: {tuple: [64]}}").model == {"hidden": (64,)}


def test_a_space_crosses_a_process():
    sent = json.loads(json.dumps(plain_space(GIVEN)))
    assert model_domains(sent) == model_domains(GIVEN)
    assert plain_space(sent) == sent


def test_declared_options_cross_a_process():
    info = TechniqueInfo("mine", "data", "", parameters={"k": Parameter((3, 3), Domain(options=((3, 3), None)))})
    again = from_data(TechniqueInfo, json.loads(json.dumps(to_data(info))))
    assert again == info
    assert again.parameters["k"].domain.contains([3, 3])  # as a YAML file has it


@pytest.mark.parametrize("make", [MixedSampler, lambda s, seed: OptunaSampler(s, tpe(seed))])
def test_samplers_propose_and_learn_them(make):
    made = space()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        sampler = make(made, 0)
        best = []
        for number in range(40):
            proposal = sampler.propose(Findings(best))
            model = proposal.recipe.model
            if not proposal.origin.startswith("portfolio"):
                is_as_conditions_say(model)
                best.append(proposal.recipe)
            sampler.tell(proposal, float(number % 7))
    assert {type(recipe.model["hidden"]) for recipe in best} == {tuple, list}


def test_the_study_and_the_table_hold_them(tmp_path):
    made = space()
    records = []
    study = StudyFile(tmp_path / "study.db", "run", True, made.domains())
    for seed in range(10):
        request = TrialRequest(seed, made.sample(seed), Budget(steps=10))
        records.append(TrialRecord(request, outcome=Outcome(OutcomeKind.PRUNED, Cost(steps=1))))
        study.add(records[-1])
    stored = optuna.load_study(study_name="run", storage=f"sqlite:///{tmp_path / 'study.db'}").trials
    assert {t.params["model.hidden"] for t in stored} == {"(64,)", "(128, 64)", "[32, [8, 8]]"}
    assert {t.params["model.act"] for t in stored} == {None, "relu"}
    for trial in stored:
        is_as_conditions_say({name.removeprefix("model."): given for name, given in trial.params.items()})
    assert '"(128, 64)"' in trials_csv(records)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"a": {"low": 0, "high": 1, "when": {"dropot": True}}, "dropout": [True, False]},
         "a: when.dropot: no parameter beside it has this name; did you mean 'dropout'?"),
        ({"a": {"low": 0, "high": 1, "when": {"b": 9}}, "b": (1, 4)}, "a: when.b = 9 never occurs: b is 1 to 4"),
        ({"a": {"low": 0, "high": 1, "when": {"b": "x"}}, "b": ["y", None]},
         "a: when.b = 'x' never occurs: b is one of 'y', None"),
        ({"a": {"low": 0, "high": 1, "when": {"b": 2}}, "b": 1}, "a: when.b = 2 never occurs: b is always 1"),
        ({"a": {"low": 0, "high": 1, "when": {"b": {"low": 5, "high": 6}}}, "b": (1, 4)}, "never occurs"),
        ({"a": {"options": [1], "when": {"b": 1}}, "b": {"options": [1], "when": {"a": 1}}},
         "conditions go round in a circle: a -> b -> a"),
        ({"a": {"low": 0, "high": 1, "when": True}}, "a: when = True must map another parameter to its value"),
        ({"a": {"when": {"b": 1}}, "b": 1}, "`when` stands beside a range"),
        ({"a": [int, float]}, "give names, which the factory looks up"),
        ({"a": (1, 2, 3)}, "a: (1, 2, 3) is no value, list of options, or range (low, high)"),
        ({"a": [{"b": 1}]}, "is not a value, list of options, or range"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(given, words):
    with pytest.raises(TaskError) as error:
        model_domains(given)
    first, *lines = str(error.value).splitlines()
    assert first == "Task(space=...):" and len(lines) == 1 and words in lines[0]


def yaml_space(**parameters):
    data = {"extends": "minimal", "optimizer": {"sgd": parameters}}
    return SearchSpace.from_data(data, catalog(), read, "mine.yaml"), data


def test_conditions_in_a_file():
    made, data = yaml_space(decay_all=[True, False], momentum={"when": {"decay_all": True}})
    jsonschema.validate(data, space_schema(catalog()))
    for seed in range(30):
        chosen = made.sample(seed).optimizer
        assert ("momentum" in chosen.parameters) == chosen.parameters["decay_all"]
    assert made.domains()["optimizer.sgd.momentum"].high == catalog()["sgd"].parameters["momentum"].domain.high
    with pytest.raises(UsageError, match=r"optimizer.sgd.momentum: when.decay_al: no parameter beside it"):
        yaml_space(decay_all=[True, False], momentum={"when": {"decay_al": True}})
    with pytest.raises(UsageError, match="a schedule takes no `when`"):
        yaml_space(decay_all=[True, False], lr={"start": 1, "end": 0, "when": {"decay_all": True}})


def test_a_recipe_is_fitted_to_conditions():
    made, _ = yaml_space(decay_all=[True, False], momentum={"options": [0.8, 0.9], "when": {"decay_all": True}})

    def fitted(**parameters):
        return dict(made.fit(Recipe(optimizer=Choice("sgd", parameters))).optimizer.parameters)

    assert fitted(decay_all=False, momentum=0.8) == {"decay_all": False}
    assert fitted(decay_all=True) == {"decay_all": True, "momentum": 0.8}
    recipe = space().sample(0)
    wrong = Recipe(recipe.optimizer, recipe.learning_rate, recipe.batch_size, {},
                   {"dropout": False, "rate": 0.3, "late": 2, "hidden": [128, 64]})  # fmt: skip
    assert dict(space().fit(wrong).model) == {"dropout": False, "hidden": (128, 64)}
