"""A small run folder as a run leaves it, for tests of what reads and mends such folders."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from sample_run import FACTS, complete, report, request

from autoaccel.core.budget import Budget
from autoaccel.core.codec import to_data
from autoaccel.core.events import Finished, Profiled, Reported, Start
from autoaccel.core.goal import Goal
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.records import Trials
from autoaccel.core.trial import Outcome, OutcomeKind, Purpose
from autoaccel.storage.folder import RunFolder
from autoaccel.storage.json_files import json_text
from autoaccel.storage.log import LOG, Log
from autoaccel.tuner.salvage import Salvage
from autoaccel.tuner.summary import result_data

BEST = Recipe.from_data({**PLAIN["plain"].to_data(), "batch_size": {"name": "constant_batch", "size": 32}})


def pruned(trial):
    return Finished(trial, Outcome(OutcomeKind.PRUNED, Cost(seconds=1.0, flops=1e6), reason="stopped"))


def run_entries():
    """Plain twice, a pruned recipe, the best one, and its final training."""
    ended = [(0, "plain", complete(0)), (1, "plain_constant", complete(1, 0.6)), (2, "random", pruned(2)),
             (3, "model", complete(3, 0.4))]  # fmt: skip
    entries = [(1.0, Profiled(FACTS))]
    for number, origin, end in ended:
        purpose = Purpose.BASELINE if origin in PLAIN else Purpose.SEARCH
        start = Start(request(number, purpose, origin, PLAIN.get(origin, BEST)))
        now = 2.0 * number + 1
        entries += [(now, start), (now + 1, Reported(report(number, 0))), (now + 2, end)]
    final = request(4, Purpose.FINAL, "model", BEST)
    return [*entries, (9.0, Start(final)), (11.0, complete(4, 0.3))]


def weights(value):
    return {"layer.weight": torch.full((2, 3), float(value))}


def make_run(path: Path, status="complete") -> Path:
    """Make a run folder with the log, the weights of trials 3 and 4, and trial 4 delivered."""
    folder = RunFolder(path)
    config = {"schema": 2, "target": "model.py", "budget": {"seconds": 12.0}, "seed": 0, "goal": to_data(Goal()),
              "model_space": {}, "space": None, "folder": str(path.resolve())}  # fmt: skip
    path.joinpath("config.json").write_text(json_text(config))
    path.joinpath("account.json").write_text(json_text({"seconds": 11.5}))
    log = Log(path / LOG)
    for now, entry in run_entries():
        log.append(now, entry)
    log.close()
    for number in (3, 4):
        folder.weights(number).parent.mkdir(parents=True)
        save_file(weights(number), folder.weights(number))
    data = result_data(Salvage(Trials(run_entries()), {3, 4}), Budget(seconds=12.0), 11.5, status)
    data |= {"target": "model.py", "folder": str(path.resolve())}
    folder.deliver(data, BEST.to_yaml(), 4)
    folder.close()
    return path
