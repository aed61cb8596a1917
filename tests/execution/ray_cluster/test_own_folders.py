"""The example in which each node reads its own folder, on four logical nodes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from sklearn.datasets import load_digits

EXAMPLE = Path(__file__).parents[3] / "examples" / "cluster" / "own_folders.py"
NODES = 4


def write(folder):
    """Give each node a part of the digits."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    for number, mine in enumerate(np.array_split(order, NODES)):
        (folder / str(number)).mkdir()
        for name, part in (("train", mine[100:]), ("test", mine[:100])):
            np.savez(folder / str(number) / f"{name}.npz", x=x[part] / 16, y=y[part])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nodes_train_on_their_own_data_and_are_averaged(cluster, tmp_path):
    write(tmp_path)
    settings = ["--search", "5e8 FLOPs", "--epochs", "3", "--rounds", "2", "--out", str(tmp_path / "out")]
    command = [sys.executable, str(EXAMPLE), str(tmp_path / "{node}"), *settings]
    environment = {**os.environ, **cluster.environment, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("round 1") and last.endswith("on 4 nodes")
    assert float(last.split("accuracy ")[1].split()[0]) > 0.8, done.stdout
    assert load_file(tmp_path / "out" / "model.safetensors") and json.loads(
        (tmp_path / "out" / "recipe.json").read_text()
    )
