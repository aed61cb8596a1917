"""The scripts that measure faults find what is there, at their smallest sizes."""

import json

import pytest

from benchmarks.faults import kills, overshoot, peers, supervisor_cost
from tests.faulty_runs import Run


def entry(kind, **data):
    return f"0 {json.dumps([1.0, kind, data])}\n"


def finished(trial, flops, steps=10):
    return entry("finished", trial=trial, outcome={"kind": "complete", "cost": {"flops": flops, "steps": steps}})


def start(trial, purpose="search", **carried):
    return entry("start", request={"trial": trial, "purpose": purpose, "carried": carried})


@pytest.fixture
def run(tmp_path):
    """A run that was killed in its final training, and resumed from where that had spent 30."""
    made = Run(tmp_path)
    made.run.mkdir(parents=True)
    write(made, [start(0), finished(0, 100.0), start(1, "final"), finished(1, 40.0), start(2, "final", flops=30.0)])
    return made


def write(run, lines, metric=0.9):
    (run.run / "events.log").write_text("".join(lines))
    delivered = {"metric": metric, "standard_error": 0.01, "trial": 0}
    (run.run / "result.json").write_text(json.dumps({"delivered": delivered, "metric": {"direction": "max"}}))
    for name in ("recipe.yaml", "model.safetensors"):
        (run.run / name).touch()


def test_kills_sees_the_phase_and_what_is_lost(run):
    before = kills.Seen.of(run)
    assert before.phase == "final" and set(before.finished) == {0, 1}
    whole = (run.run / "events.log").read_text() + finished(2, 80.0)
    (run.run / "events.log").write_text(whole)
    assert kills.Seen.of(run).phase == "end" and kills.booked(run) == (190.0, 10.0)
    assert kills.check(run, (0, "", ""), [before], 185.0) == []
    assert kills.check(run, (0, "", ""), [before], 170.0) == ["190 FLOPs are booked of 170"]
    assert "exit code 3" in kills.check(run, (3, "", "no"), [before], 185.0)[0]
    write(run, [start(0), finished(0, 100.0)], metric=0.8)
    lost, worse = kills.check(run, (0, "", ""), [before], 185.0)
    assert "[1]" in lost and "0.9" in worse and "0.8" in worse
    (run.run / "recipe.yaml").unlink()
    assert "no recipe" in kills.check(run, (0, "", ""), [before], 185.0)[0]


@pytest.mark.slow
def test_a_killed_run_keeps_its_promises(tmp_path):
    phases, wrong = kills.broken(kills.killable(tmp_path, 5e7), "0-4", 20.0, 5e7, 240.0)
    assert wrong == [] and set(phases) <= set(kills.PHASES)


def test_each_odd_task_is_odd(tmp_path):
    """Their files can be run, and a line of each runs where it should."""
    for name, text in overshoot.TASKS.items():
        names = {}
        exec(compile(text.replace("time.sleep(6)", ""), name, "exec"), names)
        assert callable(names["task"].model)
        assert ("Odd" in names) == (name not in ("plain", "slow import"))


@pytest.mark.slow
def test_overshoot_measures_a_run_from_outside(tmp_path):
    late, code, clean = overshoot.once("plain", 30.0, tmp_path)
    assert code == 0 and clean and -20 < late < 10


def test_an_import_costs_something():
    assert 0.1 < supervisor_cost.import_torch(1) < 60


@pytest.mark.slow
def test_the_parts_of_a_run_are_told_apart(tmp_path):
    run = Run(tmp_path, "--flops", "2e7")
    used, start = supervisor_cost.watch(run.start())
    assert run.end()[0] == 0
    assert list(used) == list(start) == list(supervisor_cost.NAMES)
    assert used["supervisor"].user > start["supervisor"].user and start["fork server"].user > 0.1
    assert supervisor_cost.lengths(run)


def test_a_fault_of_a_peer_is_attempted_in_a_process_of_its_own():
    assert peers.attempt("odd_values") == (
        False,
        "nan: FAIL, None: FAIL, 'x': FAIL, inf: COMPLETE, -inf: COMPLETE",
    )
    assert peers.attempt("two_resumers", seconds=0.01) == (False, "did not end in 0.01 s")
