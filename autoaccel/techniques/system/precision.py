"""Number formats of the forward and backward pass."""

from __future__ import annotations

from autoaccel.techniques.base import Context, Technique, technique


@technique(
    "bf16",
    family="system",
    cell="system-centric",
    needs=("fast_bf16",),
    roles=("precision",),
    clashes=("precision",),
    order=70,
    paper="arXiv 1905.12322",
)
class Bf16(Technique):
    """Compute in bfloat16 under autocast; weights stay in float32."""

    def setup(self, context: Context) -> None:
        """Ask Accelerate for it."""
        context.mixed_precision = "bf16"
