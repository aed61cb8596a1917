"""Hugging Face models: dict inputs, padding, ignored targets and tied weights."""

import logging

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import Recipe
from autoaccel.techniques.base import Batch
from autoaccel.techniques.data.resolution import SequenceWarmup
from autoaccel.techniques.optimization.objectives import LabelSmoothing
from autoaccel.techniques.registry import build
from autoaccel.techniques.shared.tensors import IGNORED
from autoaccel.training.build import assemble
from autoaccel.training.checkpoint import load_weights, save_weights
from autoaccel.training.data.capabilities import task_capabilities
from autoaccel.training.data.task import Task
from autoaccel.training.evaluate import evaluate
from autoaccel.training.loop import Milestones, train
from autoaccel.training.meters.count_flops import count_flops
from autoaccel.training.meters.progress import Progress
from autoaccel.training.metrics.finding import find_loss

transformers = pytest.importorskip("transformers", reason="needs the extra text")
logging.getLogger("transformers").setLevel(logging.ERROR)

WORDS, WIDTH, LAYERS, LONGEST = 50, 32, 2, 32


def bert(attention="sdpa"):
    config = transformers.BertConfig(
        vocab_size=WORDS,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=LONGEST,
        num_labels=3,
        attn_implementation=attention,
    )
    return transformers.BertForSequenceClassification(config)


def gpt2():
    config = transformers.GPT2Config(
        vocab_size=WORDS,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=2,
        n_positions=LONGEST,
        bos_token_id=0,
        eos_token_id=0,
    )
    return transformers.GPT2LMHeadModel(config)


def sentences(n, longest=LONGEST):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(4, longest + 1, (n,), generator=generator).tolist()
    return [torch.randint(1, WORDS, (length,), generator=generator) for length in lengths]


def padded(samples, value=0):
    return nn.utils.rnn.pad_sequence(samples, batch_first=True, padding_value=value)


def classified(samples):
    ids = padded([sample["input_ids"] for sample in samples])
    return {
        "input_ids": ids,
        "attention_mask": (ids > 0).long(),
        "labels": torch.tensor([s["label"] for s in samples]),
    }


def continued(samples):
    """Collate for a language model: the targets are the inputs shifted by one, as no loss shifts them."""
    ids = padded([sample["input_ids"][:-1] for sample in samples])
    labels = padded([sample["input_ids"][1:] for sample in samples], IGNORED)
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": labels}


def bert_task():
    samples = [{"input_ids": ids, "label": int(ids[0]) % 3} for ids in sentences(100)]
    return Task(model=bert, train=samples, collate=classified)


def gpt2_task():
    return Task(model=gpt2, train=[{"input_ids": ids} for ids in sentences(100)], collate=continued)


TASKS = {"bert": bert_task, "gpt2": gpt2_task}


def context_with(task, techniques):
    AcceleratorState._reset_state(reset_partial_state=True)
    recipe = Recipe(techniques={name: {} for name in techniques})
    return assemble(task, build(recipe.chosen()), {}, 0, 0, SimulatedClock(), 0.0, cpu=True)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("techniques", [[], ["label_smoothing", "sequence_warmup"], ["activation_checkpointing"]])
def test_training_steps_and_evaluations(name, techniques):
    context = context_with(TASKS[name](), techniques)
    assert context.kind == "tokens"
    scores = []
    progress = Progress(Budget(steps=5), context.meter.spent(), Cost(), 2, Cost())
    train(context, progress, Milestones((0.5, 1.0), 0, lambda i, score, cost: scores.append(score) or True), seed=0)
    assert all(torch.isfinite(torch.tensor(score.loss)) for score in scores)
    assert context.meter.spent().flops > 0


def test_what_the_models_offer():
    for task, also in ((bert_task(), {"labels"}), (gpt2_task(), set())):
        context = context_with(task, [])
        offered = task_capabilities(task, context.data, context.model)
        assert also | {"tokens", "cross_entropy", "any_length", "blocks", "dropout", "dataset"} <= offered
        assert "eager_attention" not in offered
    eager = Task(model=lambda: bert("eager"), train=bert_task().train, collate=classified)
    context = context_with(eager, ["sdpa"])
    assert context.model.config._attn_implementation == "sdpa"


def flops_by_hand(name, n, t):
    """FLOPs of the linear layers, and of attention's two matrix products."""
    square = WIDTH**2
    blocks = 2 * n * t * LAYERS * (8 if name == "bert" else 12) * square
    head = 2 * n * (square + 3 * WIDTH) if name == "bert" else 2 * n * t * WIDTH * WORDS
    return blocks + head + 2 * 2 * n * t * t * WIDTH * LAYERS


@pytest.mark.parametrize(("name", "make"), [("bert", bert), ("gpt2", gpt2)])
def test_flops_are_counted_without_numbers_although_the_models_look_at_their_masks(name, make, monkeypatch):
    """Counting with real numbers would compute a whole batch on the CPU for each shape."""
    monkeypatch.setattr("autoaccel.training.meters.count_flops.sdpa_kernel", None)
    n, t = 4, 16
    ids = torch.ones(n, t, dtype=torch.int64)
    for mask in (ids, ids.tril(12)):
        inputs = {"input_ids": ids, "attention_mask": mask}
        assert count_flops(make(), inputs, False) == pytest.approx(flops_by_hand(name, n, t), rel=0.01)
        assert count_flops(make(), inputs, True) == pytest.approx(3 * flops_by_hand(name, n, t), rel=0.01)


def test_a_shape_that_a_model_refuses_is_no_error_in_the_log(caplog):
    task = Task(
        model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)),
        train=(torch.zeros(50, 1, 8, 8), torch.arange(50) % 3),
    )
    context = context_with(task, [])
    assert "any_size" not in task_capabilities(task, context.data, context.model, {"any_size"})
    assert not caplog.records


def test_tied_weights_are_saved_once_and_loaded_tied(tmp_path):
    context = context_with(gpt2_task(), [])
    path = tmp_path / "model.safetensors"
    save_weights(context.model, path)
    model = gpt2()
    load_weights(model, path)
    assert model.lm_head.weight is model.transformer.wte.weight
    assert path.stat().st_size < 1.2 * 4 * sum(p.numel() for p in model.parameters())
    ids = torch.arange(1, 9)[None]
    assert torch.equal(model.eval()(ids).logits, context.model.eval()(ids).logits)


def test_the_loss_of_a_language_model_is_that_of_its_own_library():
    """The library shifts the targets inside the model, our task before it; both leave out ignored targets."""
    context = context_with(gpt2_task(), [])
    ids = sentences(1)[0]
    batch = continued([{"input_ids": ids}])
    output = context.forward({k: v for k, v in batch.items() if k != "labels"})
    context.model.eval()
    expected = context.model(input_ids=ids[None], labels=ids[None]).loss
    output = context.forward({k: v for k, v in batch.items() if k != "labels"})
    assert float(context.per_sample(output, batch["labels"])[0].detach()) == pytest.approx(
        expected.item(), rel=1e-4
    )


def test_label_smoothing_leaves_ignored_targets_out():
    context = context_with(gpt2_task(), [])
    output = torch.randn(2, 6, WORDS)
    targets = torch.randint(0, WORDS, (2, 6))
    targets[0, 2:] = IGNORED
    batch = Batch(None, targets, torch.arange(2), torch.ones(2))
    smoothed = LabelSmoothing(eps=0.1).loss(context, batch, output, context.per_sample(output, targets))
    expected = [
        nn.functional.cross_entropy(output[i], targets[i], ignore_index=IGNORED, label_smoothing=0.1).item()
        for i in range(2)
    ]
    assert smoothed.tolist() == pytest.approx(expected, rel=1e-5)


# Sequence warm-up.


def shortened(batch, p, **parameters):
    context = context_with(bert_task(), [])
    context.p = p
    technique = SequenceWarmup(**{"start": 0.5, "until": 0.5, "multiple": 4, **parameters})
    return technique.batch(context, batch)


def masked_batch(mask, targets=None):
    n, t = mask.shape
    ids = torch.arange(n * t).view(n, t)
    return Batch(
        {"input_ids": ids, "attention_mask": mask},
        torch.zeros(n) if targets is None else targets,
        torch.arange(n),
        torch.ones(n),
    )


@pytest.mark.parametrize(
    ("at_end", "p", "kept"),
    [(False, 1.0, range(12)), (False, 0.0, range(8)), (True, 1.0, range(8, 20)), (True, 0.0, range(12, 20))],
)
def test_padding_of_the_whole_batch_is_left_away(at_end, p, kept):
    mask = torch.zeros(3, 20, dtype=torch.int64)
    for row, length in enumerate((3, 7, 11)):
        mask[row, :length] = 1
    mask = mask.flip(1) if at_end else mask
    batch = masked_batch(mask)
    after = shortened(batch, p)
    for name in ("input_ids", "attention_mask"):
        assert torch.equal(after.inputs[name], batch.inputs[name][:, list(kept)])
    assert after.inputs["attention_mask"].any(1).all()
    assert len(after.weight) == 3


def test_padded_samples_are_never_cut_into_several():
    mask = torch.ones(2, 16, dtype=torch.int64)
    mask[0, 4:] = 0
    targets = torch.ones(2, 16, dtype=torch.int64)
    targets[0, 4:] = IGNORED
    after = shortened(masked_batch(mask, targets), 0.0, mode="segment")
    assert after.targets.shape == (2, 8)


def test_a_segment_without_targets_counts_nothing():
    targets = torch.ones(2, 16, dtype=torch.int64)
    targets[0, 8:] = IGNORED
    batch = Batch(torch.zeros(2, 16, dtype=torch.int64), targets, torch.arange(2), torch.ones(2))
    after = shortened(batch, 0.0, mode="segment")
    assert after.targets.shape == (4, 8)
    assert after.index.tolist() == [0, 0, 1, 1]
    assert after.weight.tolist() == [1.0] * 4
    objective = find_loss("cross_entropy", torch.zeros(2, 16, 3), targets, targets, True, None).objective(
        None, None
    )
    assert objective.counts(after.targets).tolist() == [8, 0, 8, 8]


def test_after_the_warmup_sequences_are_whole():
    batch = Batch(torch.zeros(2, 13, dtype=torch.int64), torch.zeros(2), torch.arange(2), torch.ones(2))
    assert shortened(batch, 0.5).inputs.shape == (2, 13)


def test_evaluation_of_batches_of_several_lengths():
    context = context_with(gpt2_task(), [])
    assert evaluate(context, context.data.train).loss > 0
