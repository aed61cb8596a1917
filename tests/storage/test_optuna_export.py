"""Optuna's own tools say something about a run: distributions are those that were searched."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from simulation import simulate

from autoaccel.core.budget import Budget
from autoaccel.core.catalog import Domain
from autoaccel.core.recipe import PLAIN, Choice, Recipe
from autoaccel.spaces.space import SearchSpace
from autoaccel.storage.optuna_export import StudyFile, widened


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "study.db"
    search, _, _ = simulate(Budget(seconds=3600))
    space, _ = SearchSpace.load("vision").for_task(search.trials.facts.capabilities)
    file = StudyFile(path, "digits", False, space.domains(), space.portfolio.values())
    for record in search.trials:
        file.add(record)
    storage = f"sqlite:///{path}"
    names = optuna.get_all_study_names(storage)
    return search, {name: optuna.load_study(study_name=name, storage=storage) for name in names}


def test_there_is_a_study_for_each_budget_beside_the_whole(studies):
    search, found = studies
    budgets = {str(record.request.budget) for record in search.trials if record.purpose != "final"}
    assert set(found) == {"digits", *(f"digits @ {budget}" for budget in budgets)}
    assert len(found["digits"].trials) == len(search.trials)
    assert sum(len(found[name].trials) for name in found if name != "digits") == len(search.trials) - 1
    for name, study in found.items():
        if name != "digits":
            assert {f"digits @ {Budget(trial.user_attrs['budget'])}" for trial in study.trials} == {name}


def test_parameters_have_the_distributions_that_are_searched(studies):
    _, found = studies
    trials = found["digits"].trials
    distributions = {name: d for trial in trials for name, d in trial.distributions.items()}
    lr = distributions["optimizer.adamw.lr"]
    assert isinstance(lr, FloatDistribution) and lr.log and lr.low == 5e-4
    assert isinstance(distributions["batch_size.constant_batch.size"], CategoricalDistribution)
    assert {"linear", "constant"} <= set(distributions["learning_rate"].choices)  # that of a plain recipe too
    for name in distributions:  # the same in every trial
        assert len({str(t.distributions[name]) for t in trials if name in t.distributions}) == 1


def test_what_is_not_searched_is_an_attribute(studies):
    _, found = studies
    plain = found["digits"].trials[0]
    assert plain.user_attrs["fixed"]["optimizer.adamw.decay_all"] is True
    assert plain.params["optimizer.adamw.lr"] == 1e-3
    assert plain.params["techniques.mixup"] is False


def test_optunas_importances_and_plots_work(studies):
    """The simulated metric depends on the learning rate of the optimizer alone; the parameters of others are noise."""
    _, found = studies
    study = max((study for name, study in found.items() if name != "digits"), key=lambda study: len(study.trials))
    importances = optuna.importance.get_param_importances(
        study,
        evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
        params=["optimizer.muon.lr", "batch_size.constant_batch.size"],
    )
    assert importances["optimizer.muon.lr"] > importances["batch_size.constant_batch.size"]
    assert optuna.visualization.plot_slice(study, params=["optimizer.muon.lr"]).data


def test_a_domain_is_widened_as_far_as_it_can_be():
    domains = {
        "optimizer.adamw.lr": Domain(1e-2, 1e-1, log=True),
        "optimizer": Domain(options=("sgd",)),
        "learning_rate.linear.warmup": Domain(0.1, 0.2, log=True),
    }
    zero = Recipe(Choice("adamw", {"lr": 1e-3}), Choice("linear", {"warmup": 0.0}), PLAIN["plain"].batch_size)
    found = widened(domains, [zero])
    assert found["optimizer.adamw.lr"] == Domain(1e-3, 1e-1, log=True)
    assert found["optimizer"].options == ("sgd", "adamw")
    assert found["learning_rate.linear.warmup"] == domains["learning_rate.linear.warmup"]  # no zero on a log scale
