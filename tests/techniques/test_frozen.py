"""What the user froze stays bit for bit, in the delivered weights too, under every technique of the catalog."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from sample_tasks import MACHINE, image_task, token_task
from torch import nn

from autoaccel.core.budget import Budget
from autoaccel.core.catalog import REFERENCE
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.trial import OutcomeKind, Reference, TrialRequest
from autoaccel.techniques.registry import catalog
from autoaccel.techniques.shared.frozen import frozen_tensors
from autoaccel.testing.techniques import alone
from autoaccel.training.checkpoint import save_weights
from autoaccel.training.data.capabilities import task_capabilities
from autoaccel.training.data.prepare import build_model, prepare
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment


class Residual(nn.Module):
    """A residual block with a frozen convolution, a frozen BatchNorm in eval mode, and trained ones."""

    def __init__(self, width):
        super().__init__()
        self.held = nn.Conv2d(width, width, 3, padding=1).requires_grad_(False)
        self.norm = nn.BatchNorm2d(width).requires_grad_(False)
        self.free = nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return x + self.last(self.free(self.norm(self.held(x))).relu())


class Half(nn.Module):
    """An image model whose stem is frozen; `train()` keeps the frozen norms in eval mode."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1).requires_grad_(False)
        self.norm = nn.BatchNorm2d(16).requires_grad_(False)
        self.wide = nn.Conv2d(16, 16, 3, padding=1)
        self.still = nn.BatchNorm2d(16, momentum=0.0).requires_grad_(False)
        self.wider = nn.Conv2d(16, 16, 3, padding=1)
        self.blocks = nn.Sequential(*(Residual(16) for _ in range(4)))
        self.drop = nn.Dropout(0.1)
        self.fixed = nn.Linear(16, 16).requires_grad_(False)
        self.hidden = nn.Linear(16, 16)
        self.head = nn.Linear(16, 3)
        with torch.no_grad():
            for part in self.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.running_mean.uniform_(-0.1, 0.1)
                    part.running_var.uniform_(0.9, 1.1)
        self.train()

    def train(self, mode=True):
        super().train(mode)
        for norm in (self.norm, *(block.norm for block in self.blocks)):
            norm.eval()
        return self

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = self.blocks(self.wider(self.still(self.wide(x)).relu()))
        return self.head(self.hidden(self.fixed(self.drop(x.mean((2, 3))))).relu())


class Tokens(nn.Module):
    """A language model with a frozen embedding and, in each block, a frozen projection."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 8).requires_grad_(False)
        self.blocks = nn.Sequential(*(TokenBlock() for _ in range(4)))
        self.head = nn.Linear(8, 7)

    def forward(self, x):
        return self.head(self.blocks(self.table(x)))


class TokenBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24).requires_grad_(False), nn.Linear(8, 8)
        self.norm, self.drop = nn.LayerNorm(8).requires_grad_(False), nn.Dropout(0.1)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).view(*x.shape[:2], 3, 2, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + self.drop(self.out(mixed.transpose(1, 2).reshape(x.shape)))


def seeded(make):
    """A factory that draws the same weights whatever the trial's seed is, as one of pretrained weights does."""

    def build():
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return make()

    return build


CASES = {"image": lambda: image_task(seeded(Half)), "tokens": lambda: token_task(seeded(Tokens))}


def offering(name, info):
    """The task, if it has what the technique requires."""
    task = CASES[name]()
    model = build_model(task, {})
    asked = info.requires - MACHINE - {REFERENCE}
    offered = task_capabilities(task, prepare(task, model, 0), model, asked)
    return task if asked <= offered else None


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", sorted(catalog()))
def test_what_the_user_froze_is_delivered_bit_for_bit(name, case, tmp_path):
    info = catalog()[name]
    if not info.available or info.requires & {"fp16", "fp8", "compiler"}:
        pytest.skip("needs a package or a machine that is not here")
    if (task := offering(case, info)) is None:
        pytest.skip("the task does not offer what it needs")
    fresh = build_model(task, {})
    reference = None
    if REFERENCE in info.requires:  # other weights, frozen ones included
        other = build_model(task, {})
        with torch.no_grad():
            for tensor in other.parameters():
                tensor.add_(0.1)
        (tmp_path / "reference").mkdir()
        save_weights(other, tmp_path / "reference" / "model.safetensors")
        reference = Reference(alone("adamw", {}), weights=str(tmp_path / "reference" / "model.safetensors"))
    request = TrialRequest(1, alone(name, {}), Budget(steps=8), milestones=(0.5, 1.0), reference=reference)
    environment = TrialEnvironment(SimulatedClock(), 0.0, lambda report: True, folder=tmp_path, cpu=True)
    outcome = run_trial(task, request, environment)
    assert outcome.kind is OutcomeKind.COMPLETE, outcome.reason
    saved = load_file(tmp_path / "model.safetensors")
    frozen = frozen_tensors(fresh)
    expected = {n: t for n, t in fresh.state_dict(keep_vars=True).items() if id(t) in frozen}
    expected.pop("still.num_batches_tracked", None)  # a counter, which any training moves
    assert len(expected) > 8
    changed = [n for n, t in expected.items() if saved[n].dtype != t.dtype or not torch.equal(saved[n], t)]
    assert not changed, f"{name} changed {', '.join(changed)}"
