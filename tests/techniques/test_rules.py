"""Which techniques may share a recipe: tags and conflicts decide, and errors give both names and the reason."""

import pytest

from autoaccel.core.catalog import check
from autoaccel.techniques.registry import catalog

REFUSED = [
    ("infobatch", "mixup", "by their loss"),
    ("infobatch", "cutmix", "by their loss"),
    ("coreset", "mixup", "blends samples"),
    ("mixup", "cutmix", "blends samples"),
    ("infobatch", "loss_curriculum", "by their loss"),
    ("infobatch", "coreset", "by their loss"),
    ("selective_backprop", "infobatch", "loss"),
    ("selective_backprop", "proxy_learnability", "leaves out a part of each batch"),
    ("sam", "fp16", "scales the gradients"),
    ("bf16", "fp16", "number format"),
    ("schedule_free", "linear", "lowers the learning rate"),
    ("schedule_free", "ema", "average"),
    ("schedule_free", "lookahead", "pulls the weights"),
    ("ema", "swa", "average"),
    ("ema", "lawa", "average"),
    ("lora", "magnitude_pruning", "keeps chosen weights at zero"),
    ("lora", "structured_pruning", "shapes of the weights"),
    ("lora", "layer_freezing", "a part of the weights"),
    ("lora", "quantization", "rounded weights"),
    ("muon", "lora", "small matrices"),
    ("magnitude_pruning", "structured_pruning", "weights"),
    ("distillation", "mixup", "blends samples"),
    ("distillation", "bce", "a loss of its own"),
    ("token_distillation", "sequence_warmup", "shape of the inputs"),
    ("bce", "focal", "a loss of its own"),
    ("bce", "label_smoothing", "softens the targets"),
    ("compile", "layer_freezing", "a part of the weights"),
    ("compile", "structured_pruning", "shapes of the weights"),
    ("compile", "layer_drop", "leaves out blocks"),
    ("compile", "token_dropout", "leaves out tokens"),
    ("layer_drop", "depth_growth", "leaves out blocks"),
    ("activation_checkpointing", "layer_drop", "leaves out blocks"),
    ("warm_start", "whitening", "first weights"),
    ("warm_start", "shrink_perturb", "first weights"),
]
ALLOWED = [
    ("coreset", "data_dropout"),
    ("deduplicate", "infobatch"),
    ("selective_backprop", "mixup"),
    ("magnitude_pruning", "ema"),
    ("quantization", "structured_pruning"),
    ("quantization", "ema"),
    ("lora", "ema"),
    ("label_smoothing", "distillation"),
    ("compile", "progressive_resizing"),
    ("compile", "magnitude_pruning"),
    ("sam", "ema"),
    ("sam", "clip"),
    ("lookahead", "ema"),
    ("focal", "label_smoothing"),
    ("infobatch", "label_smoothing"),
    ("schedule_free", "constant"),
]


@pytest.mark.parametrize(("one", "other", "why"), REFUSED)
def test_forbidden_pairs_are_refused_with_both_names_and_the_reason(one, other, why):
    (fault,) = check({one: {}, other: {}}, _installable())
    assert one in fault and other in fault and why in fault, fault


@pytest.mark.parametrize(("one", "other"), ALLOWED)
def test_pairs_that_get_on_are_allowed(one, other):
    assert not check({one: {}, other: {}}, _installable())


def test_no_technique_names_another():
    """Tags and conflicts say what a technique does; they never name a technique."""
    names = set(catalog())
    for info in catalog().values():
        assert not (info.tags | info.conflicts) & names, info.name


def test_every_conflict_is_with_a_tag_that_somebody_has():
    played = {tag for info in catalog().values() for tag in info.tags}
    for info in catalog().values():
        assert info.conflicts <= played, f"{info.name}: {info.conflicts - played}"


def _installable():
    from dataclasses import replace

    return {name: replace(info, available=True) for name, info in catalog().items()}
