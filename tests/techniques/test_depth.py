"""Frozen layers and skipped blocks: what is computed, what it costs, and what is delivered."""

import copy

import pytest
import torch
from sample_tasks import image_task, residual_net, token_task, transformer
from torch import nn

from autoaccel.core.budget import Budget
from autoaccel.core.catalog import check
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import Recipe
from autoaccel.core.schedules import Schedule
from autoaccel.core.trial import OutcomeKind, TrialRequest
from autoaccel.techniques.model.depth import DroppedBlock
from autoaccel.techniques.registry import build, catalog
from autoaccel.training.batches import BatchSampler
from autoaccel.training.build import assemble
from autoaccel.training.checkpoint import load_weights
from autoaccel.training.data.prepare import build_model
from autoaccel.training.data.task import Task
from autoaccel.training.loop import Step
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment

N, WIDTH, CLASSES = 16, 8, 3
LAYER = 2 * N * WIDTH * WIDTH
"""FLOPs of one matrix product with a hidden layer's weight; training the layer takes three."""
HEAD = 2 * N * WIDTH * CLASSES


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return x + self.layer(x).tanh()


def deep(blocks=4):
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), *[Block() for _ in range(blocks)], nn.Linear(WIDTH, CLASSES))


def deep_task(model=deep):
    x = torch.randn(200, WIDTH, generator=torch.Generator().manual_seed(0))
    return Task(model=model, train=(x, torch.arange(200) % CLASSES))


class Training:
    """Takes steps at chosen progress and returns the FLOPs booked for each."""

    def __init__(self, task, batch=N, optimizer="sgd", **chosen):
        made = build({optimizer: {}, "constant": {}, "constant_batch": {"size": batch}, **chosen})
        self.context = assemble(task, made, {}, 0, 0, SimulatedClock(), 0.0, cpu=True)
        self.model = self.context.model
        self._step, self._batches = Step(self.context), iter(BatchSampler(self.context, 0))
        self.model.train()

    def step(self, p):
        self.context.p = p
        before = self.context.meter.spent().flops
        self._step(next(self._batches))
        return self.context.meter.spent().flops - before

    @property
    def technique(self):
        return next(t for t in self.context.techniques if not t.info.component)


def trained(model):
    return [name for name, p in model.named_parameters() if p.requires_grad and name.endswith("weight")]


def test_frozen_layers_need_neither_of_their_gradients():
    training = Training(deep_task(), layer_freezing={"share": Schedule(0.0, 0.8, 0.0, 1.0), "levels": 5})
    flops = []
    for p in (0.0, 0.25, 0.5, 0.75, 1.0):
        training.step(p)
        flops.append(training.step(p) - 3 * HEAD)
    # The first trained layer computes no gradient of its input; layers were frozen in the step before.
    costs = [3 * (5 - k) * LAYER - LAYER + k * LAYER for k in range(5)]
    assert flops == costs
    assert trained(training.model) == ["4.layer.weight", "5.weight"]
    training.technique.finish(training.context)
    assert len(trained(training.model)) == 6


def test_a_falling_share_thaws_and_an_optimizer_keeps_what_it_knows():
    training = Training(
        deep_task(), optimizer="adamw", layer_freezing={"share": Schedule(1.0, 0.0, 0.0, 1.0), "levels": 5}
    )
    assert trained(training.model) == ["5.weight"]
    head, early = training.model[5].weight, training.model[0].weight.clone()
    for _ in range(3):
        training.step(0.0)
    training.step(0.4)
    assert trained(training.model) == ["3.layer.weight", "4.layer.weight", "5.weight"]
    assert training.context.optimizer.state[head]["step"] == 4
    assert torch.equal(training.model[0].weight, early)
    training.step(1.0)
    training.step(1.0)
    assert len(trained(training.model)) == 6
    assert not torch.equal(training.model[0].weight, early)


def test_layers_freeze_in_the_order_in_which_they_run_and_what_the_user_froze_stays():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.deep = nn.Linear(WIDTH, CLASSES), nn.Linear(WIDTH, WIDTH)
            self.stem, self.given = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH).requires_grad_(False)

        def forward(self, x):
            return self.head(self.deep(self.stem(self.given(x))))

    training = Training(deep_task(Backwards), layer_freezing={"share": 0.5, "levels": 2})
    assert trained(training.model) == ["head.weight", "deep.weight"]
    training.technique.finish(training.context)
    assert trained(training.model) == ["head.weight", "deep.weight", "stem.weight"]


def test_each_drawn_depth_is_charged_as_it_runs():
    training = Training(deep_task(), layer_drop={"max_drop": 0.9, "since": 0.0, "until": 0.0})
    depths = set()
    for _ in range(20):
        flops = training.step(0.5)
        ran = sum(not block.drops_now for block in training.model.modules() if isinstance(block, DroppedBlock))
        assert flops == 3 * HEAD + 3 * ran * LAYER + 2 * LAYER
        depths.add(ran)
    assert len(depths) > 2


def test_blocks_of_another_shape_are_another_kind():
    class Stages(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = residual_net()[:-4]

        def forward(self, x):
            for i, part in enumerate(self.body):
                x = nn.functional.avg_pool2d(x, 2) if i == 4 else x
                x = part(x)
            return x.mean((2, 3))

    training = Training(image_task(Stages), layer_drop={})
    assert training.technique.kinds == [0, 0, 1, 1]


def test_deep_blocks_are_dropped_more_often_and_the_rest_makes_up_for_it():
    training = Training(deep_task(), layer_drop={"max_drop": 0.4, "since": 0.0, "until": 1.0})
    blocks = [m for m in training.model.modules() if isinstance(m, DroppedBlock)]
    counts = torch.zeros(4)
    training.context.p = 1.0
    for _ in range(2000):
        training.technique.batch(training.context, None)
        counts += torch.tensor([block.drops_now for block in blocks])
    assert torch.allclose(counts / 2000, torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=0.04)
    block, x = blocks[3], torch.randn(5, WIDTH)
    block.drops_now = False
    assert torch.allclose(block(x), x + block.layer(x).tanh() / 0.6, atol=1e-6)
    block.drops_now = True
    assert block(x) is x


@pytest.mark.parametrize("name", ["layer_drop", "token_dropout"])
def test_an_evaluated_model_is_the_plain_one(name):
    task = token_task(transformer)
    training = Training(task, **{name: {}})
    training.step(0.7)
    plain = transformer()
    assert plain.state_dict().keys() == training.model.state_dict().keys()
    plain.load_state_dict(training.model.state_dict())
    x = task.train[0][:4]
    assert torch.equal(plain.eval()(x), training.model.eval()(x))


def test_a_model_grows_into_copies_of_its_first_blocks():
    training = Training(deep_task(), depth_growth={"growth": 2, "at": 0.5})
    model = training.model
    plain = deep()
    assert plain.state_dict().keys() == model.state_dict().keys()
    assert training.step(0.0) == training.step(0.2) == 3 * HEAD + 2 * 3 * LAYER + 2 * LAYER
    shallow = nn.Sequential(*[copy.deepcopy(model[i]) for i in (0, 1, 2, 5)]).eval()
    x = torch.randn(4, WIDTH)
    assert torch.equal(shallow(x), model.eval()(x))
    model.train()
    training.step(0.5)
    for new, old in ((3, 1), (4, 2)):
        assert torch.equal(model[new].layer.weight, model[old].layer.weight)
    assert training.step(0.6) == 3 * HEAD + 4 * 3 * LAYER + 2 * LAYER
    assert not torch.equal(model[3].layer.weight, model[1].layer.weight)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(plain.eval()(x), model.eval()(x))


@pytest.mark.parametrize("more", [{}, {"ema": {"half_life": 0.1}}, {"magnitude_pruning": {}}])
def test_a_grown_model_is_delivered_whole(more, tmp_path):
    environment = TrialEnvironment(SimulatedClock(), 0.0, lambda report: True, folder=tmp_path, cpu=True)
    recipe = Recipe(techniques={"depth_growth": {"growth": 4, "at": 0.4}, **more})
    outcome = run_trial(image_task(residual_net), TrialRequest(0, recipe, Budget(steps=20)), environment)
    assert outcome.kind is OutcomeKind.COMPLETE, outcome.reason
    model = residual_net()
    load_weights(model, tmp_path / "model.safetensors")
    first, last = model[2].body[0].weight, model[5].body[0].weight
    assert not torch.equal(first, last) and torch.allclose(first, last, atol=0.5)


def test_a_model_that_never_reached_its_growth_is_made_whole_at_the_end():
    training = Training(deep_task(), depth_growth={})
    training.step(0.0)
    training.technique.finish(training.context)
    assert len(list(training.model.parameters())) == 12


@pytest.mark.parametrize(
    "names", [("layer_drop", "depth_growth"), ("layer_drop", "layer_freezing"), ("depth_growth", "layer_freezing")]
)
def test_what_would_skip_or_freeze_the_same_blocks_is_refused(names):
    assert check({name: {} for name in names}, catalog())


def bert():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    return transformers.BertForSequenceClassification(config)


def gpt2():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=20, n_positions=16, n_embd=8, n_layer=4, n_head=2, bos_token_id=None, eos_token_id=None
    )
    return transformers.GPT2LMHeadModel(config)


def bert_task():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 20, (80, 8), generator=generator)
    length = torch.randint(3, 9, (80, 1), generator=generator)
    mask = (torch.arange(8) < length).long()
    return Task(model=bert, train=({"input_ids": tokens, "attention_mask": mask}, torch.arange(80) % 2))


def gpt2_task():
    tokens = torch.randint(0, 20, (80, 9), generator=torch.Generator().manual_seed(0))
    return Task(model=gpt2, train=({"input_ids": tokens[:, :-1]}, tokens[:, 1:]))


@pytest.mark.parametrize("make", [bert_task, gpt2_task])
def test_models_of_transformers_are_taken_as_they_are(make):
    task = make()
    names = build_model(task, {}).state_dict().keys()
    training = Training(task, batch=8, layer_drop={"max_drop": 0.9, "until": 0.0})
    costs = {}
    for _ in range(12):
        flops = training.step(0.5)
        costs.setdefault(sum(b.drops_now for b in training.model.modules() if isinstance(b, DroppedBlock)), flops)
    assert len(training.technique.blocks) == 4 and len(set(training.technique.kinds)) == 1
    fewest, most = min(costs), max(costs)
    assert costs[fewest] > costs[most]
    assert training.model.state_dict().keys() == names

    frozen = Training(task, batch=8, layer_freezing={"share": Schedule(0.0, 0.75, 0.5, 0.5)})
    full = frozen.step(0.0)
    frozen.step(0.5)
    assert frozen.step(0.6) < full
    assert frozen.model.state_dict().keys() == names

    grown = Training(task, batch=8, depth_growth={"at": 0.5})
    shallow = grown.step(0.0)
    grown.step(0.5)
    assert grown.step(0.6) > shallow
    assert grown.model.state_dict().keys() == names
