"""Two gloo processes that share each batch train what one does, and agree on when to evaluate, halve and end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from autoaccel.training.ranks import Ranks

pytestmark = pytest.mark.slow
RUN = str(Path(__file__).parent / "ranks_run.py")
BOTH = ("plain", "cut", "short", "resumed", "uneven", "counted", "lone")
BATCHES = ("last", "small", "few", "filtered")
ENDS = ("unreadable", "untestable", "unscored", "late", "unmeasured", "measured")
TWO = (*BOTH, "branches", "normed", "buffers", "contrastive", "stopped", "timed", "early", *BATCHES, *ENDS)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each rank has found, by the number of processes and the scenario."""
    found = {}
    for processes, names in ((1, BOTH), (2, TWO)):
        folder = tmp_path_factory.mktemp(f"of-{processes}")
        launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        command = [sys.executable, "-m", *launch, RUN, str(folder), *names]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
        assert done.returncode == 0, done.stderr[-3000:]
        for name in names:
            found[processes, name] = [
                json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(processes)
            ]
        found[processes, "folder"] = folder
    return found


@pytest.mark.parametrize("name", BOTH)
def test_two_processes_train_what_one_does(results, name):
    [alone], ranks = results[1, name], results[2, name]
    for rank in ranks:
        assert rank["outcome"]["kind"] == "complete", rank["outcome"]["reason"]
        assert rank["weights"] == pytest.approx(alone["weights"], rel=1e-4, abs=1e-5)
        for part in ("final", "test"):
            for value in ("metric", "loss"):
                expected = alone["outcome"][part][value]
                assert rank["outcome"][part][value] == pytest.approx(expected, rel=1e-4)
    assert ranks[0]["weights"] == ranks[1]["weights"]


@pytest.mark.parametrize("name", ["plain", "cut", "resumed", "uneven", "counted"])
def test_two_processes_book_what_one_does(results, name):
    [alone], ranks = results[1, name], results[2, name]
    for quantity in ("steps", "samples", "flops"):
        for rank in ranks:
            assert rank["outcome"]["cost"][quantity] == alone["outcome"]["cost"][quantity], quantity


def test_a_parameter_that_only_one_uses_gets_the_same_gradient_on_both(results):
    one, two = results[2, "branches"]
    assert one["outcome"]["kind"] == two["outcome"]["kind"] == "complete", one["outcome"]["reason"]
    assert one["weights"] == two["weights"]


def test_each_has_its_share_of_a_batch(results):
    assert set(results[2, "plain"][0]["sizes"]) == set(results[2, "plain"][1]["sizes"]) == {32}
    assert [max(rank["sizes"]) for rank in results[2, "cut"]] == [32, 32]
    assert len(results[2, "cut"][0]["sizes"]) == 2 * len(results[2, "cut"][1]["sizes"])


def test_where_one_lacks_memory_all_halve(results):
    for rank in results[2, "short"]:
        assert rank["sizes"][0] == 32
        assert set(rank["sizes"][2:]) == {16}


def test_a_share_too_small_for_batch_norm_is_refused(results):
    for rank in results[2, "normed"]:
        assert "batches of 32 are too small for 2 processes, as BatchNorm needs 32" in rank["outcome"]["reason"]


def test_a_batch_too_small_for_batch_norm_is_whole_on_each(results):
    for rank in results[2, "last"]:
        assert rank["sizes"] == [32, 20] * 6


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("small", "most batches of your Batches are too small for 2 processes, as BatchNorm needs 32 samples each"),
        ("few", "batches of 50 are too small for 2 processes, as BatchNorm needs 32 samples each"),
        ("filtered", "batches of 64 are too small for 2 processes, as BatchNorm needs 32 samples each"),
    ],
)
def test_batches_that_are_all_too_small_for_batch_norm_are_refused(results, name, said):
    for rank in results[2, name]:
        assert rank["outcome"]["kind"] == "failed" and rank["outcome"]["reason"].startswith(said)


def test_a_loss_of_whole_batches_is_not_shared(results):
    for rank in results[2, "contrastive"]:
        assert "one number a batch" in rank["outcome"]["reason"]


def test_what_is_scored_is_what_is_saved(results):
    from ranks_run import task

    one, two = results[2, "buffers"]
    assert one["outcome"]["final"]["loss"] == two["outcome"]["final"]["loss"]
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    model.load_state_dict(load_file(results[2, "folder"] / "buffers-2" / "trials" / "0000" / "model.safetensors"))
    x, y = task().valid
    with torch.no_grad():
        loss = nn.functional.cross_entropy(model.eval()(x), y)
    assert one["outcome"]["final"]["loss"] == pytest.approx(float(loss), rel=1e-5)


def test_they_stop_at_the_same_step(results):
    one, two = results[2, "stopped"]
    assert one["outcome"]["kind"] == two["outcome"]["kind"] == "pruned"
    assert one["outcome"]["cost"]["steps"] == two["outcome"]["cost"]["steps"] == 5


@pytest.mark.parametrize("name", ["timed", "early"])
def test_they_end_at_the_same_step_where_time_passes_differently(results, name):
    one, two = results[2, name]
    assert one["outcome"]["kind"] == two["outcome"]["kind"] == "complete"
    assert one["outcome"]["cost"]["steps"] == two["outcome"]["cost"]["steps"] > 5
    assert one["weights"] == two["weights"]
    if name == "early":
        assert one["outcome"]["cost"]["steps"] < 30


@pytest.mark.parametrize(
    ("name", "said"),
    [("unreadable", "ValueError: sample 40 is broken"), ("unscored", "ArithmeticError: no such thing")],
)
def test_what_fails_in_the_evaluation_of_one_is_told_by_both(results, name, said):
    for rank in results[2, name]:
        assert rank["outcome"]["kind"] == "failed" and rank["outcome"]["reason"] == said
        assert rank["outcome"]["where"].startswith(RUN)


def test_what_fails_in_the_test_of_both_is_told_as_the_first_one_says(results):
    for rank in results[2, "untestable"]:
        assert rank["outcome"]["kind"] == "complete" and not rank["outcome"]["test"]
        assert rank["outcome"]["untested"] == "ValueError: sample 3 is broken"
        assert rank["outcome"]["where"].startswith(RUN)


def test_the_first_one_decides_whether_there_is_time_for_the_test(results):
    for rank in results[2, "late"]:
        assert rank["outcome"]["kind"] == "complete", rank["outcome"]["reason"]
        assert rank["outcome"]["test"] and not rank["outcome"]["untested"]


def test_they_evaluate_at_the_same_steps_without_a_profile(results):
    one, two = results[2, "unmeasured"]
    assert one["outcome"]["kind"] == "complete", one["outcome"]["reason"]
    assert one["outcome"]["final"]["progress"] == two["outcome"]["final"]["progress"]


def test_another_metric_is_measured_once_and_known_to_both(results):
    one, two = results[2, "measured"]
    assert 0 < one["outcome"]["measured"]["accuracy"] == two["outcome"]["measured"]["accuracy"] <= 1
    assert one["outcome"]["cost"] == two["outcome"]["cost"]


def test_one_process_agrees_with_itself():
    ranks = Ranks()
    assert (ranks.rank, ranks.world) == (0, 1)
    assert ranks.largest(1.0, 2.0) == [1.0, 2.0]
    assert ranks.summed(1.0, 2.0) == [1.0, 2.0]
    assert ranks.any(True)
    assert not ranks.all(False)
    assert ranks.gathered("all") == ["all"]
