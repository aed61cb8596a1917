"""The scripts that start a cluster can be read by what runs them. Only a cluster could say more."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

EXAMPLES = Path(__file__).parents[2] / "examples" / "cluster"


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("name", ["slurm.sh", "ssh.sh"])
def test_scripts_are_bash(name):
    done = subprocess.run(["bash", "-n", EXAMPLES / name], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_the_job_for_kuberay_is_yaml_with_a_driver_and_workers():
    job = yaml.safe_load((EXAMPLES / "kuberay.yaml").read_text())
    assert job["kind"] == "RayJob" and "--executor ray" in job["spec"]["entrypoint"]
    cluster = job["spec"]["rayClusterSpec"]
    containers = [
        container
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
        for container in group["template"]["spec"]["containers"]
    ]
    assert len(containers) > 1 and len({container["image"] for container in containers}) == 1
