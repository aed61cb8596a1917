"""The contract that every technique keeps, and the behavior of some of them."""

from contextlib import contextmanager

import pytest
import torch
from sample_tasks import image_task, task_for

from autoaccel.core.clock import SimulatedClock
from autoaccel.core.recipe import Recipe
from autoaccel.techniques import registry
from autoaccel.techniques.data.selection import InfoBatch
from autoaccel.techniques.optimization.averaging import Ema
from autoaccel.techniques.registry import build, catalog, classes
from autoaccel.testing import check_technique
from autoaccel.training.build import assemble


def named(name):
    """A parameter of the test, marked as slow if the technique compiles."""
    return pytest.param(name, marks=pytest.mark.slow) if "compiler" in catalog()[name].requires else name


@pytest.mark.parametrize("name", [named(name) for name in sorted(catalog())])
def test_every_technique_keeps_the_contract(name):
    info = catalog()[name]
    if not info.available:
        pytest.skip(f"needs the extra {info.extra}")
    if "fp16" in info.requires:
        pytest.skip("Accelerate scales gradients only on a GPU, and the contract is checked on the CPU")
    check_technique(name, task_for(info))


def test_the_contract_finds_a_broken_technique(monkeypatch):
    class Forgetful(Ema):
        def state_dict(self):
            return {"average": self.average, "last": 0.0}

    class Careless(Ema):
        @contextmanager
        def evaluate(self, context):
            with torch.no_grad():
                context.model[0].weight.add_(1.0)
            yield

    for broken, message in ((Forgetful, "resumed, the training ends with"), (Careless, "left 0.weight changed")):
        broken.info = Ema.info
        monkeypatch.setattr(registry, "classes", lambda broken=broken: {**classes(), "ema": broken})
        with pytest.raises(AssertionError, match=message):
            check_technique("ema", image_task())


def context_with(*techniques):
    return assemble(image_task(), techniques, {}, 0, 0, SimulatedClock(), 0.0, cpu=True)


def test_ema_half_life_does_not_depend_on_the_number_of_steps():
    averages = []
    for steps in (10, 100):
        ema = Ema(half_life=0.2, start=0.0)
        context = context_with(ema, *with_optimizer())
        with torch.no_grad():
            for p in context.model.parameters():
                p.zero_()
        with ema.step(context):
            pass
        with torch.no_grad():
            for p in context.model.parameters():
                p.fill_(1.0)
        for step in range(1, steps + 1):
            context.p = step / steps
            with ema.step(context):
                pass
        averages.append(ema.average[0].flatten()[0].item())
    assert averages[0] == pytest.approx(averages[1], rel=1e-4)
    assert averages[0] == pytest.approx(1 - 0.5**5, rel=1e-4)


def with_optimizer():
    return build(Recipe().chosen())


def test_ema_gives_the_live_weights_back_even_after_an_error():
    ema = Ema(start=0.0)
    context = context_with(ema, *with_optimizer())
    with ema.step(context):
        pass
    with torch.no_grad():
        for p in context.model.parameters():
            p.add_(1.0)
    before = {name: t.clone() for name, t in context.model.state_dict().items()}
    with pytest.raises(RuntimeError, match="on purpose"), ema.evaluate(context):
        assert not torch.equal(context.model[0].weight, before["0.weight"])
        raise RuntimeError("on purpose")
    assert all(torch.equal(t, before[name]) for name, t in context.model.state_dict().items())


def test_infobatch_keeps_the_expected_gradient():
    """Averaged over many passes, the weight of a well-learned sample is 1, like that of all others."""
    context = context_with(*with_optimizer())
    context.sample_loss = torch.linspace(0, 1, len(context.sample_loss))
    technique = InfoBatch(ratio=0.5)
    ones = torch.ones(len(context.sample_loss))
    mean = torch.stack([technique.select(context, ones) for _ in range(4000)]).mean(0)
    assert torch.allclose(mean, ones, atol=0.1)


def test_conflicting_techniques_are_refused_with_both_names():
    from autoaccel.core.catalog import TechniqueInfo, check

    a = TechniqueInfo("a", "data", "x", tags=frozenset({"mixes"}))
    b = TechniqueInfo("b", "data", "x", conflicts=frozenset({"mixes"}))
    (fault,) = check({"a": {}, "b": {}}, {"a": a, "b": b})
    assert "a and b" in fault
