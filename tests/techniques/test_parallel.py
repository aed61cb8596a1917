"""Data parallel with two gloo processes gives the same metrics as one process with the same batches."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from autoaccel.techniques.registry import catalog

RUN = str(Path(__file__).parent / "parallel_run.py")
RANDOM = {"flip", "crop", "cutout", "mixup", "cutmix", "trivial_augment", "dropout", "schedule_dropout"}
"""Techniques for which each process draws its own random numbers."""
ALONE = {"local_sgd"}
"""Techniques with which processes compute other gradients, and have other weights between two averages."""
TOLERANCE = 2e-3


def claims():
    """Techniques that support several processes sharing a batch, and that can run here."""
    slow = {"compile", "fp16", "fp8"}
    return sorted(n for n, info in catalog().items() if info.parallel and info.available and n not in slow)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_train_what_one_does(tmp_path):
    results = []
    for processes in (1, 2):
        path = tmp_path / f"{processes}.json"
        launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        command = [sys.executable, "-m", *launch, RUN, str(path), *claims()]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=800)
        assert done.returncode == 0, done.stderr[-3000:]
        results.append(json.loads(path.read_text()))
    faults = []
    for name in claims():
        one, two = results[0][name], results[1][name]
        if isinstance(one, str) or isinstance(two, str):
            faults.append(f"{name}: {one} / {two}")
            continue
        if name not in ALONE and two[1] > 1e-6:
            faults.append(f"{name}: the weights of the two processes are {two[1]} apart")
        if name not in RANDOM | ALONE and one[0] != pytest.approx(two[0], rel=TOLERANCE):
            faults.append(f"{name}: {one[0]} in one process, {two[0]} in two")
    assert not faults, "\n".join(faults)
