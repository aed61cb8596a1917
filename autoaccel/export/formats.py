"""Export formats of a run's best recipe."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from autoaccel.core.recipe import Recipe
from autoaccel.core.records import TrialRecord
from autoaccel.core.yaml_file import dump_yaml
from autoaccel.errors import StoreError, UsageError
from autoaccel.export.script import recipe_files, training_script
from autoaccel.storage.records import RunRecord


def recipe_of(record: RunRecord) -> Recipe:
    """The delivered recipe.

    Raises:
        UsageError: If the run has none yet.
    """
    if "recipe" not in record.result:
        raise UsageError("this run has no finished trial, so there is no recipe to export")
    return Recipe.from_data(record.result["recipe"])


def accelerate_config(record: RunRecord) -> str:
    """A configuration for `accelerate launch --config_file`, with the processes that the delivered training had.

    That is one where they were on CPUs: Accelerate would start no others there, and `torchrun` does.
    """
    recipe, on_cpus = recipe_of(record), _processes_on_cpus(record)
    processes = 1 if on_cpus else _processes(record)
    data: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "NO" if processes == 1 else "MULTI_GPU",
        "mixed_precision": next((p for p in ("bf16", "fp16") if p in recipe.techniques), "no"),
        "num_machines": 1,
        "num_processes": processes,
        "use_cpu": on_cpus > 0,
    }
    return dump_yaml(data)


def _processes(record: RunRecord) -> int:
    trial = _delivered(record)
    return trial.request.processes if trial else 1


def _processes_on_cpus(record: RunRecord) -> int:
    """Return how many processes shared each batch on CPUs; 0 for one, or for GPUs."""
    processes = _processes(record)
    return 0 if processes == 1 or record.config.get("slots", {}).get("gpus") else processes


def script_files(record: RunRecord) -> Mapping[str, str]:
    """The files that lie beside the script, by their path in the run folder; see `recipe_files`.

    Raises:
        UsageError: If there is no recipe yet, or no script of it.
    """
    return recipe_files(recipe_of(record), _milestones(_delivered(record)))


def _delivered(record: RunRecord) -> TrialRecord | None:
    number = record.result.get("delivered", {}).get("trial")
    return next((trial for trial in record.trials if trial.number == number), None)


def _milestones(trial: TrialRecord | None) -> tuple[float, ...]:
    """Where the training evaluated, if it kept its best weights."""
    return trial.request.milestones if trial and trial.request.keep_best else ()


def _script(record: RunRecord) -> str:
    trial = _delivered(record)
    cost = dict(trial.outcome.cost) if trial and trial.outcome else {}
    micro_batch = trial.request.micro_batch if trial else 0
    if missing := [name for name in ("seed", "target") if name not in record.config]:
        raise StoreError(f"config.json of this run lacks {' and '.join(missing)}, so no script can be written")
    seed, target = int(record.config["seed"]), str(record.config["target"])
    milestones, on_cpus = _milestones(trial), _processes_on_cpus(record)
    return training_script(recipe_of(record), target, seed, cost, micro_batch, milestones, on_cpus)


FORMATS: Mapping[str, Callable[[RunRecord], str]] = MappingProxyType(
    {
        "yaml": lambda record: recipe_of(record).to_yaml(),
        "json": lambda record: json.dumps(recipe_of(record).to_data(), indent=2) + "\n",
        "script": _script,
        "accelerate": accelerate_config,
    }
)


def export(record: RunRecord, form: str, trial: int | None = None) -> str:
    """The best recipe of a run in one of `FORMATS`, or that of a trial by its number.

    Raises:
        UsageError: If there is no recipe yet, or no such trial.
    """
    return FORMATS[form](record if trial is None else _of_trial(record, trial))


def _of_trial(record: RunRecord, number: int) -> RunRecord:
    """The run as if it had delivered another trial."""
    trial = next((trial for trial in record.trials if trial.number == number), None)
    if trial is None:
        raise UsageError(f"--trial {number}: this run has the trials 0 to {len(record.trials) - 1}")
    chosen = {"recipe": trial.request.recipe.to_data(), "delivered": {"trial": number}}
    return replace(record, result={**record.result, **chosen})
