"""A search algorithm from outside: what the house asks of a search is all that it has."""

from dataclasses import replace

import torch
from torch import nn

from autoaccel import Task, tune
from autoaccel.core.events import Finish, Finished, Interrupted, Proceed, Profiled, Reported, Start, Stop
from autoaccel.core.recipe import PLAIN
from autoaccel.core.records import Trials
from autoaccel.core.trial import Purpose, TrialRequest
from autoaccel.search.base import Comparison
from autoaccel.storage.records import read_record


class Halves:
    """Plain with a fifth of the budget, a random recipe with another, and the better one with half of it."""

    def __init__(self, settings):
        self.settings, self.trials, self.failure = settings, Trials(), None

    def handle(self, event, now):
        self.trials.handle(event, now)
        match event:
            case Reported(report):
                return [Proceed(report.trial)]
            case Interrupted():
                return [Stop(record.number) for record in self.trials.running()]
            case Profiled() | Finished():
                return self.next(now)
        return []

    def next(self, now):
        recipes = [PLAIN["plain"], self.settings.space.sample(self.settings.seed)]
        number = len(self.trials)
        if number < 2:
            purpose = Purpose.BASELINE if number == 0 else Purpose.SEARCH
            request = TrialRequest(number, recipes[number], self.settings.budget * 0.2, purpose, origin="halves")
        elif number == 2:
            request = TrialRequest(2, self.best().request.recipe, self.settings.budget * 0.5, Purpose.FINAL)
        else:
            return [Finish()]
        request = replace(request, evaluation=self.trials.facts.evaluation)
        self.trials.handle(Start(request), now)
        return [Start(request)]

    def best(self):
        tried = [record for record in self.trials if record.final and record.purpose is not Purpose.FINAL]
        return min(tried, key=lambda record: self.trials.facts.score(record.final), default=None)

    def final(self):
        return next((record for record in self.trials.of(Purpose.FINAL) if record.final), None)

    def baseline(self):
        return self.trials.get(0)

    def kept(self):
        return {record.number for record in self.trials if record.final}

    def comparison(self):
        found = [self.trials.get(0), self.trials.get(1)]
        return (
            Comparison(found[0].request.budget, found[1], found[0]) if all(r and r.final for r in found) else None
        )

    def plain_at_full_length(self):
        return None

    def describe(self):
        return ["two trials, then the better one"]


def test_a_search_from_outside_makes_a_run(tmp_path, capsys):
    x = torch.rand(400, 4, generator=torch.Generator().manual_seed(0))
    task = Task(model=lambda: nn.Linear(4, 2), train=(x, (x.sum(1) > 2).long()))
    result = tune(task, "2e6 FLOPs", search=Halves, executor="inline", out=tmp_path / "run", space="minimal")
    assert result.data["leaderboard"][0]["purpose"] == "final"
    assert result.data["plan"] == ["two trials, then the better one"]
    assert "two trials, then the better one" in capsys.readouterr().err
    assert [trial.request.purpose.value for trial in read_record(tmp_path / "run").trials] == [
        "baseline",
        "search",
        "final",
    ]
    assert result.model()(x).shape == (400, 2)
