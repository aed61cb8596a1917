"""The choice of training samples: coresets, duplicates, filtered batches, and the amount of data."""

import pytest
import torch
import torch.nn.functional as F
from sample_tasks import image_task
from torch import nn

from autoaccel.core.budget import Budget
from autoaccel.core.catalog import check
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.quantities import Cost
from autoaccel.techniques.base import Batch
from autoaccel.techniques.data.coreset import Coreset, el2n, margin, stratified
from autoaccel.techniques.data.curriculum import LossCurriculum
from autoaccel.techniques.data.duplicates import Deduplicate, token_pairs, without_duplicates
from autoaccel.techniques.data.filtering import ProxyLearnability, RhoLoss, SelectiveBackprop
from autoaccel.techniques.data.selection import DataDropout, InfoBatch
from autoaccel.techniques.data.size import DataSize
from autoaccel.techniques.registry import build, catalog
from autoaccel.training.batches import BatchSampler
from autoaccel.training.build import prepare_context, set_up
from autoaccel.training.data.task import Task
from autoaccel.training.loop import Milestones, Step, train
from autoaccel.training.meters.progress import Progress

FORWARD = 2 * (8 * 16 + 16 * 4)
"""FLOPs of one sample's forward through `stack`."""
STEP = 2 * FORWARD + 2 * 16 * 4
"""FLOPs of one sample's training step: forward, gradients of both weights and of the second layer's input."""


def stack():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def table_task(count=320, model=stack):
    x = torch.randn(count, 8, generator=torch.Generator().manual_seed(0))
    return Task(model=model, train=(x, x[:, :4].argmax(1)), valid=(x[:32], x[:32, :4].argmax(1)))


def context_with(technique, task=None, teacher=None, batch=32):
    task = task or table_task()
    techniques = sorted(
        [technique, *build({"adamw": {"lr": 0.01}, "constant": {}, "constant_batch": {"size": batch}})],
        key=lambda t: t.info.order,
    )
    context = prepare_context(task, techniques, {}, 0, 0, SimulatedClock(), 0.0, cpu=True)
    context.teacher = teacher
    set_up(context, cpu=True)
    context.model.train()
    return context


def first_batch(context, count=32):
    return context.fetch(torch.arange(count))


def flops_of_step(context, batch):
    before = context.meter.spent().flops
    Step(context)(batch)
    return context.meter.spent().flops - before


def run(context, steps):
    progress = Progress(Budget(steps=steps), context.meter.spent(), Cost(), 1, Cost())
    train(context, progress, Milestones((1.0,), 0, lambda *_: True), seed=0)


# Ranks


@pytest.mark.parametrize(
    "technique",
    [
        DataDropout(),
        InfoBatch(),
        LossCurriculum(),
        DataSize(),
        Coreset(),
        Coreset(score="forgetting"),
        Deduplicate(),
    ],
    ids=lambda t: t.info.name,
)
def test_ranks_select_the_same_samples(technique):
    chosen = []
    for rank in range(2):
        context = context_with(type(technique)(**{k: getattr(technique, k) for k in technique.info.parameters}))
        torch.rand(7 + rank, generator=context.generator)  # as if augmentation drew differently on each rank
        context.sample_loss = torch.linspace(0, 1, 320).round(decimals=1)
        context.p, context.seen = 0.5, 320
        mine = next(t for t in context.techniques if t.info.name == technique.info.name)
        chosen.append(mine.select(context, torch.ones(320)))
    assert torch.equal(*chosen)


# Coresets


def test_scores_are_those_of_their_definitions():
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    distance = (logits.softmax(1) - F.one_hot(labels, 4)).norm(dim=1)
    assert torch.allclose(el2n(logits, labels, labels), distance, atol=1e-6)
    gaps = [
        max(row[j] for j in range(4) if j != label) - row[label] for row, label in zip(logits, labels, strict=True)
    ]
    assert torch.allclose(margin(logits, labels, labels), torch.stack(gaps))


def test_stratified_takes_evenly_from_all_bins_after_the_hardest_are_gone():
    """Of 900 easy, 60 medium, 20 hard and 20 hardest samples, 200 are kept."""
    hardness = torch.cat([torch.full((900,), 0.05), torch.full((60,), 0.5), torch.full((20,), 0.95)])
    hardness = torch.cat([hardness, torch.full((20,), 5.0)])
    chosen = stratified(hardness, 0.2, 0.02, 10, torch.Generator().manual_seed(0))
    assert len(chosen) == len(chosen.unique()) == 200
    counts = [int((hardness[chosen] == value).sum()) for value in (0.05, 0.5, 0.95, 5.0)]
    # 200 / 3 > 20, so all hard ones are kept; (200 - 20) / 2 > 60, so all medium ones; the rest is easy.
    assert counts == [120, 60, 20, 0]


def test_stratified_keeps_its_share_when_little_may_be_dropped():
    chosen = stratified(torch.arange(100.0), 0.9, 0.3, 20, torch.Generator())
    assert sorted(chosen.tolist()) == list(range(90))
    same = stratified(torch.ones(100), 0.3, 0.1, 20, torch.Generator())
    assert len(same.unique()) == 30


def visit(technique, context, correct, passes=1):
    """Run one pass in which samples 0, 1, ... are classified correctly or not."""
    correct = torch.tensor(correct)
    labels = torch.zeros(len(correct), dtype=torch.long)
    logits = torch.where(correct[:, None], torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    batch = Batch(logits, labels, torch.arange(len(correct)), torch.ones(len(correct)))
    technique.loss(context, batch, logits, F.cross_entropy(logits, labels, reduction="none"))
    # Recomputing the loss at other weights, as SAM does, is not a second visit.
    technique.loss(context, batch, -logits, F.cross_entropy(-logits, labels, reduction="none"))
    technique.select(context, torch.ones(len(context.sample_loss)))


def test_forgetting_counts_how_often_a_sample_was_lost():
    technique = Coreset(score="forgetting")
    context = context_with(technique)
    for correct in ([True, True, False, False], [True, False, False, True], [True, True, False, False]):
        visit(technique, context, correct)
    visit(technique, context, [True, False, False])
    assert technique.hardness()[:4].tolist() == [0, 2, 3, 1]
    assert technique.hardness()[4:].isnan().all()


def test_scores_are_means_over_visits():
    technique = Coreset(score="margin")
    context = context_with(technique)
    visit(technique, context, [True, False])
    visit(technique, context, [True, True])
    visit(technique, context, [True])
    assert technique.hardness()[:2].tolist() == [-2.0, -0.5]


@pytest.mark.parametrize("score", ["el2n", "loss", "forgetting", "margin"])
def test_coreset_trains_on_one_part_from_its_choice_to_its_revision(score):
    technique = Coreset(keep=0.25, at=0.3, revise=0.8, score=score)
    context = context_with(technique)
    seen = {"before": [], "between": [], "after": []}
    loss = technique.loss

    def spying(context, batch, output, each):
        stage = "before" if context.p < 0.3 else "between" if context.p < 0.8 else "after"
        seen[stage].append(batch.index)
        return loss(context, batch, output, each)

    technique.loss = spying
    run(context, steps=100)
    part = technique.kept.nonzero().flatten()
    assert len(part) == 80
    assert torch.cat(seen["before"]).unique().numel() == 320
    # The first batch of a stage still belongs to the previous pass.
    assert set(torch.cat(seen["between"][1:]).tolist()) == set(part.tolist())
    assert torch.cat(seen["after"][1:]).unique().numel() > 300
    assert context.meter.spent().flops - 100 * 32 * STEP == pytest.approx(32 * FORWARD)  # the final evaluation


def test_coreset_keeps_unseen_samples_in_proportion():
    technique = Coreset(keep=0.5, at=0.3, beta=0.0)
    context = context_with(technique)
    technique.noted[:100] = torch.rand(100)
    context.p = 0.3
    chosen = technique.select(context, torch.ones(320))
    assert chosen[:100].sum() == 50 and chosen[100:].sum() == 110


def test_a_single_logit_is_scored_as_two_classes():
    technique = Coreset()
    task = Task(model=lambda: nn.Linear(8, 1), train=(torch.randn(300, 8), torch.arange(300) % 2))
    context = context_with(technique, task)
    run(context, steps=20)
    known = technique.hardness()[~technique.hardness().isnan()]
    assert len(known) and bool((known > 0).all() and (known < 2**0.5).all())


# Duplicates


def smooth_images(count, seed=0):
    """Random color images with most of their power in low frequencies, like photos."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.zeros(count, 3, 36, 36)
    for side in (3, 6, 12, 36):
        detail = torch.randn(count, 3, side, side, generator=generator) / side**0.5
        images += F.interpolate(detail, size=(36, 36), mode="bicubic")
    return images


def kept_of(x, model, threshold):
    labels = torch.arange(len(x)) % 2
    technique = Deduplicate(threshold=threshold)
    context = context_with(technique, Task(model=lambda: model, train=(x, labels), valid=(x[:8], labels[:8])))
    return technique.select(context, torch.ones(len(x)))


def test_deduplicate_finds_noisy_shifted_and_brighter_images_and_no_others():
    big = smooth_images(400)
    clean = big[:, :, 2:34, 2:34]
    noisy = clean[:20] + 0.1 * torch.randn(20, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    shifted, brighter = big[20:40, :, 2:34, 3:35], 1.1 * clean[40:60] + 0.5
    x = torch.cat([clean, noisy, shifted, brighter])
    kept = kept_of(x, nn.Sequential(nn.Flatten(), nn.Linear(3072, 2)), threshold=0.95)
    assert kept[:400].all()
    assert [int(kept[a : a + 20].sum()) for a in (400, 420, 440)] == [0, 0, 0]


def test_deduplicate_tells_sequences_apart_by_their_order():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 7, (300, 64), generator=generator)
    changed = x[:30].clone()
    changed[:, 5] = (changed[:, 5] + 1) % 7
    permuted = x[30:60][:, torch.randperm(64, generator=generator)]
    model = nn.Sequential(nn.Embedding(7, 8), nn.Flatten(), nn.Linear(8 * 64, 2))
    kept = kept_of(torch.cat([x, changed, permuted]), model, threshold=0.9)
    assert kept[:300].all() and kept[330:].all() and not kept[300:330].any()


def test_token_pairs_of_one_token_tell_it():
    assert not torch.equal(*token_pairs(torch.tensor([[3], [4]])))


@pytest.mark.parametrize("width", [6, 400])
def test_deduplicate_compares_tables_by_standardized_values(width):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, width, generator=generator) * torch.logspace(-3, 3, width)
    again = x[:50] * (1 + 0.001 * torch.randn(50, width, generator=generator))
    same_direction = 4 * x[50:100]
    kept = kept_of(torch.cat([x, again, same_direction]), nn.Linear(width, 2), threshold=0.999)
    assert kept[:300].all() and kept[350:].all() and not kept[300:350].any()


def test_without_duplicates_is_what_a_plain_loop_finds():
    """The samples span several blocks of rows."""
    x = F.normalize(torch.randn(1200, 6, generator=torch.Generator().manual_seed(0)))
    kept = []
    for i in range(len(x)):
        if not kept or float((x[kept] @ x[i]).max()) < 0.95:
            kept.append(i)
    assert 100 < len(kept) < 1100
    assert without_duplicates(x, 0.95).nonzero().flatten().tolist() == kept


def test_clusters_of_many_samples_hold_nearly_all_duplicates():
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(50, 32, generator=generator)
    x = F.normalize(centers.repeat(100, 1) + torch.randn(5000, 32, generator=generator))
    again = F.normalize(x[:500] + 0.002 * torch.randn(500, 32, generator=generator))
    kept = without_duplicates(torch.cat([x, again]), 0.999)
    assert kept[:5000].all() and kept[5000:].sum() < 25


@pytest.mark.parametrize("count", [900, 5000])
def test_equal_samples_leave_one(count):
    assert without_duplicates(torch.ones(count, 3), 0.999).sum() == 1


# Batch filters


def test_selective_backprop_trains_on_the_highest_losses_and_costs_a_forward_more():
    plain = context_with(SelectiveBackprop())
    assert flops_of_step(plain, first_batch(plain)) == 32 * STEP  # before `since`
    technique = SelectiveBackprop(keep=0.5, since=0.2)
    context = context_with(technique)
    context.p = 0.5
    batch = first_batch(context)
    losses = context.data.objective(context.model(batch.inputs), batch.targets)
    kept = technique.batch(context, batch)
    assert set(kept.index.tolist()) == set(losses.topk(16).indices.tolist())
    assert torch.equal(kept.inputs, batch.inputs[kept.index]) and torch.equal(
        kept.targets, batch.targets[kept.index]
    )
    assert flops_of_step(context, batch) == 32 * FORWARD + 16 * STEP
    context.p = 0.95
    assert flops_of_step(context, batch) == 32 * STEP


def test_scoring_leaves_batch_norm_and_the_mode_alone():
    technique = SelectiveBackprop(since=0.0)
    context = context_with(technique, image_task())
    before = {name: b.clone() for name, b in context.model.named_buffers()}
    technique.batch(context, first_batch(context))
    assert all(torch.equal(b, before[name]) for name, b in context.model.named_buffers())
    assert all(module.training for module in context.model.modules())


def test_rho_loss_pays_for_the_finished_model_once_and_picks_what_it_does_better():
    task, technique = table_task(), RhoLoss(keep=0.25)
    teacher = stack().eval().requires_grad_(False)
    context = context_with(technique, task, teacher)
    assert context.meter.spent().flops == 320 * FORWARD
    batch = first_batch(context)
    present, finished = (
        F.cross_entropy(model(batch.inputs), batch.targets, reduction="none") for model in (context.model, teacher)
    )
    kept = technique.batch(context, batch)
    assert set(kept.index.tolist()) == set((present - finished).topk(8).indices.tolist())
    assert flops_of_step(context, batch) == 32 * FORWARD + 8 * STEP


def test_proxy_is_paid_for_while_it_learns_and_while_it_chooses():
    technique = ProxyLearnability(keep=0.5, since=0.2, width=8)
    context = context_with(technique)
    small = 2 * (8 * 8 + 8 * 4)  # FLOPs of the proxy's forward
    batch = first_batch(context)
    assert flops_of_step(context, batch) == 32 * (STEP + 2 * small + 2 * 8 * 4)
    frozen = [p.clone() for p in technique.proxy.parameters()]
    context.p = 0.5
    assert flops_of_step(context, batch) == 32 * (FORWARD + small) + 16 * STEP
    assert all(torch.equal(a, b) for a, b in zip(frozen, technique.proxy.parameters(), strict=True))
    context.p = 0.95
    assert flops_of_step(context, batch) == 32 * STEP


def test_proxy_leaves_the_models_random_numbers_alone():
    drawn = []
    for technique in (SelectiveBackprop(), ProxyLearnability()):
        context_with(technique)
        drawn.append(torch.rand(1))
    assert torch.equal(*drawn)


@pytest.mark.parametrize(
    "x", [torch.rand(64, 3, 40, 40), torch.rand(64, 20, 3), torch.rand(64, 5)], ids=["image", "series", "table"]
)
def test_proxy_fits_images_series_and_tables(x):
    model = lambda: nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 2))  # noqa: E731
    task = Task(model=model, train=(x, torch.arange(64) % 2))
    run(context_with(ProxyLearnability(), task, batch=16), steps=12)


def noisy_task():
    """A separable table in which the first 20 % of the labels are wrong."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 8, generator=generator)
    y = x[:, :4].argmax(1)
    y[:200] = (y[:200] + torch.randint(1, 4, (200,), generator=generator)) % 4
    return Task(model=stack, train=(x, y), valid=(x[200:232], y[200:232]))


def wrong_share(context, technique):
    chosen = []
    for batch in context.one_epoch(100):
        order = torch.randperm(1000, generator=torch.Generator().manual_seed(int(batch.index[0])))[:100]
        chosen.append(technique.batch(context, context.fetch(order)).index)
    return float((torch.cat(chosen) < 200).float().mean())


def test_proxy_learnability_chooses_few_wrong_labels():
    technique = ProxyLearnability(keep=0.5, since=0.2)
    context = context_with(technique, noisy_task())
    step, passes = Step(context), iter(BatchSampler(context, 0))
    for _ in range(150):
        step(next(passes))
    for layer in (0, 2):
        context.model[layer].reset_parameters()  # the model is untrained again
    context.p = 0.3
    assert wrong_share(context, technique) < 0.1
    assert wrong_share(context, SelectiveBackprop(since=0.0)) > 0.15


def test_rho_loss_chooses_few_wrong_labels_where_hard_losses_are_mostly_wrong():
    first = context_with(SelectiveBackprop(since=1.0), noisy_task())
    run(first, steps=200)
    technique = RhoLoss(keep=0.3)
    context = context_with(technique, noisy_task(), teacher=first.model.eval())
    run(context, steps=50)
    context.p = 0.5
    assert wrong_share(context, technique) < 0.2 < wrong_share(context, SelectiveBackprop(keep=0.33, since=0.0))


# The amount of data


@pytest.mark.parametrize(("steps", "expected"), [(100, 320), (40, 320), (20, 160), (10, 80), (3, 32)])
def test_data_size_is_what_the_budget_goes_through(steps, expected):
    """20 steps of 32 see 640 samples, which is 4 passes over 160; a part has at least one batch."""
    technique = DataSize(passes=4)
    context = context_with(technique)
    run(context, steps)
    assert int(technique.kept.sum()) == expected


def test_data_size_begins_its_pass_once_and_stays_with_its_part():
    technique = DataSize(passes=4)
    context = context_with(technique)
    indices = []
    original = context.fetch
    context.fetch = lambda index: indices.append(index) or original(index)
    run(context, steps=20)
    part = set(technique.kept.nonzero().flatten().tolist())
    later = torch.cat(indices[2:20])
    assert set(later.tolist()) == part
    assert torch.bincount(later, minlength=320).max() <= 4


# Combinations


@pytest.mark.parametrize(
    ("pair", "fits"),
    [
        (("coreset", "data_dropout"), True),
        (("coreset", "deduplicate"), True),
        (("coreset", "infobatch"), False),
        (("coreset", "mixup"), False),
        (("coreset", "selective_backprop"), False),
        (("selective_backprop", "mixup"), True),
        (("selective_backprop", "infobatch"), False),
        (("selective_backprop", "rho_loss"), False),
        (("rho_loss", "proxy_learnability"), False),
        (("data_size", "rho_loss"), True),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, tuple) else None,
)
def test_two_choices_by_loss_do_not_meet(pair, fits):
    assert (not check({name: {} for name in pair}, catalog())) is fits


@pytest.mark.parametrize("technique", [DataDropout(), InfoBatch()])
@pytest.mark.parametrize("passes", [1, 2, 3])
def test_all_samples_are_used_towards_the_end_however_few_passes_there_are(technique, passes):
    technique = type(technique)()  # parametrized cases share the instance
    context = context_with(technique)
    seen, take = [], technique.select

    def select(context, weight):
        made = take(context, weight)
        seen.append((context.p, float((made > 0).float().mean())))
        return made

    technique.select = select
    run(context, passes * len(context.data.train) // 32)
    since, share = seen[-1]
    assert share == 1 and technique.end() <= since < technique.end() + 0.15
