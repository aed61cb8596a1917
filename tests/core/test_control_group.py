"""What a control group's files say of its memory, in both versions, and where they lie."""

import math

import pytest

from autoaccel.core import control_group
from autoaccel.core.control_group import available_memory, cpu_quota, kills

MIB = 2**20


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return what writes the files of a group, and the line of /proc/self/cgroup."""
    monkeypatch.setattr(control_group, "ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(control_group, "MEMBERSHIP", tmp_path / "membership")

    def write(line, **groups):
        (tmp_path / "membership").write_text(line)
        for path, files in groups.items():
            folder = tmp_path / "cgroup" / path.replace("__", "/")
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                (folder / name).write_text(text)

    return write


def second(limit, used, cache=0, killed=0):
    return {
        "memory.max": f"{limit}\n",
        "memory.current": f"{used}\n",
        "memory.stat": f"anon 1\ninactive_file {cache}\n",
        "memory.events": f"oom 9\noom_kill {killed}\n",
    }


def first(limit, used, cache=0, killed=0):
    return {
        "memory.limit_in_bytes": str(limit),
        "memory.usage_in_bytes": str(used),
        "memory.stat": f"inactive_file 1\ntotal_inactive_file {cache}\n",
        "memory.oom_control": f"under_oom 0\noom_kill {killed}\n",
    }


def test_the_nearest_limit_counts_and_page_cache_is_free(machine):
    machine(
        "0::/slurm/job\n", slurm=second(500 * MIB, 300 * MIB), slurm__job=second(400 * MIB, 350 * MIB, 60 * MIB, 2)
    )
    assert available_memory() == 110 * MIB and kills() == 2


def test_a_limit_above_counts_too(machine):
    machine("0::/slurm/job\n", slurm=second(500 * MIB, 470 * MIB), slurm__job=second("max", 350 * MIB))
    assert available_memory() == 30 * MIB


def test_the_first_version_has_other_names(machine):
    machine(
        "7:cpu,memory:/docker/a\n0::/\n",
        memory__docker__a=first(400 * MIB, 350 * MIB, 20 * MIB, 3),
        memory=first(2**63 - 4096, 400 * MIB),
    )
    assert available_memory() == 70 * MIB and kills() == 3


def test_a_container_sees_its_own_group_as_the_root(machine):
    machine("7:memory:/docker/a\n", memory=first(400 * MIB, 300 * MIB, killed=1))
    assert available_memory() == 100 * MIB and kills() == 1


@pytest.mark.parametrize("line", ["", "0::/\n", "3:cpu:/\n"])
def test_without_control_groups_nothing_is_known(machine, line):
    machine(line)
    assert available_memory() == math.inf and kills() is None


@pytest.mark.parametrize(
    ("line", "groups", "cpus"),
    [
        ("0::/a/b\n", {"a": {"cpu.max": "150000 100000\n"}, "a__b": {"cpu.max": "max 100000\n"}}, 1.5),
        ("0::/a\n", {"a": {"cpu.max": "max 100000\n"}}, math.inf),
        ("4:cpu,cpuacct:/a\n", {"cpu__a": {"cpu.cfs_quota_us": "400000\n", "cpu.cfs_period_us": "100000\n"}}, 4.0),
        ("4:cpu:/a\n", {"cpu__a": {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}}, math.inf),
        ("7:memory:/a\n", {"cpu__a": {"cpu.cfs_quota_us": "100000\n", "cpu.cfs_period_us": "100000\n"}}, math.inf),
    ],
)
def test_the_smallest_quota_of_cpus_counts(machine, line, groups, cpus):
    machine(line, **groups)
    assert cpu_quota() == cpus
