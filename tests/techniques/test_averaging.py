"""Weight averages against averages computed by hand."""

import copy

import pytest
import torch
from sample_tasks import image_task
from torch import nn

from autoaccel.core.catalog import check
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import Recipe
from autoaccel.techniques.optimization.averaging import Ema, Lawa, Lookahead, Swa
from autoaccel.techniques.registry import build, catalog
from autoaccel.techniques.shared.weights import measure_norms
from autoaccel.training.build import assemble


def context_with(*techniques):
    made = [*techniques, *build(Recipe().chosen())]
    return assemble(image_task(), made, {}, 0, 0, SimulatedClock(), 0.0, cpu=True)


def moved(context, technique, p, generator):
    """Run a technique's step around a random change of the weights; return the weights after that change."""
    context.p = p
    with technique.step(context), torch.no_grad():
        for weight in context.model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator))
        return [weight.detach().clone() for weight in context.model.parameters()]


def evaluated(context, technique):
    with technique.evaluate(context):
        return [weight.detach().clone() for weight in context.model.parameters()]


def mean(recorded):
    return [torch.stack(each).mean(0) for each in zip(*recorded, strict=True)]


def alike(some, others):
    return all(torch.allclose(a, b, atol=1e-5) for a, b in zip(some, others, strict=True))


EVERY = [step / 20 for step in range(20)]


def test_swa_is_the_mean_from_its_start_on():
    swa, generator = Swa(start=0.5, every=0.099), torch.Generator().manual_seed(0)
    context = context_with(swa)
    seen = {p: moved(context, swa, p, generator) for p in EVERY}
    live = [weight.detach().clone() for weight in context.model.parameters()]
    assert swa.count == 5
    assert alike(evaluated(context, swa), mean([seen[p] for p in (0.5, 0.6, 0.7, 0.8, 0.9)]))
    assert all(torch.equal(a, b) for a, b in zip(live, context.model.parameters(), strict=True))


def test_lawa_is_the_mean_of_the_latest():
    lawa, generator = Lawa(latest=3, every=0.099), torch.Generator().manual_seed(0)
    context = context_with(lawa)
    seen = {p: moved(context, lawa, p, generator) for p in EVERY}
    assert len(lawa.checkpoints) == 3
    assert alike(evaluated(context, lawa), mean([seen[p] for p in (0.7, 0.8, 0.9)]))


def test_nothing_is_put_in_place_before_an_average_begins():
    for technique in (Swa(start=0.5), Lawa(every=0.05), Ema(start=0.5)):
        context = context_with(technique)
        live = moved(context, technique, 0.02, torch.Generator().manual_seed(0))
        assert alike(evaluated(context, technique), live)


def test_lookahead_pulls_by_the_third_power_of_progress():
    lookahead, generator = Lookahead(every=0.099, strength=0.8), torch.Generator().manual_seed(0)
    context = context_with(lookahead)
    slow = [weight.detach().clone() for weight in context.model.parameters()]
    for p in EVERY:
        expected = moved(context, lookahead, p, generator)
        if round(20 * p) % 2 == 0 and p:
            kept = 0.8 * p**3
            slow = [kept * s + (1 - kept) * live for s, live in zip(slow, expected, strict=True)]
            expected = slow
        assert alike(context.model.parameters(), expected)


def test_frozen_weights_are_not_pulled():
    lookahead = Lookahead(every=0.01, strength=0.9)
    context = context_with(lookahead)
    with torch.no_grad():
        context.model[0].weight.add_(1.0)
    context.model[0].weight.requires_grad_(False)
    before = context.model[0].weight.clone()
    for p in (0.8, 0.9):
        context.p = p
        with lookahead.step(context):
            pass
    assert torch.equal(context.model[0].weight, before)


@pytest.mark.parametrize("technique", [Ema(start=0.0), Swa(start=0.0), Lawa(every=0.01), Lookahead(every=0.01)])
def test_an_average_begins_anew_when_shapes_change(technique):
    context, generator = context_with(technique), torch.Generator().manual_seed(0)
    for p in (0.1, 0.2, 0.3):
        moved(context, technique, p, generator)
    context.model[5] = nn.Linear(64, 2)
    live = moved(context, technique, 0.4, generator)
    assert alike(evaluated(context, technique), live)
    moved(context, technique, 0.5, generator)
    evaluated(context, technique)


@pytest.mark.parametrize("make", [Ema, Swa, Lawa, Lookahead])
def test_an_average_goes_on_where_it_was(make):
    first = make(start=0.0) if make in (Ema, Swa) else make(every=0.01)
    context = context_with(first)
    for p in (0.1, 0.3, 0.5):
        moved(context, first, p, torch.Generator().manual_seed(1))
    again = make(start=0.0) if make in (Ema, Swa) else make(every=0.01)
    again.load_state_dict(copy.deepcopy(first.state_dict()))
    weights = {name: t.clone() for name, t in context.model.state_dict().items()}
    results = []
    for technique in (first, again):
        context.model.load_state_dict(weights)
        moved(context, technique, 0.7, torch.Generator().manual_seed(2))
        results.append(evaluated(context, technique))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_one_average_at_a_time_and_a_pull_beside_it():
    assert check({"ema": {}, "swa": {}}, catalog())
    assert check({"lawa": {}, "swa": {}}, catalog())
    assert check({"lookahead": {}, "schedule_free": {}}, catalog())
    assert not check({"ema": {}, "lookahead": {}}, catalog())
    ordered = build({**Recipe().chosen(), "ema": {}, "lookahead": {}})
    assert [t.info.name for t in ordered if t.info.name in ("ema", "lookahead")] == ["ema", "lookahead"]


@pytest.mark.parametrize("batch", [64, 128, 101])
def test_statistics_are_those_of_all_samples_whatever_the_batch(batch):
    """The last batch of the 202 samples has 10, 74 or 101: each sample counts the same."""
    context = context_with()
    context.batch_size = batch
    with torch.no_grad():
        measure_norms(context, 202)
    inputs = torch.cat(list(context.training_batches(202)))
    norm, output = context.model[1], context.model[0](inputs)
    assert torch.allclose(norm.running_mean, output.mean((0, 2, 3)), atol=1e-6)


def test_a_last_batch_of_one_is_left_out():
    context = context_with()
    context.batch_size = 40
    assert [len(x) for x in context.training_batches(201)] == [40] * 5
    assert [len(x) for x in context.training_batches(1)] == [1]
