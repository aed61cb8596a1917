"""The loss of a model of Transformers is the one that its own class computes, however a batch is cut."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from by_hand import Given, by_hand
from parallel_losses import KINDS, MICRO_BATCHES, STEPS, trained, without_dropout
from right import loaded
from safetensors.torch import load_model

pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.usefixtures("one_thread"),
]
RUN = str(Path(__file__).parent / "parallel_losses.py")


def expected(kind):
    """Return the loss of a loop written by hand, in whole batches of 64."""
    module, task, right = loaded(KINDS[kind])
    return by_hand(right, module, without_dropout(task), steps=STEPS)[1]


def own_loss(kind, path):
    """Return the `.loss` of the saved model on the whole validation set."""
    module, task, right = loaded(KINDS[kind])
    model = task.model().eval()
    load_model(model, path)
    with torch.no_grad():
        return float(model(**Given.of(right, module, task).valid).loss)


@pytest.mark.parametrize("micro_batch", MICRO_BATCHES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_models_own(kind, micro_batch, tmp_path):
    outcome = trained(kind, micro_batch, tmp_path)
    assert outcome.final is not None, outcome.reason
    assert outcome.final.loss == pytest.approx(own_loss(kind, tmp_path / "model.safetensors"), rel=1e-5)
    assert outcome.final.loss == pytest.approx(expected(kind), rel=1e-5)
    if kind == "causal":
        assert outcome.metric == "perplexity"
        assert outcome.final.metric == pytest.approx(math.exp(outcome.final.loss), rel=1e-5)


def test_the_batches_hold_padding_and_samples_that_count_differently():
    """Or the tests above would not tell the mean over tokens from the mean over samples."""
    for kind in KINDS:
        module, task, right = loaded(KINDS[kind])
        batch = Given.of(right, module, task).valid
        assert (batch["attention_mask"] == 0).any(), kind
        if kind != "sequence classification":
            counted = (batch["labels"] != -100).sum(1)
            assert counted.unique().numel() > 2, kind


@pytest.mark.slow
def test_two_processes_train_with_the_same_loss(tmp_path):
    path = tmp_path / "found.json"
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [sys.executable, "-m", *launch, RUN, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(path.read_text())
    faults = [
        f"{kind}, micro-batches of {micro_batch}: {found[f'{kind} {micro_batch}']} for {loss}"
        for kind in KINDS
        for loss in [expected(kind)]
        for micro_batch in MICRO_BATCHES
        if not isinstance(found[f"{kind} {micro_batch}"], list)
        or found[f"{kind} {micro_batch}"][0] != pytest.approx(loss, rel=1e-5)
    ]
    assert not faults, "\n".join(faults)
