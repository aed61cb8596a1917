"""The examples that extend autoaccel from outside, as modules."""

import importlib.util
from pathlib import Path

EXTENDING = Path(__file__).parents[1] / "examples" / "extending"


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXTENDING / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
