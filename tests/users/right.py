"""What is right for each model file."""

import sys
from pathlib import Path

import right_images
import right_tables
import right_text
from by_hand import Right

from autoaccel.training.data.discovery import load_target, resolve

MODELS = Path(__file__).parent / "models"
RIGHT = right_text.RIGHT | right_images.RIGHT | right_tables.RIGHT


def loaded(name):
    """Return a model file's module, its task, and what is right for it, each made anew."""
    task = resolve(load_target(str(MODELS / f"{name}.py")))
    module = sys.modules[name]
    right = RIGHT[name]
    return module, task, right if isinstance(right, Right) else right(module)
