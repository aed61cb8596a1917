"""Make a run folder usable again after damage, from all that is whole in it.

What was decided here:

- A line of the log in which one bit flipped is mended: its checksum tells which bit it was. Nothing is lost then.
- Behind a line that cannot be mended a replay is not possible, since the search's decisions rest on every event. So
  the log ends before it, and `--resume` goes on from there with what is left of the budget. The damaged log stays
  (`events.log.damaged`), and whatever reads the run's trials takes those behind the damage from it. A resumed run
  does not know them: it may try a recipe again, under the same number. What had been delivered stays delivered
  until the resumed run has something with a better score.
- A result that fits its weights is kept. Otherwise a new one is made of the trials whose weights are there: the
  final training, unless a trial of the search is clearly better; without one, the best trial at the largest budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from autoaccel.core.budget import Budget
from autoaccel.core.codec import from_data
from autoaccel.core.goal import Goal
from autoaccel.core.recipe import Recipe
from autoaccel.core.records import Trials
from autoaccel.core.trial import Purpose
from autoaccel.errors import AutoaccelError, StoreError, UsageError
from autoaccel.spaces.space import SearchSpace
from autoaccel.storage.delivery import RECIPE, RESULT, WEIGHTS, check_weights
from autoaccel.storage.files import sha256
from autoaccel.storage.folder import RunFolder, relocated
from autoaccel.storage.json_files import read_config, read_result, read_seconds
from autoaccel.storage.loading import inference_lines
from autoaccel.storage.log import LOG, scan_log
from autoaccel.storage.mending import mended
from autoaccel.storage.records import RunRecord, orphans, read_trials
from autoaccel.tuner.byproducts import study_of, write_last_files
from autoaccel.tuner.salvage import Salvage
from autoaccel.tuner.space import run_space
from autoaccel.tuner.summary import delivery, failures, leaderboard, result_data

Tell = Callable[[str], None]


def repair(path: Path, tell: Tell) -> None:
    """Repair a run folder.

    Args:
        path: The folder.
        tell: Gets one line for each thing that was done.

    Raises:
        UsageError: If the folder holds no run.
        StoreError: If it is in use, cannot be written, or its `config.json` is damaged.
    """
    if not (path / LOG).exists() and not (path / "config.json").exists():
        raise UsageError(f"{path} holds no run")
    with closing(RunFolder(path)) as folder:
        if folder.settled:
            tell("delivery: one that was cut off is finished")
        config = relocated(read_config(path), path)
        _mend_log(folder, tell)
        trials = read_trials(path)
        seconds = _seconds(folder, trials, tell)
        result = _result(folder, config, trials, seconds, tell)
        _last_files(folder, RunRecord(config, trials, seconds, result), tell)


def _mend_log(folder: RunFolder, tell: Tell) -> None:
    path = folder.path / LOG
    scan = scan_log(path)
    if not scan.fault and not scan.torn:
        tell(f"{LOG}: whole, {len(scan.entries)} entries")
        return
    if not scan.fault:
        folder.write(LOG, path.read_bytes()[: scan.size])
        tell(f"{LOG}: {len(scan.entries)} entries; the last line, cut off by a crash, is gone")
        return
    aside = free_name(path.with_name(f"{LOG}.damaged"))
    before = path.read_bytes()
    folder.write(aside.name, before)
    tell(f"{aside.name}: the damaged log as it was ({scan.fault})")
    after, places = mended(before)
    folder.write(LOG, after)
    scan = scan_log(path)
    folder.write(LOG, after[: scan.size])
    turned = f"; flipped bits turned back in {places} places" if places else ""
    tell(f"{LOG}: {len(scan.entries)} entries that --resume can go on from{turned}")
    if scan.fault:
        tell(f"lost to --resume: {scan.loss.partition(': ')[2]}; the record keeps what is whole")
    for trial in orphans(scan):
        tell(f"lost: the line that says what trial {trial} was; it had finished")


def free_name(path: Path) -> Path:
    """Return a name that is not taken: the path's own, or with a number behind it."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def _seconds(folder: RunFolder, trials: Trials, tell: Tell) -> float:
    """Return the seconds spent; written anew, by the last known event, where the account cannot be read."""
    try:
        return read_seconds(folder.path)
    except StoreError:
        moments = [moment for record in trials for moment in (record.started, record.ended or 0.0)]
        seconds = max(moments, default=0.0)
        folder.write_json("account.json", {"seconds": seconds})
        tell(f"account.json: written anew, {seconds:.1f} s spent by the last event of the log")
        return seconds


def _result(
    folder: RunFolder, config: Mapping[str, Any], trials: Trials, seconds: float, tell: Tell
) -> Mapping[str, Any]:
    """Return a result that fits the weights, the one that is there or a new one; empty if there is none."""
    found: Mapping[str, Any] = {}
    try:
        found = relocated(read_result(folder.path / RESULT), folder.path)
        if found:
            _check(folder.path, found)
            folder.write(RECIPE, Recipe.from_data(found["recipe"]).to_yaml())
            tell(f"{RESULT}, {RECIPE}, {WEIGHTS}: whole, of trial {found.get('delivered', {}).get('trial', 0)}")
            return found
    except AutoaccelError as error:
        tell(str(error).partition(";")[0])
    return _new_result(folder, config, trials, seconds, tell) or _without_weights(folder, found, tell)


def _check(path: Path, result: Mapping[str, Any]) -> None:
    stored = result.get("weights", {})
    if stored is None:
        raise StoreError(f"{WEIGHTS}: not those of the delivered trial")
    check_weights(path / WEIGHTS, stored.get("sha256"))


def _new_result(
    folder: RunFolder, config: Mapping[str, Any], trials: Trials, seconds: float, tell: Tell
) -> Mapping[str, Any]:
    whose = _owner(folder, trials)
    usable = {record.number for record in trials if folder.weights(record.number).exists()}
    search, goal = Salvage(trials, {*usable, whose}), _goal(config)
    kind, record = delivery(search, goal)
    if record is None:
        tell(f"{RESULT}: no finished trial has its weights, so nothing can be delivered")
        return {}
    data = result_data(search, Budget(**config.get("budget", {})), seconds, "interrupted", goal)
    data |= {
        "load": inference_lines(folder.path),
        "target": config.get("target", ""),
        "folder": str(folder.path.resolve()),
        "leaderboard": leaderboard(trials, search.maximize),
        "failures": failures(trials),
        "environment": config.get("environment", {}),
    }
    if record.number == whose and record.number not in usable:
        weights = folder.path / WEIGHTS
        data["weights"] = {"trial": whose, "sha256": sha256(weights), "bytes": weights.stat().st_size}
    made = folder.deliver(data, record.request.recipe.to_yaml(), record.number)
    tell(f"{RESULT}, {RECIPE}, {WEIGHTS}: made anew from trial {record.number} ({kind})")
    return made


def _owner(folder: RunFolder, trials: Trials) -> int | None:
    """Return whose weights lie in the folder by `recipe.yaml`, where no result tells; None if that is not known.

    A result that could be read has been compared with them, and says that they are not those.
    """
    if (folder.path / RESULT).exists() and _readable(folder.path):
        return None
    try:
        recipe = Recipe.from_yaml((folder.path / RECIPE).read_text(), RECIPE)
        (folder.path / WEIGHTS).stat()
    except (OSError, ValueError, AutoaccelError):
        return None
    found = [each for each in trials if each.complete and each.final and each.request.recipe == recipe]
    longest = max(found, key=lambda each: (each.request.budget.size, each.purpose is Purpose.FINAL), default=None)
    return longest.number if longest else None


def _readable(path: Path) -> bool:
    try:
        return bool(read_result(path / RESULT))
    except StoreError:
        return False


def _without_weights(folder: RunFolder, found: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
    """Keep a result whose weights are damaged: its recipe can be trained again."""
    if not found:
        return {}
    weights = folder.path / WEIGHTS
    if weights.exists():
        aside = free_name(folder.path / f"{WEIGHTS}.damaged")
        weights.rename(aside)
        tell(f"{aside.name}: the damaged weights")
    recipe = Recipe.from_data(found["recipe"]).to_yaml()
    made = folder.deliver({**found, "weights": None}, recipe, found.get("delivered", {}).get("trial") or 0)
    tell(f"{RESULT}, {RECIPE}: kept; to have the weights again, train with --recipe {folder.path / RECIPE}")
    return made


def _goal(config: Mapping[str, Any]) -> Goal:
    try:
        return from_data(Goal, config.get("goal", {}))
    except ValueError as error:
        raise StoreError(f"config.json: its goal cannot be read: {' '.join(str(error).split())}") from None


def _last_files(folder: RunFolder, record: RunRecord, tell: Tell) -> None:
    names = write_last_files(folder.path, record, tell)
    facts = record.trials.facts
    if facts is not None:
        space = _space(record, tell)
        study = study_of(folder.path, str(record.config.get("target", "run")), facts, space, tell)
        names += ["study.db"] if study.rebuild(record.trials) else []
    tell(f"made anew: {', '.join(names) or 'nothing'}")


def _space(record: RunRecord, tell: Tell) -> SearchSpace | None:
    """Return the space of the run; None if it can no longer be made, as with techniques of the user's file."""
    # Imported here: the classes of techniques import torch.
    from autoaccel.techniques.registry import catalog

    facts, config = record.facts, record.config
    assert facts is not None
    try:
        return run_space(config.get("space"), catalog(), facts, config.get("model_space", {}), ())[1]
    except AutoaccelError as error:
        tell(f"study.db: without the ranges of the search, since {error}")
        return None
