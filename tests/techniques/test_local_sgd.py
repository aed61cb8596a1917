"""Two gloo processes that train alone average their weights in time, and everybody evaluates and keeps the average."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from local_sgd_run import Net, numbers, trained
from ranks_run import task
from safetensors.torch import load_file
from torch import nn

from autoaccel.core.catalog import check
from autoaccel.techniques.registry import catalog

RUN = str(Path(__file__).parent / "local_sgd_run.py")
NAMES = ("each_step", "apart", "later", "pulled", "normed", "branches", "short", "odd", "preempted", "checkpointed")
AVERAGES = {1, 5, 9}
"""Steps before which all have the same weights, where they train alone from the first one on."""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What both processes have seen, by scenario."""
    folder = tmp_path_factory.mktemp("two")
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [sys.executable, "-m", *launch, RUN, str(folder), *NAMES]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {name: [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in (0, 1)] for name in NAMES}
    return {**found, "folder": folder}


def close(values):
    return pytest.approx(values, rel=1e-5, abs=1e-6)


def mean(one, two):
    return [(a + b) / 2 for a, b in zip(one, two, strict=True)]


@pytest.mark.slow
def test_averaging_after_each_step_of_sgd_is_averaging_gradients(results):
    for rank in results["each_step"]:
        assert rank["alone"] == close(rank["together"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["apart", "pulled", "branches", "short"])
def test_weights_differ_between_two_averages_and_are_the_same_after_one(results, name):
    """Also where others pull weights, freeze some and rebuild, where parameters are used by one process only, and
    where only one has to halve what it computes at once."""
    one, two = results[name]
    alike = {step for step, (a, b) in enumerate(zip(one["steps"], two["steps"], strict=True)) if a == b}
    assert alike == {0, *AVERAGES}
    assert [step for step, apart in enumerate(one["apart"]) if not apart] == sorted(alike)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["apart", "later", "pulled", "branches", "short", "normed"])
def test_all_evaluate_the_average_and_go_on_with_their_own(results, name):
    one, two = results[name]
    assert one["live"] != two["live"]
    assert one["mean"] == two["mean"] == close(mean(one["live"], two["live"]))
    assert one["restored"] and two["restored"]
    assert one["losses"] == two["losses"]


@pytest.mark.slow
def test_an_average_over_time_is_averaged_too(results):
    one, two = results["pulled"]
    assert one["frozen"], "no layer was frozen while the processes trained alone"
    assert one["ema"] != two["ema"]
    assert one["evaluated"] == two["evaluated"] == close(mean(one["ema"], two["ema"]))


@pytest.mark.slow
def test_no_gradient_travels_while_they_train_alone(results):
    """Not even its number of samples: only the agreement on progress and on a stop, with three numbers."""
    parameters = len(results["later"][0]["live"])
    for rank in results["apart"]:
        assert rank["sizes"] == {"6": [3], "7": [3]}
    for rank in results["later"]:
        assert parameters in rank["sizes"]["4"] and parameters in rank["sizes"]["5"]
        assert rank["sizes"]["8"] == [3]


@pytest.mark.slow
def test_they_share_gradients_until_after(results):
    one, two = results["later"]
    assert [a == b for a, b in zip(one["steps"], two["steps"], strict=True)] == [True] * 8 + [False] * 4


@pytest.mark.slow
def test_only_the_process_that_lacks_memory_halves(results):
    one, two = results["short"]
    assert set(one["batches"]) == {32}
    assert set(two["batches"][2:]) == {16}


@pytest.mark.slow
def test_what_is_delivered_is_what_was_evaluated(results):
    one, two = results["normed"]
    saved = load_file(results["folder"] / "normed.safetensors")
    assert one["statistics"] != two["statistics"]
    assert saved["1.running_mean"].tolist() == close(mean(one["statistics"], two["statistics"]))
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    model.load_state_dict(saved)
    x, y = task().valid
    with torch.no_grad():
        loss = nn.functional.cross_entropy(model.eval()(x), y)
    assert float(loss) == pytest.approx(one["losses"][-1], rel=1e-5)


@pytest.mark.slow
def test_tensors_of_all_kinds(results):
    """Those of low precision travel in float32, and what is alike stays as it is to the last bit."""
    for rank, found in enumerate(results["odd"]):
        assert found == {
            "weight": [0.5] * 6,
            "short": [40_032.0] * 2,  # their sum is beyond float16
            "wide": [0.5] * 2,
            "waves": [[0.5, -0.5]] * 2,
            "frozen": [5.0 + rank] * 2,
            "last": [[0.5], True],
            "mean": 0.5,
            "mask": [0.0, "-inf"],
            "table": True,
            "count": 3 + rank,
            "sparse": [[1.0 + rank, 0.0], [0.0, 1.0 + rank]],
            "same": True,
        }


@pytest.mark.slow
def test_a_training_that_is_asked_to_end_saves_what_all_have_learned(results):
    one, two = results["preempted"]
    assert one["live"] == two["live"] == one["saved"]
    assert one["kind"] == two["kind"] == "complete"
    assert one["steps"] == 12 and one["taken"] < 12


@pytest.mark.slow
def test_no_checkpoint_of_what_one_has_learned_alone(results):
    one, two = results["checkpointed"]
    assert one["apart"] == two["apart"] == []
    assert one["met"] == close(mean(one["live"], two["live"]))


def test_one_process_trains_as_it_does_without():
    weights = [numbers(trained(Net, chosen)[0].model) for chosen in ({}, {"local_sgd": {"after": 0.0}})]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("other", ["magnitude_pruning", "structured_pruning", "fp16", "schedule_free"])
def test_it_is_refused_where_processes_would_not_have_the_same_to_average(other):
    known = catalog()
    faults = check({"local_sgd": {}, other: {}}, known)
    assert any("local_sgd" in fault and other in fault for fault in faults)
