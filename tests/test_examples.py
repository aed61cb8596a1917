"""Run `tune` on every example whose data are available."""

import os
from pathlib import Path

import pytest

from autoaccel import tune

EXAMPLES = Path(__file__).parents[1] / "examples"
needs_data = pytest.mark.skipif(
    "AUTOACCEL_DATA" not in os.environ, reason="AUTOACCEL_DATA names no folder with the data sets"
)


@pytest.mark.parametrize(
    ("name", "flops", "metric", "bounds"),
    [
        ("digits.py", "3e11", "log_loss", (0.0, 0.5)),
        pytest.param("shakespeare.py", "1.2e12", "loss", (1.5, 3.4), marks=[needs_data, pytest.mark.slow]),
        pytest.param("images.py:cifar10", "1.5e12", "accuracy", (0.15, 0.9), marks=[needs_data, pytest.mark.slow]),
        pytest.param("images.py", "1.2e12", "accuracy", (0.4, 0.95), marks=[needs_data, pytest.mark.slow]),
        pytest.param("tabular.py", "1e10", "roc_auc", (0.7, 0.85), marks=needs_data),
        pytest.param("regression.py", "3e10", "root_mean_squared_error", (4e4, 9e4), marks=needs_data),
    ],
)
def test_an_example_runs(tmp_path, name, flops, metric, bounds):
    result = tune(str(EXAMPLES / name), f"{flops} FLOPs", out=tmp_path / "run")
    assert result.data["metric"]["name"] == metric
    low, high = bounds
    assert low < result.data["final"]["test"]["metric"] < high
    assert result.data["spent"]["final"]["flops"] < float(flops)
    assert sum(phase["flops"] for phase in result.data["spent"].values()) <= float(flops)
