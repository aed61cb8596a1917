"""A container whose memory is full: the kernel kills, in a real control group where one may be made."""

import os
import sys

import pytest
from faulty_runs import MODEL, Run

from autoaccel.core.control_group import MEMBERSHIP, ROOT

GREEDY = """
import os
class Greedy(nn.ReLU):
    calls = 0
    def forward(self, x):
        Greedy.calls += self.training
        if Greedy.calls == 40 and not os.path.exists("greedy"):  # once in a run, in a trial of the search
            open("greedy", "w").close()
            held = [bytearray(os.urandom(1)) * (64 << 20) for _ in range(200)]
        return super().forward(x)
torch.manual_seed(0)
"""


@pytest.fixture
def group():
    """A control group with 2 GiB of memory."""
    line = next((one for one in MEMBERSHIP.read_text().splitlines() if "memory" in one.split(":")[1]), "")
    above = ROOT / "memory" / line.rpartition(":")[2].lstrip("/") if line else ROOT
    folder, limit = above / f"autoaccel-{os.getpid()}", "memory.limit_in_bytes" if line else "memory.max"
    try:
        folder.mkdir()
        (folder / limit).write_text(str(2 << 30))
    except OSError as error:
        if folder.is_dir():
            folder.rmdir()
        pytest.skip(f"no control group can be made here: {error}")
    yield folder
    folder.rmdir()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_the_kernel_kills_a_trial_in_a_full_control_group(tmp_path, group):
    """Fault: a trial takes more memory than its container has, and the kernel kills it.
    Promise: it is told as that, it is tried again, and the run is complete."""
    model = MODEL.replace("nn.ReLU()", "Greedy()").replace("torch.manual_seed(0)\n", GREEDY)
    run = Run(tmp_path, "--flops", "2e8", model=model).start()
    (group / "cgroup.procs").write_text(str(run.process.pid))
    code, _, errors = run.end(150)
    assert code == 0, errors
    ends = [data["outcome"] for kind, data in run.entries() if kind == "finished"]
    (lost,) = [outcome for outcome in ends if outcome["kind"] == "lost"]
    assert "the kernel ran out of memory" in lost["reason"]
    assert run.result["status"] == "complete" and run.nothing_is_left()
