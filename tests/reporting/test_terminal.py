"""What the user sees during a run."""

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from sample_run import FACTS, complete, entries, failed, report, request

from autoaccel.core.budget import Budget
from autoaccel.core.events import Interrupted, Profiled, Start
from autoaccel.core.records import Trials
from autoaccel.core.trial import Purpose
from autoaccel.reporting.html import write_report
from autoaccel.reporting.result import result_lines
from autoaccel.reporting.terminal import Display
from autoaccel.storage.records import RunRecord
from autoaccel.tuner.summary import outcome_data


def shown(terminal, log, **options):
    text = io.StringIO()
    console = Console(file=text, width=110, force_terminal=terminal, color_system=None)
    display = Display(Budget(seconds=60.0), console, **options)
    display.plan(["the plan"])
    for now, entry in log:
        display.handle(entry, now)
    display.tick(70.0)
    if terminal:
        console.print(display._view())
    display.close()
    return text.getvalue()


def test_plain_lines_where_there_is_no_terminal():
    text = shown(False, [*entries(), (4.0, failed(1, "ValueError: [x]"))])
    assert "the plan" in text
    assert "[   3.0 s] trial 0 complete: loss 0.5, 2.0 s, plain" in text
    assert "trial 1 failed (ValueError: [x])" in text
    assert "\x1b" not in text


def test_a_training_whose_last_weights_are_not_its_best_says_so():
    ended = complete(1, metric=0.984)
    kept = replace(ended.outcome, metric="loss", final=report(1, 0, 0.984), last=report(1, 1, 1.358))
    text = " ".join(shown(False, [*entries(), (4.0, replace(ended, outcome=kept))]).split())
    why = "the weights after 50% were better on validation than the last: loss 0.984 against 1.358"
    assert f"2.0 s, plain_constant; {why}" in text
    final = outcome_data(Budget(seconds=2.0), kept, kept.final)
    assert final["progress"] == 0.5 and final["validation"]["metric"] == 0.984
    assert final["kept"]["last"]["metric"] == 1.358
    data = {"headline": "", "metric": {"name": "loss"}, "final": final}
    assert f"  {why}" in result_lines(data, Path("run"))
    page = write_report(RunRecord({"target": "model.py"}, Trials(entries()), 5.0, data))
    assert f"Not the last weights: {why}." in page


def test_a_terminal_shows_time_phase_and_best_against_plain():
    log = [
        *entries(),
        (4.0, complete(1, metric=0.6)),
        (4.0, Start(request(2, Purpose.SEARCH, "model"))),
        (5.0, complete(2, metric=0.4)),
    ]
    text = shown(True, log)
    assert "search | 1 min 10 s spent | 0.0 s left" in text
    line = next(line for line in text.splitlines() if line.startswith("best"))
    assert "best loss 0.4, plain 0.5, with 2.0 s each" in line
    assert "3 complete" in text


def test_the_phase_is_that_of_the_final_training_whatever_is_beside_it():
    beside = [(5.0, Start(request(3, purpose, "beside"))) for purpose in (Purpose.SEARCH, Purpose.EVIDENCE)]
    log = [*entries(), (4.0, complete(1)), (4.0, Start(request(2, Purpose.FINAL, "model"))), *beside[:1]]
    assert "final training | " in shown(True, log)
    assert "evidence | " in shown(True, [*log, (6.0, complete(2)), (6.0, complete(3)), *beside[1:]])


def test_an_interruption_says_what_happens_next():
    final = Start(request(2, Purpose.FINAL))
    text = shown(False, [(1.0, Profiled(FACTS)), (10.0, final), (11.0, Interrupted())], quiet=True)
    assert text == "finishing: annealing over about the next 0.1 s; Ctrl-C again stops at once\n"
    text = shown(True, [*entries(), (4.0, Interrupted())])
    assert "interrupted: ending with what was found; Ctrl-C again stops at once" in text


def test_quiet_shows_nothing():
    assert shown(False, [(1.0, Profiled(FACTS)), *entries()], quiet=True) == ""


def test_a_longer_plain_trial_alone_is_no_best_against_plain():
    """Its budget is one that no other recipe had yet."""
    longer = replace(request(2), budget=Budget(seconds=18.0))
    log = [*entries(), (4.0, complete(1, metric=0.6)), (4.0, Start(longer)), (5.0, complete(2, metric=0.1))]
    log += [(5.0, Start(request(3, Purpose.SEARCH, "model"))), (6.0, complete(3, metric=0.4))]
    line = next(line for line in shown(True, log).splitlines() if line.startswith("best"))
    assert "best loss 0.4, plain 0.5, with 2.0 s each" in line


def test_a_plan_that_changes_is_shown_again():
    text = io.StringIO()
    display = Display(Budget(seconds=60.0), Console(file=text, width=80, force_terminal=True, color_system=None))
    display.plan(["the plan"])
    display.plan(["the new plan"])
    display.close()
    assert "the new plan" in text.getvalue()
