"""Runs and trainings that are killed or asked to end: what was found stays, and a resumed run goes on."""

import json
import random
import signal
import time

import pytest
import torch
from faulty_runs import SLOW, Run

FLOPS = ("--flops", "1e8")
THIRTY = ("--budget", "30s")
SLOWER = SLOW.replace("0.001", "0.02")
"""So few steps that longer trainings are better: the final one lasts until something is done to it."""


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_end(tmp_path):
    """Fault: SIGKILL of the supervisor in the final training, twice. Promise: under a budget of FLOPs the same trials,
    the same weights, and no FLOP booked twice; nothing runs on 5 seconds later."""
    unbroken = Run(tmp_path / "a", *FLOPS).whole()
    broken = Run(tmp_path / "b", *FLOPS, model=SLOW).start()
    for again in ("--resume", "--resume"):
        broken.wait_for_final()
        broken.kill()
        assert broken.nothing_is_left()
        broken.start(again)
    code, _, errors = broken.end()
    assert code == 0, errors
    result = broken.result
    assert result["recipe"] == unbroken["recipe"]
    assert same(broken.weights(), Run.weights(Run(tmp_path / "a")))
    assert result["final"]["validation"] == unbroken["final"]["validation"]
    assert result["spent"]["final"]["flops"] == pytest.approx(unbroken["spent"]["final"]["flops"], rel=1e-9)
    assert not list(broken.run.glob("trials/*/checkpoints/0*"))


@pytest.mark.slow
def test_a_final_training_whose_process_is_killed_goes_on(tmp_path):
    """Fault: SIGKILL of the worker, as by the kernel when memory runs out. Promise: the same training from its last
    checkpoint, in the same run, in time."""
    run = Run(tmp_path, *THIRTY, model=SLOWER).start()
    number = run.wait_for_final()
    time.sleep(random.Random(0).random())
    (worker,) = run.workers(number)
    worker.kill()
    code, _, errors = run.end()
    assert code == 0, errors
    finals = [request for request in run.started() if request["purpose"] == "final"]
    assert [request["resumes"] for request in finals] == [None, number]
    assert finals[1]["carried"]["steps"] > 0 and finals[1]["recipe"] == finals[0]["recipe"]
    assert run.result["final"]["trial"] == finals[1]["trial"]
    assert json.loads((run.run / "account.json").read_text())["seconds"] <= 30.0
    assert run.nothing_is_left()


@pytest.mark.slow
@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGHUP], ids=lambda which: which.name)
def test_a_machine_that_is_taken_away_leaves_a_checkpoint(tmp_path, which):
    """Fault: SIGTERM with 20 seconds, as from SLURM or a spot market. Promise: exit 75 in time, with a result, and
    the resumed run goes on from the step at which it was asked."""
    run = Run(tmp_path, *THIRTY, model=SLOWER).start()
    number = run.wait_for_final(checkpoint=False)
    time.sleep(1.0)
    asked = time.monotonic()
    code, _, errors = run.kill(which)
    assert code == 75 and time.monotonic() - asked < 20, errors
    assert "Traceback" not in errors and run.nothing_is_left()
    if (run.run / "result.json").exists():  # a trial was complete before
        assert "--resume goes on" in errors and run.result["status"] == "preempted"
    saved = next(
        data["outcome"]["saved"] for kind, data in run.entries() if kind == "finished" and data["trial"] == number
    )
    assert saved["steps"] > 0
    result = run.whole("--resume")
    assert run.started()[-1]["carried"] == saved and result["status"] == "complete"
    assert result["final"]["cost"]["steps"] > saved["steps"]


def test_a_run_under_nohup_outlives_its_terminal(tmp_path):
    """Fault: SIGHUP where it is ignored. Promise: it stays ignored."""
    import subprocess
    import sys

    code = (
        "import os, signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from autoaccel.tuner.interrupts import interrupts, end_at_signals\nend_at_signals()\n"
        "with interrupts() as asked:\n    os.kill(os.getpid(), signal.SIGHUP)\n    assert asked() is None\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    assert asked().preempted\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.slow
def test_the_second_ctrl_c_ends_at_once_with_what_was_found(tmp_path):
    """Fault: Ctrl-C twice while the final training anneals. Promise: it ends now, with recipe and report."""
    run = Run(tmp_path, "--budget", "60s", model=SLOW).start()
    run.wait_for_final(checkpoint=False)
    time.sleep(1.0)
    run.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    asked = time.monotonic()
    code, _, errors = run.kill(signal.SIGINT)
    assert code == 6 and time.monotonic() - asked < 15, errors
    assert run.result["status"] == "interrupted" and (run.run / "recipe.yaml").exists()
    assert (run.run / "report.html").exists() and run.nothing_is_left()


@pytest.mark.slow
def test_the_third_ctrl_c_leaves_at_once(tmp_path):
    """Fault: Ctrl-C three times in a training that does not come to its next step. Promise: exit 130 in a second."""
    stuck = SLOW.replace("time.sleep(0.001)", "time.sleep(0.001 if not self.training else 30)")
    run = Run(tmp_path, "--budget", "60s", model=stuck).start()
    run.wait_until(lambda: (run.run / "profile.txt").exists())
    time.sleep(1.0)
    for _ in range(3):
        asked = time.monotonic()
        run.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    code, _, _ = run.end()
    # A shell says 130 for both: a signal may come while Python is ending already.
    assert code in (130, -signal.SIGINT) and time.monotonic() - asked < 3 and run.nothing_is_left()


@pytest.mark.slow
def test_a_search_that_is_preempted_blames_no_recipe(tmp_path):
    """Fault: SIGTERM in the search. Promise: what was running is tried again and told to no sampler."""
    run = Run(tmp_path, *FLOPS, model=SLOW).start()
    run.wait_until(lambda: len(run.started()) >= 3)
    code, _, errors = run.kill(signal.SIGTERM)
    assert code == 75, errors
    number = run.started()[-1]["trial"]
    kinds = {data["trial"]: data["outcome"]["kind"] for kind, data in run.entries() if kind == "finished"}
    assert kinds[number] in ("preempted", "complete", "pruned")
    result = run.whole("--resume")
    assert result["final"]["trial"] is not None
    if kinds[number] == "preempted":
        again = [r for r in run.started() if r["trial"] > number and r["recipe"] == run.started()[number]["recipe"]]
        assert again
    assert json.dumps(result)


@pytest.mark.slow
def test_a_resumed_run_sees_what_has_changed_meanwhile(tmp_path):
    """Fault: an imported module, the data or the budget are others when a run is resumed. Promise: exit 2 with a line
    for each; `autoaccel resume` goes on with what there was, also with a larger budget; --fork begins anew and tries what was found early."""
    model = SLOW.replace("import torch\n", "import torch\nimport sizes\n", 1).replace("600", "sizes.SAMPLES")
    (tmp_path / "sizes.py").write_text("SAMPLES = 600\n")
    run = Run(tmp_path, *FLOPS, model=model).start()
    run.wait_until(lambda: (run.run / "recipe.yaml").exists())
    code, _, errors = run.kill(signal.SIGTERM)
    assert code == 75, errors
    (tmp_path / "sizes.py").write_text("SAMPLES = 500\n")
    code, _, errors = run.start("--resume", "--flops", "2e8").end()
    assert code == 2 and "Traceback" not in errors, errors
    for line in ("budget: 100 MFLOPs then, 200 MFLOPs now", "sizes.py: changed", "data: changed"):
        assert f"\n  {line}" in errors, errors
    (tmp_path / "sizes.py").write_text("SAMPLES = 600\n")
    code, _, errors = run.command("resume", "runs/model").end()
    assert code == 0 and run.result["status"] == "complete", errors
    first = run.result["spent"]["final"]["flops"]
    code, _, errors = run.command("resume", "runs/model", "--add-budget", "200 MFLOPs").end()
    assert code == 0 and run.result["status"] == "complete", errors
    assert run.result["spent"]["final"]["flops"] > 2 * first
    code, output, errors = run.start("--fork").end()
    assert code == 0 and "runs/model-2" in output, errors
    assert "warm start 1" in (tmp_path / "runs" / "model-2" / "config.json").read_text()


@pytest.mark.slow
def test_a_run_whose_time_is_over_is_resumed_to_deliver(tmp_path):
    """Fault: a run is killed, and resumed when nothing is left of its budget. Promise: what it had found is delivered
    with all its files, and nothing is trained any more."""
    run = Run(tmp_path, *THIRTY).start()
    run.wait_until(lambda: [data for kind, data in run.entries() if kind == "finished"])
    run.kill()
    trained = {data["trial"] for kind, data in run.entries() if kind == "finished"}
    (run.run / "account.json").write_text('{"seconds": 29.9}')
    result = run.whole("--resume")
    assert result["status"] == "complete" and result["delivered"]["trial"] in trained
    ran = {
        data["trial"] for kind, data in run.entries() if kind == "finished" and data["outcome"]["cost"].get("steps")
    }
    assert ran <= trained | {max(trained) + 1} and (run.run / "report.html").exists()
