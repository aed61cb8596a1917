"""Runs on Ray to which harm is done: a node or the driver is killed, Ctrl-C is pressed, the budget ends."""

import os
import signal
import time
from pathlib import Path

import pytest
from faulty_runs import SLOW, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DIGITS = (Path(__file__).parents[3] / "examples" / "digits.py").read_text()
ON_RAY = ("--executor", "ray", "--devices", "cpu", "--quiet")
BUDGET = 120.0


def run_on(cluster, monkeypatch, folder, *arguments, model=SLOW):
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    return Run(folder, *arguments, *ON_RAY, model=model)


def ended(run):
    return [data["outcome"]["kind"] for kind, data in run.entries() if kind == "finished"]


def wait_for_no_places(cluster, seconds):
    end = time.monotonic() + seconds
    while (left := cluster.places()) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left


def test_nothing_is_left_of_a_driver_that_was_killed_and_the_run_goes_on(cluster, monkeypatch, tmp_path):
    run = run_on(cluster, monkeypatch, tmp_path, "--flops", "5e8", "--workers", "2").start()
    run.wait_until(lambda: len(run.started()) > len(ended(run)) > 0, 200)
    assert cluster.places()
    run.kill()
    wait_for_no_places(cluster, 15)
    done = ended(run)
    assert run.whole("--resume")["status"] == "complete"
    assert ended(run)[: len(done)] == done
    wait_for_no_places(cluster, 1)


def test_the_deadline_is_kept_while_a_node_is_killed_in_the_search(cluster, monkeypatch, tmp_path):
    """The digits, with a place on each of four nodes."""
    run = run_on(cluster, monkeypatch, tmp_path, "--budget", f"{BUDGET}s", "--workers", "4", model=DIGITS)
    begun = time.monotonic()
    run.start()
    run.wait_until(lambda: len(run.started()) > len(ended(run)) > 1, BUDGET)
    cluster.kill("any")
    code, _, errors = run.end(2 * BUDGET)
    assert code == 0, errors
    assert time.monotonic() - begun < BUDGET + 1
    # What was beside the final training for a place that is gone is not waited for.
    assert ended(run).count("lost") <= 1 and run.result["trials"]["complete"] > 2
    assert run.weights() and run.result["final"]["test"]["metric"] is not None
    wait_for_no_places(cluster, 1)


def test_ctrl_c_ends_a_cluster_on_this_machine_with_the_run(tmp_path):
    run = Run(tmp_path, "--flops", "5e8", "--workers", "2", *ON_RAY, model=SLOW).start()
    run.wait_until(lambda: len(run.started()) > len(ended(run)) > 0, 200)
    group = os.getpgid(run.process.pid)
    for process in run.left():  # as a terminal does: everything in the foreground
        if os.getpgid(process.pid) == group:
            process.send_signal(signal.SIGINT)
    code, _, errors = run.end()
    assert code == 6, errors
    assert run.result["status"] == "interrupted" and run.weights()
    assert run.nothing_is_left()


def test_a_cluster_on_this_machine_does_not_outlive_a_driver_that_was_killed(tmp_path):
    run = Run(tmp_path, "--flops", "5e8", "--workers", "2", *ON_RAY, model=SLOW).start()
    run.wait_until(lambda: len(run.started()) > len(ended(run)) > 0, 200)
    run.kill()
    assert run.nothing_is_left(15)
