"""What a run measures of the machine: room for trials, and how long the last files take."""

import pytest
from simulation import FACTS, Book, make, quality

from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.core.events import Measured, Profiled, Short, Start
from autoaccel.core.trial import Purpose
from autoaccel.execution.simulated import TableExecutor
from autoaccel.tuner.loop import Loop
from autoaccel.tuner.replay import replay
from autoaccel.tuner.room import EVERY, Room

SECONDS = Budget(seconds=600)


def run(budget, *news):
    """A run that hears some events at some times."""
    clock, book, search, left = SimulatedClock(2.0), Book(), make(budget), list(news)

    def heard():
        due = [event for at, event in left if clock.now() >= at]
        left[:] = [(at, event) for at, event in left if event not in due]
        return due

    loop = Loop(search, TableExecutor(quality, clock), clock, [book], patience=0.5, news=heard)
    loop.run([Profiled(FACTS)])
    return search, clock, book


def starts(book, purpose):
    return [now for now, entry in book.entries if isinstance(entry, Start) and entry.request.purpose is purpose]


def test_without_room_no_trial_of_the_search_starts_and_the_final_training_comes_early():
    search, clock, book = run(SECONDS, (100.0, Short("no new trial starts: the disk is full")))
    assert max(starts(book, Purpose.SEARCH)) <= 101
    (final,) = starts(book, Purpose.FINAL)
    # The trial that was running ends, and half a minute is waited for room.
    assert 129 < final < 180 and search.final() is not None
    assert search.final().request.budget.seconds > 400 and clock.now() <= 600
    assert replay(make(SECONDS), book.entries) == ([], [])


def test_a_final_training_that_comes_when_nothing_happens_is_replayed():
    search, _, book = run(SECONDS, (115.0, Short("no new trial starts: the disk is full")))
    assert search.trials[4].ended < 132 < 144 < starts(book, Purpose.FINAL)[0] < 150
    assert replay(make(SECONDS), book.entries) == ([], [])


def test_with_room_again_the_search_goes_on():
    _, _, book = run(SECONDS, (100.0, Short("no new trial starts")), (115.0, Short("")))
    assert any(now > 115 for now in starts(book, Purpose.SEARCH))
    assert replay(make(SECONDS), book.entries) == ([], [])


def test_what_the_end_takes_is_reserved_for_it():
    whole, _, _ = run(SECONDS)
    search, _, book = run(SECONDS, (50.0, Measured(9.0)), (60.0, Measured(4.0)))
    (before,), (after,) = (found.trials.of(Purpose.FINAL) for found in (whole, search))
    ends = [record.started + record.request.budget.seconds for record in (before, after)]
    assert ends == pytest.approx([600 - 1.5, 600 - 9.0], abs=0.2)
    assert replay(make(SECONDS), book.entries) == ([], [])


def test_no_measured_second_enters_a_budget_of_flops():
    flops = Budget(flops=6e11)
    whole, _, _ = run(flops)
    search, _, _ = run(flops, (50.0, Measured(9.0)))
    assert [r.request for r in search.trials] == [r.request for r in whole.trials]


def test_shortness_is_told_once_and_so_is_its_end():
    clock, why = SimulatedClock(0.0), [None]
    room = Room(lambda: why[0], clock)
    told = []
    for short in (None, "full", "full", "fuller", None, None):
        why[0] = short
        told += room.news()
        assert room.news() == []
        clock.sleep(EVERY)
    assert told == [Short("full"), Short("")]
