"""How attention is computed: the same products in fewer passes over memory."""

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
    """Compute attention with torch's fused kernels in a Hugging Face model that does it product by product."""

    def setup(self, context: Context) -> None:
        """Ask the model for it."""
        for model in eager_attention(context.model):
            model.set_attn_implementation("sdpa")  # type: ignore[operator]
