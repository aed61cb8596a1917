"""Fused attention: the same products in fewer passes over memory."""

from __future__ import annotations

from autoaccel.techniques.base import Context, Technique, technique
from autoaccel.techniques.shared.modules import eager_attention


@technique(
    "sdpa",
    family="system",
    category="basic modules",
    requires=("eager_attention",),
    order=54,
    paper="arXiv 2205.14135",
)
class Sdpa(Technique):
    """Use torch's fused attention kernels in Hugging Face models with eager attention."""

    def setup(self, context: Context) -> None:
        """Switch every eager model to scaled dot-product attention."""
        for model in eager_attention(context.model):
            model.set_attn_implementation("sdpa")  # type: ignore[operator]
