"""What runs leave to later ones and have from earlier ones, in whole runs on a simulated machine."""

import json
import shutil
from dataclasses import replace

import pytest
from simulation import FACTS, quality

from autoaccel import Result, tune
from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Start
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import Choice, Recipe
from autoaccel.core.trial import Purpose
from autoaccel.errors import StoreError, UsageError
from autoaccel.execution.simulated import TableExecutor
from autoaccel.reporting.terminal import Display
from autoaccel.spaces.space import SearchSpace
from autoaccel.storage.folder import LOG
from autoaccel.storage.log import read_log
from autoaccel.storage.memory import VARIABLE, KnownRecipe, Sketch, read_memory, remember
from autoaccel.storage.records import read_trials
from autoaccel.techniques.registry import catalog
from autoaccel.tuner import known
from autoaccel.tuner.known import FEW, OWN, proposals, ranked, sketch, warm_recipes

BUDGET = "1e12 FLOPs"
IMAGES = replace(FACTS, classes=10, names=("cat", "dog"), parameters=5000, common_metric=True)


class Machine(TableExecutor):
    """Trains in no time; its task has a hyperparameter of its own."""

    def profile(self, limit):
        return self._facts, {"secret_width": (4, 64)}


def machine(table=quality, facts=IMAGES):
    known = catalog()
    return lambda *_: Machine(table, SimulatedClock(), standard_error=0.01, catalog=known, facts=facts)


class Notes(Display):
    def __init__(self):
        super().__init__(Budget(flops=1e12), quiet=True)
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def run(folder, **options):
    view = Notes()
    model = folder.parent / "private_model.py"  # which this machine does not look at
    model.write_text("task = None\n")
    options = {"executor": machine(), **options}
    return tune(str(model), BUDGET, out=folder, view=view, **options), view.notes


def tried(folder):
    return [e.request for _, e in read_log(folder / LOG) if isinstance(e, Start)]


def origins(folder):
    new = [request for request in tried(folder) if request.purpose is Purpose.SEARCH and request.parent is None]
    return [request.origin for request in new]


@pytest.fixture
def memory(tmp_path, monkeypatch):
    path = tmp_path / "memory.jsonl"
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def liked(lr, task, share=0.9, **techniques):
    recipe = Recipe(
        Choice("muon", {"lr": lr, "weight_decay": 0.1}), Choice("rex", {"warmup": 0.1}), techniques=techniques
    )
    return KnownRecipe(recipe, task, share, "0.1.0", "2026-11-20")


def test_a_run_leaves_its_best_recipes_and_the_next_one_tries_them_early(tmp_path, memory):
    run(tmp_path / "first")
    left, _ = read_memory(memory)
    assert 1 <= len(left) <= FEW and left[0].share < 1 and left[0].task == sketch(IMAGES, Budget(flops=1e12))
    remember(memory, [liked(0.011, left[0].task, 0.1, ema={"half_life": 0.02})])
    _, notes = run(tmp_path / "second")
    assert "memory 1" in origins(tmp_path / "second")[:2] and notes == []
    (first,) = [r for r in tried(tmp_path / "second") if r.origin == "memory 1" and r.parent is None]
    assert first.recipe.optimizer.parameters["lr"] == 0.011 and first.recipe.techniques["ema"] == {
        "half_life": 0.02
    }


def test_the_memory_holds_nothing_of_the_users_own(tmp_path, memory):
    run(tmp_path / "run", executor=machine(facts=replace(IMAGES, metric="our_secret_profit", common_metric=False)))
    text = memory.read_text()
    for word in ("secret", "private", "cat", "dog", str(tmp_path)):
        assert word not in text
    for line in map(json.loads, text.splitlines()):
        assert line["recipe"]["model"] == {} and line["task"]["metric"] == OWN
        assert set(line) == {"schema", "recipe", "task", "share", "version", "date"}


def test_without_memory_nothing_is_read_or_written(tmp_path, memory):
    remember(memory, [liked(0.011, sketch(IMAGES, Budget(flops=1e12)))])
    before = memory.read_text()
    run(tmp_path / "run", memory=False)
    assert not any("memory" in origin for origin in origins(tmp_path / "run"))
    assert memory.read_text() == before


def test_a_recipe_that_does_not_clearly_beat_plain_is_not_remembered(tmp_path, memory):
    def level(request, p):
        return 1.0 - 1e-4 * request.trial

    run(tmp_path / "run", executor=machine(level))
    assert not memory.exists()


def test_a_memory_that_cannot_be_used_costs_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file" / "memory.jsonl"))
    result, notes = run(tmp_path / "run")
    assert result.data["status"] == "complete"
    assert len(notes) == 1 and notes[0].startswith("the memory of earlier runs is left out: ")
    monkeypatch.setenv(VARIABLE, "/proc/nowhere/memory.jsonl")  # nothing to read is no fault; writing is
    _, notes = run(tmp_path / "other")
    assert len(notes) == 1 and notes[0].startswith("this run is not remembered: ")


def cut_short(folder):
    """Leave of a run what a kill in its third search trial would."""
    for name in ("result.json", "account.json"):
        (folder / name).unlink(missing_ok=True)
    lines = (folder / LOG).read_bytes().splitlines(keepends=True)
    starts = [number for number, line in enumerate(lines) if b'"start"' in line]
    (folder / LOG).write_bytes(b"".join(lines[: starts[6] + 1]))


def test_a_resumed_run_decides_as_before_though_the_memory_has_changed(tmp_path, memory):
    remember(memory, [liked(0.011, sketch(IMAGES, Budget(flops=1e12)), 0.1, ema={"half_life": 0.02})])
    run(tmp_path / "run")
    before = [(r.trial, r.recipe, r.origin) for r in tried(tmp_path / "run")]
    assert "memory 1" in [origin for _, _, origin in before[:6]]
    cut_short(tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    memory.unlink()
    run(tmp_path / "run", resume=True)
    assert [(r.trial, r.recipe, r.origin) for r in tried(tmp_path / "run")][:7] == before[:7]
    # Without what its configuration says, the decisions of the log could not be repeated.
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    (tmp_path / "copy" / "config.json").write_text(json.dumps({**config, "known": []}))
    with pytest.raises(StoreError, match="does not replay"):
        run(tmp_path / "copy", resume=True)


def test_a_run_starts_from_the_best_recipes_of_another(tmp_path):
    result, _ = run(tmp_path / "first")
    ours = {r.recipe for r in tried(tmp_path / "first")}
    _, notes = run(tmp_path / "second", warm_start=tmp_path / "first", seed=1)
    warm = [r for r in tried(tmp_path / "second") if r.origin.startswith("warm start") and r.parent is None]
    config = json.loads((tmp_path / "second" / "config.json").read_text())
    given = [Recipe.from_data(each["recipe"]) for each in config["known"]]
    assert len(given) == FEW and set(given) <= ours and given[0] == result.best_recipe
    assert notes == [] and {r.recipe for r in warm} <= set(given)


def test_no_run_starts_from_rates_for_larger_batches(tmp_path, monkeypatch):
    run(tmp_path / "first")
    trials = read_trials(tmp_path / "first")
    [final] = trials.of(Purpose.FINAL)
    assert final.request.recipe in warm_recipes(tmp_path / "first")
    trials._records[final.number] = replace(final, request=replace(final.request, larger=4))
    monkeypatch.setattr(known, "read_trials", lambda _: trials)
    assert final.request.recipe not in warm_recipes(tmp_path / "first")


def test_hyperparameters_of_the_model_go_along_where_the_space_has_them():
    space = SearchSpace.load("vision").with_model(
        {"depth": SearchSpace.load("vision").domains()["batch_size.constant_batch.size"]}
    )
    recipe = replace(liked(0.02, None).recipe, model={"depth": 32, "width": 7})
    (proposal,) = proposals([recipe], space, "warm start")
    assert proposal.recipe.model == {"depth": 32} and proposal.origin == "warm start 1"


def test_what_does_not_fit_or_learns_from_a_finished_model_is_skipped():
    space = SearchSpace.load("minimal")
    other = replace(liked(0.02, None).recipe, optimizer=Choice("from_a_newer_version", {}))
    assert proposals([other], space, "memory") == []
    space = replace(SearchSpace.load("vision"), techniques={"distillation": {}})
    learning = liked(0.02, None, distillation={}).recipe
    assert space.fit(learning) is not None and proposals([learning], space, "memory") == []
    numbers = [replace(liked(0.02 + 0.001 * i, None).recipe) for i in range(3)]
    assert [p.origin for p in proposals(numbers, space, "memory", alike=False)] == ["memory 1"]
    assert len(proposals(numbers, space, "warm start")) == 3
    assert (
        len(proposals(numbers, space, "memory", taken=[p.recipe for p in proposals(numbers[:1], space, "x")])) == 2
    )


def test_the_same_metric_comes_first_then_the_nearest_size_then_the_best_result():
    here = Sketch("image", True, "accuracy", True, 4.0, 5.0, 6.0)
    entries = [
        liked(0.01, replace(here, kind="table")),
        liked(0.02, replace(here, classes=False)),
        liked(0.03, replace(here, metric="loss", maximize=False), 0.1),
        liked(0.04, replace(here, samples=6.0), 0.2),
        liked(0.05, replace(here, budget=6.2), 0.8),
        liked(0.06, here, 0.7),
        liked(0.07, here, 0.7),
    ]
    rates = [known.recipe.optimizer.parameters["lr"] for known in ranked(entries, here)]
    assert rates == [0.07, 0.06, 0.05, 0.04, 0.03]


def test_a_sketch_under_flops_depends_on_nothing_measured():
    slower = replace(IMAGES, train=Cost(seconds=7.0, flops=1e6), setup=Cost(seconds=9.0))
    assert sketch(IMAGES, Budget(flops=1e12)) == sketch(slower, Budget(flops=1e12))
    assert sketch(IMAGES, Budget(flops=1e12)).budget == 6.0


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (None, "no such folder; it takes the folder of a finished run"),
        ({}, "holds no run; it takes the folder of a finished run"),
        ({"config.json": "{}"}, "this run has not found anything yet"),
        ({"config.json": "{}", "result.json": '{"status": "running"}'}, "this run has not found anything yet"),
        ({"result.json": '{"status": "complete"}'}, "cannot be read, perhaps of another version"),
    ],
)
def test_a_folder_to_start_from_that_is_none_is_refused(tmp_path, made, message):
    if made is not None:
        (tmp_path / "old").mkdir()
        for name, text in made.items():
            (tmp_path / "old" / name).write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        run(tmp_path / "run", warm_start=tmp_path / "old")
    assert str(caught.value).startswith("--warm-start") and not (tmp_path / "run").exists()


def test_a_resumed_run_is_not_started_from_another_run_than_before(tmp_path):
    run(tmp_path / "first")
    run(tmp_path / "second", warm_start=tmp_path / "first")
    cut_short(tmp_path / "second")
    with pytest.raises(UsageError, match=r"the run that is resumed was started from .*first"):
        run(tmp_path / "second", warm_start=tmp_path / "other", resume=True)
    run(tmp_path / "second", warm_start=tmp_path / "first", resume=True)
    assert Result.load(tmp_path / "second").data["status"] == "complete"


def test_a_run_of_another_kind_says_that_nothing_fits(tmp_path):
    (tmp_path / "space.yaml").write_text(
        "schema: 2\noptimizer: {lion: {lr: 0.001}}\nlearning_rate: {constant: {}}\nbatch_size: {constant_batch: {size: 8}}\n"
    )
    run(tmp_path / "first")
    _, notes = run(tmp_path / "second", warm_start=tmp_path / "first", space=str(tmp_path / "space.yaml"))
    assert len(notes) == 1 and "no recipe of that run but plain fits" in notes[0]
