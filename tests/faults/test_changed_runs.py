"""Runs that are resumed as something else than they were."""

import pytest
from faulty_runs import SLOW, Run


@pytest.mark.slow
def test_a_run_is_not_resumed_as_another_one(tmp_path):
    """Fault: the model file, or the seed, is another one than before the run was killed. Promise: exit 2 in one line, the
    run as it was; and it goes on with what it was begun with."""
    run = Run(tmp_path, "--flops", "1e8", model=SLOW).start()
    run.wait_until(lambda: len(run.started()) >= 2)
    run.kill()
    before, file = run.entries(), tmp_path / "model.py"
    code, _, errors = run.start("--resume", "--seed", "1").end()
    assert code == 2 and "another task file" in errors and "Traceback" not in errors
    file.write_text(SLOW + "\n# another one\n")
    code, _, errors = run.start("--resume").end()
    assert code == 2 and "another task file" in errors and run.entries() == before
    file.write_text(SLOW)
    assert run.whole("--resume")["status"] == "complete"
    assert run.entries()[: len(before)] == before
