"""The example in which each node reads its own folder, on four logical nodes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from sklearn.datasets import load_digits

EXAMPLE = Path(__file__).parents[3] / "examples" / "cluster" / "own_folders.py"
NODES = 4
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def write(folder):
    """Give each node a part of the digits."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    for number, mine in enumerate(np.array_split(order, NODES)):
        (folder / str(number)).mkdir()
        for name, part in (("train", mine[160:]), ("valid", mine[80:160]), ("test", mine[:80])):
            np.savez(folder / str(number) / f"{name}.npz", x=x[part] / 16, y=y[part])


def start(cluster, folder, *settings, **environment):
    command = [sys.executable, str(EXAMPLE), str(folder / "{node}"), *settings, "--out", str(folder / "out")]
    given = {**os.environ, **cluster.environment, **environment}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=given, **pipes)


def test_a_folder_that_is_missing_is_told_in_one_line(cluster, tmp_path):
    write(tmp_path)
    (tmp_path / "2" / "valid.npz").unlink()
    process = start(cluster, tmp_path)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert re.search(r"^error: .*valid\.npz", errors, re.MULTILINE) and "Traceback" not in errors


def test_a_cluster_that_anybody_may_enter_is_refused(cluster, tmp_path):
    process = start(cluster, tmp_path, RAY_AUTH_MODE="disabled")
    assert "RAY_AUTH_MODE=token" in process.communicate()[1] and process.returncode == 1


def test_nodes_train_on_their_own_data_and_one_is_lost(cluster, tmp_path):
    write(tmp_path)
    process = start(cluster, tmp_path, "--search", "5e8 FLOPs", "--epochs", "2", "--rounds", "6")
    lines = [process.stdout.readline()]
    assert lines[0].endswith("validation, 4 nodes\n"), process.communicate()
    cluster.kill("any")
    rest, errors = process.communicate()
    assert process.returncode == 0, errors
    # Ray prints what it knows of a node that is lost, to stdout too.
    assert " is left out: " in errors and re.findall(r"validation, (\d) nodes", rest)[-1] == "3", (rest, errors)
    assert float(re.search(r"accuracy ([\d.]+) on the test sets", rest)[1]) > 0.8, rest
    assert load_file(tmp_path / "out" / "model.safetensors")
    assert json.loads((tmp_path / "out" / "recipe.json").read_text())["optimizer"]
