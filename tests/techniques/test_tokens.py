"""Tokens that bypass the inner blocks of a transformer."""

import pytest
import torch
from sample_tasks import AttentionBlock, token_task, transformer
from torch import nn

from autoaccel.core.clock import SimulatedClock
from autoaccel.core.schedules import Schedule
from autoaccel.techniques.data.tokens import ShortenedBlock
from autoaccel.techniques.registry import build
from autoaccel.techniques.shared.modules import extend, token_blocks
from autoaccel.training.batches import BatchSampler
from autoaccel.training.build import assemble
from autoaccel.training.data.capabilities import task_capabilities
from autoaccel.training.data.prepare import build_model, prepare
from autoaccel.training.data.task import Task
from autoaccel.training.loop import Step

N, T, D, WORDS = 16, 32, 8, 7


def training(**parameters):
    made = build({"sgd": {}, "constant": {}, "constant_batch": {"size": N}, "token_dropout": parameters})
    return assemble(token_task(transformer), made, {}, 0, 0, SimulatedClock(), 0.0, cpu=True)


def block_flops(tokens):
    """FLOPs of a block's forward and backward: weights of 3 + 1 + 2 + 2 squares of width D, and attention."""
    matrices = 2 * N * tokens * D * D * (3 + 1 + 2 + 2)
    attention = 2 * 2 * N * tokens * tokens * D
    return 3 * matrices + 3 * attention


def test_inner_blocks_are_charged_for_the_tokens_that_they_keep():
    context = training(drop=Schedule(0.6, 0.0, 0.0, 1.0), until=0.9)
    step, batches = Step(context), iter(BatchSampler(context, 0))
    context.model.train()
    head = 3 * 2 * N * T * D * WORDS
    for p, kept in ((0.0, 12), (0.3, 20), (0.5, 24), (0.85, 28), (0.95, 32)):
        context.p, before = p, context.meter.spent().flops
        step(next(batches))
        flops = context.meter.spent().flops - before
        assert flops == head + 2 * block_flops(T) + 2 * block_flops(kept)
        assert context.variants["token_dropout"] == kept


def test_a_shortened_block_is_the_block_on_some_tokens_and_leaves_the_others_alone():
    torch.manual_seed(0)
    block = AttentionBlock(D)
    plain = AttentionBlock(D)
    plain.load_state_dict(block.state_dict())
    extend(block, ShortenedBlock)
    block.token_share = 0.5
    for dropout in [m for m in (*block.modules(), *plain.modules()) if isinstance(m, nn.Dropout)]:
        dropout.p = 0.0
    x = torch.randn(3, 16, D)
    output = block(x)
    kept = (output != x).any(2).any(0)
    indices = kept.nonzero().flatten()
    assert len(indices) == 8 and indices[0] == 0
    assert torch.allclose(output[:, indices], plain(x[:, indices]), atol=1e-6)
    assert torch.equal(output[:, ~kept], x[:, ~kept])
    assert torch.equal(block.eval()(x), plain.eval()(x))


def test_the_outer_blocks_see_every_token():
    context = training(drop=0.5)
    assert context.techniques[0].info.name == "token_dropout"
    assert context.techniques[0].blocks == ["2", "3"]


def test_bypassing_tokens_still_carry_gradients():
    block = AttentionBlock(D)
    extend(block, ShortenedBlock)
    block.token_share = 0.5
    x = torch.randn(2, 16, D, requires_grad=True)
    block(x).sum().backward()
    assert (x.grad != 0).all() and all(p.grad is not None for p in block.parameters())


class FixedLength(nn.Module):
    """A block that works only with a fixed number of tokens."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1, T, D))
        self.layer = nn.Linear(D, D)

    def forward(self, x):
        return x + self.layer(x + self.place)


def capabilities(task):
    model = build_model(task, {})
    return task_capabilities(task, prepare(task, model, 0), model)


def test_only_blocks_that_take_fewer_tokens_are_offered():
    fixed = lambda: nn.Sequential(nn.Embedding(WORDS, D), *[FixedLength() for _ in range(4)], nn.Linear(D, WORDS))  # noqa: E731
    assert {"blocks", "token_blocks"} <= capabilities(token_task(transformer))
    assert "token_blocks" not in capabilities(token_task(fixed)) and "blocks" in capabilities(token_task(fixed))


@pytest.mark.parametrize("masked", [False, True])
def test_a_mask_that_comes_with_the_inputs_stands_against_it(masked):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    tokens = torch.randint(0, 20, (40, 8))
    inputs = {"input_ids": tokens} | ({"attention_mask": torch.ones_like(tokens)} if masked else {})
    task = Task(
        model=lambda: transformers.BertForSequenceClassification(config), train=(inputs, torch.arange(40) % 2)
    )
    assert ("token_blocks" in capabilities(task)) != masked


def test_two_blocks_leave_the_first_alone():
    task = token_task(
        lambda: nn.Sequential(nn.Embedding(WORDS, D), AttentionBlock(D), AttentionBlock(D), nn.Linear(D, WORDS))
    )
    made = build({"sgd": {}, "constant": {}, "constant_batch": {}, "token_dropout": {}})
    context = assemble(task, made, {}, 0, 0, SimulatedClock(), 0.0, cpu=True)
    assert context.techniques[0].blocks == ["2"]
    assert len(token_blocks(context.model, task.train[0][:2])) == 2
