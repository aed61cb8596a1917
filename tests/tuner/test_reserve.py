"""What is kept for the end of a run follows the machine, and what can be loaded before is."""

import subprocess
import sys

import pytest

from autoaccel.core.budget import Budget
from autoaccel.core.clock import slowdown
from autoaccel.tuner.reserve import reserve


def test_more_is_kept_on_a_busy_machine():
    assert reserve(Budget(seconds=200)) == pytest.approx(2.6)
    assert reserve(Budget(seconds=200), slowdown=3.0) == pytest.approx(4.6)
    assert reserve(Budget(seconds=20), slowdown=50.0) == pytest.approx(2.7)
    assert reserve(Budget(flops=1e9), slowdown=3.0) == 0.0


def test_a_machine_is_slower_where_others_compute():
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(12)]
    try:
        assert max(slowdown(0.1) for _ in range(5)) > 1.3
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert 1.0 <= slowdown(0.01) < 100


def test_the_last_files_load_nothing_that_was_not_loaded_before():
    """A report, a script and a database after the warm-up; what is imported only then is small."""
    code = (
        "import sys, tempfile, autoaccel.tuner.tuner\n"
        "from pathlib import Path\nfrom sample_run import entries\nfrom autoaccel.core.records import Trials\n"
        "from autoaccel.storage.records import RunRecord\n"
        "from autoaccel.tuner.byproducts import study_of, write_last_files\n"
        "from autoaccel.tuner.reserve import warm_up\n"
        "import pydantic.json_schema, pydantic.type_adapter  # what the log needs from its first entry on\n"
        "warm_up()\nrun = RunRecord({}, Trials(entries()), 9.0)\nbefore, folder = set(sys.modules), Path(tempfile.mkdtemp())\n"
        "study = study_of(folder, 'model', run.facts, None, print)\nstudy.add(run.trials)\n"
        "assert 'report.html' in write_last_files(folder, run, print)\nstudy.finish(run.trials)\n"
        "print(len(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="tests")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) < 12
