"""Initializations: what the model computes at first, and that all weights still train."""

import pytest
import torch
from sample_tasks import ConvBlock, image_task, residual_net, token_task, transformer
from torch import nn

from autoaccel.core.clock import SimulatedClock
from autoaccel.techniques.model.initialization import silence, whitening_directions
from autoaccel.techniques.registry import build
from autoaccel.techniques.shared.modules import repeated_blocks
from autoaccel.training.batches import BatchSampler
from autoaccel.training.build import assemble
from autoaccel.training.data.task import Task
from autoaccel.training.loop import Step


def assembled(task, *names):
    chosen = {"sgd": {}, "constant": {}, "constant_batch": {}, **{name: {} for name in names}}
    return assemble(task, build(chosen), {}, 0, 0, SimulatedClock(), 0.0, cpu=True)


def every_weight_moves(context):
    before = [p.detach().clone() for p in context.model.parameters() if p.dim() > 1]
    context.model.train()
    step, batches = Step(context), iter(BatchSampler(context, 0))
    for p in (0.0, 0.1, 0.2):  # layers before a zeroed layer get their first gradient in the second step
        context.p = p
        step(next(batches))
    after = [p for p in context.model.parameters() if p.dim() > 1]
    return not any(torch.equal(old, new) for old, new in zip(before, after, strict=True))


class Stem(nn.Module):
    """The first convolution to run is defined last."""

    def __init__(self, width):
        super().__init__()
        self.head = nn.Linear(width, 3)
        self.deep = nn.Conv2d(width, width, 3)
        self.stem = nn.Conv2d(3, width, 3, padding=1)

    def forward(self, x):
        return self.head(self.deep(self.stem(2 * x - 1)).relu().mean((2, 3)))


@pytest.fixture
def photos():
    """Images in which neighboring pixels and colors correlate, as in photos."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(600, 1, 4, 4, generator=generator)
    x = nn.functional.interpolate(coarse, 12, mode="bilinear") + 0.1 * torch.rand(
        600, 3, 12, 12, generator=generator
    )
    return x, torch.arange(600) % 3


@pytest.mark.parametrize("width", [16, 54, 64])
def test_the_first_filters_whiten_the_training_images(photos, width):
    context = assembled(Task(model=lambda: Stem(width), train=photos), "whitening")
    torch.manual_seed(0)
    plain, stem = Stem(width), context.model.stem
    pairs = min(27, width // 2)
    with torch.no_grad():
        seen = nn.functional.conv2d(2 * photos[0] - 1, stem.weight, stem.bias)[:, : 2 * pairs]
    outputs = seen.transpose(0, 1).flatten(1)
    assert torch.allclose(outputs.mean(1), torch.zeros(2 * pairs), atol=0.1)
    strong = min(pairs, 3)
    assert torch.allclose(torch.cov(outputs[:strong]), torch.eye(strong), atol=0.1)
    assert torch.equal(stem.weight[pairs : 2 * pairs], -stem.weight[:pairs])
    assert stem.weight[2 * pairs :].shape == plain.stem.weight[2 * pairs :].shape
    assert context.model.state_dict().keys() == plain.state_dict().keys()
    assert every_weight_moves(context)


def test_the_rest_of_the_filters_stays_as_it_was(photos):
    whitened = assembled(Task(model=lambda: Stem(64), train=photos), "whitening").model
    plain = assembled(Task(model=lambda: Stem(64), train=photos)).model
    assert torch.equal(whitened.stem.weight[54:], plain.stem.weight[54:])
    assert torch.equal(whitened.deep.weight, plain.deep.weight)


def test_whitened_directions_are_uncorrelated_and_the_strongest_come_first():
    torch.manual_seed(0)
    patches = (
        torch.randn(20_000, 4) @ torch.tensor([[1.0, 1, 0, 0], [-1, 1, 0, 0], [0, 0, 3, 3], [0, 0, -2, 2]]) + 3
    )
    mean, directions = whitening_directions(patches)
    white = (patches.double() - mean) @ directions.T
    assert torch.allclose(torch.cov(white.T), torch.eye(4).double(), atol=0.02)
    assert directions[0].norm() < directions[-1].norm()


def test_dirac_filters_pass_their_channels_and_the_rest_stays_random():
    task = Task(model=lambda: Stem(8), train=image_task().train)
    color = Task(model=lambda: Stem(8), train=(task.train[0].expand(-1, 3, -1, -1).clone(), task.train[1]))
    model = assembled(color, "dirac").model
    x = torch.randn(2, 3, 6, 6)
    bias = model.stem.bias.view(1, -1, 1, 1)
    assert torch.allclose((model.stem(x) - bias)[:, :3], x, atol=1e-6)
    assert torch.equal(model.stem.weight[3:], assembled(color).model.stem.weight[3:])
    assert every_weight_moves(assembled(color, "dirac"))


def test_residual_blocks_of_a_convolutional_net_begin_as_identities():
    context = assembled(image_task(residual_net), "zero_residual")
    x = torch.randn(2, 4, 6, 6)
    for block in (m for m in context.model.eval() if isinstance(m, ConvBlock)):
        assert torch.equal(block(x), x)
        assert not block.body[3].weight.any() and block.body[0].weight.any()
    assert every_weight_moves(context)


def test_both_branches_of_a_transformer_block_are_zeroed_at_their_ends():
    context = assembled(token_task(transformer), "zero_residual")
    x = torch.randn(2, 6, 8)
    for block in context.model.eval()[1:5]:
        assert torch.equal(block(x), x)
        assert not block.out.weight.any() and not block.feed[3].weight.any()
        assert block.qkv.weight.any() and block.feed[0].weight.any() and block.norms[1].weight.all()
    assert every_weight_moves(context)


class NormedBlock(nn.Module):
    """As in a ResNet, a norm ends the branch and a ReLU the block."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + x)


class BareBlock(nn.Module):
    """A block whose last layer is defined first; zeroing the other one would stop all gradients of the branch."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(8, 8, bias=False)
        self.first = nn.Linear(8, 8, bias=False)

    def forward(self, x):
        return x + self.last(self.first(x).relu())


def test_one_layer_is_zeroed_that_still_learns():
    torch.manual_seed(0)
    normed, bare = NormedBlock().eval(), BareBlock()
    assert silence(normed, (torch.randn(2, 4, 6, 6),), {})
    assert not normed.bn2.weight.any() and normed.conv2.weight.any() and normed.bn1.weight.all()
    assert silence(bare, (torch.randn(2, 8),), {})
    assert not bare.last.weight.any() and bare.first.weight.any()


def test_a_block_that_is_no_identity_however_it_is_cut_stays_as_it_was():
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
    before = [p.clone() for p in block.parameters()]
    assert not silence(block, (torch.randn(2, 8),), {})
    assert all(torch.equal(old, new) for old, new in zip(before, block.parameters(), strict=True))


def test_pre_norm_blocks_of_torch_and_transformers_are_found():
    transformers = pytest.importorskip("transformers")
    layers = [nn.TransformerEncoderLayer(8, 2, 16, norm_first=True, batch_first=True) for _ in range(2)]
    model = nn.Sequential(*layers)
    for block in repeated_blocks(model, torch.randn(2, 5, 8)):
        assert silence(block.eval(), (torch.randn(2, 5, 8),), {})
        assert not block.linear2.weight.any() and not block.self_attn.out_proj.weight.any()
    config = transformers.GPT2Config(
        vocab_size=20, n_positions=16, n_embd=8, n_layer=2, n_head=2, bos_token_id=None, eos_token_id=None
    )
    tokens = torch.randint(0, 20, (80, 9))
    task = Task(
        model=lambda: transformers.GPT2LMHeadModel(config), train=({"input_ids": tokens[:, 1:]}, tokens[:, :-1])
    )
    for block in assembled(task, "zero_residual").model.transformer.h:
        assert not block.attn.c_proj.weight.any() and not block.mlp.c_proj.weight.any()
        assert block.mlp.c_fc.weight.any()


def test_all_of_them_go_together():
    assert every_weight_moves(assembled(image_task(residual_net), "whitening", "dirac", "zero_residual"))
