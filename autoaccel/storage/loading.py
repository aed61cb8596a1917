"""How a delivered model is loaded: lines of code, always written anew, since people copy and run them."""

from __future__ import annotations

from pathlib import Path


def inference_lines(folder: Path) -> str:
    """Return five lines of code that load and use the delivered model."""
    return "\n".join(
        [
            "import torch",
            "from autoaccel import Result",
            f"model = Result.load({str(folder.resolve())!r}).model()",
            "with torch.inference_mode():",
            "    output = model(inputs)",
        ]
    )
