"""Train the model files of Transformers for a few steps, in one process or in several that share each batch.

    torchrun --nproc_per_node 2 parallel_losses.py results.json

Dropout is off, since each process draws its own.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, PartialState
from right import loaded
from torch import nn

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import TrialRequest
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment

KINDS = {
    "causal": "gpt2_poems",
    "masked": "bert_mlm",
    "sequence to sequence": "t5_reverse",
    "sequence classification": "bert_sentiment",
    "token classification": "ner_tags",
}
MICRO_BATCHES = (0, 10)
"""No limit, and one that divides neither 64 nor 32."""
STEPS = 3


def without_dropout(task):
    """Return the task with a model without dropout, and with the loss as its metric."""

    def model():
        made = task.model()
        for module in made.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        return made

    return replace(task, model=model, metric=None if task.metric != "perplexity" else task.metric)


def trained(kind, micro_batch, folder):
    """Return the outcome of a few steps; the weights are in the folder."""
    AcceleratorState._reset_state()
    request = TrialRequest(0, PLAIN["plain_constant"], Budget(steps=STEPS), micro_batch=micro_batch)
    environment = TrialEnvironment(SimulatedClock(), 0.0, lambda report: True, folder, cpu=True)
    return run_trial(without_dropout(loaded(KINDS[kind])[1]), request, environment)


def main():
    """Write the loss and the metric of each kind of model and each size of micro-batches, or why it failed."""
    torch.set_num_threads(1)
    PartialState(cpu=True)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            for micro_batch in MICRO_BATCHES:
                outcome = trained(kind, micro_batch, Path(folder))
                scores = outcome.reason if outcome.final is None else [outcome.final.loss, outcome.final.metric]
                found[f"{kind} {micro_batch}"] = scores
    if PartialState().is_main_process:
        Path(sys.argv[1]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
