"""A worker: a process that runs one job, a trial or a measurement, and reports to the supervisor."""

from __future__ import annotations

import faulthandler
import json
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed

from autoaccel.core.clock import Clock, SystemClock, process_age
from autoaccel.core.codec import from_data, to_data
from autoaccel.core.machine import VISIBLE
from autoaccel.core.recipe import Recipe
from autoaccel.core.trial import Report, TrialRequest
from autoaccel.errors import AutoaccelError, MachineError, TaskError
from autoaccel.execution.local.beats import BeatingClock, Beats, shared_memory
from autoaccel.execution.local.control import ControlChannel, Unasked
from autoaccel.execution.local.endings import DUMP
from autoaccel.execution.local.leftovers import adopt_orphans, die_with
from autoaccel.execution.local.messages import Channel
from autoaccel.execution.local.team import Team
from autoaccel.spaces.domains import plain_space
from autoaccel.training.data.discovery import load_target, user_line, with_data
from autoaccel.training.data.opening import with_metric
from autoaccel.training.data.prepare import build_model, prepare
from autoaccel.training.data.task import Task
from autoaccel.training.data.understanding import Understanding
from autoaccel.training.device import find_device_anew
from autoaccel.training.identity import data_digest, file_digests
from autoaccel.training.profile import measure_sizes, profile_task
from autoaccel.training.rehearsal import rehearse
from autoaccel.training.run_trial import run_trial
from autoaccel.training.scoring import score_weights
from autoaccel.training.trial_environment import TrialEnvironment


def load(message: Mapping[str, Any]) -> Any:
    """Load the user's task, or the function that returns it.

    Args:
        message: The supervisor's first message: the target, or a file with the pickled task; and the seed, so
            that a file that draws random numbers yields the same data in every process of a run.

    Raises:
        TaskError: If the task cannot be loaded.
    """
    set_seed(message["seed"])
    if message["pickled"]:
        return pickle.loads(Path(message["pickled"]).read_bytes())
    return load_target(message["target"])


def work(
    find: Callable[[], Any], job: Mapping[str, Any], channel: Channel, beats: Beats, elapsed: float = 0.0
) -> None:
    """Do one job in this process and send its result; other processes may be forked to share it.

    Args:
        find: Returns the user's task, or the function that returns it.
        job: The supervisor's message that describes the job.
        channel: The channel to the supervisor.
        beats: Counts what this process gets on with, for the supervisor.
        elapsed: Seconds since the job was requested; they count towards its cost.
    """
    team = Team(job["devices"], job["threads"], channel.send) if len(job["devices"]) > 1 else None
    if team is not None and team.first is not None:  # what the others count is not what the supervisor sees
        channel, beats = team.first, Beats(shared_memory())
    clock = BeatingClock(SystemClock(elapsed), beats)
    stopped = _stop_on_sigterm()
    torch.set_num_threads(job["threads"])
    where = ""
    try:
        task = _task(find, job, team, beats)
        where = task.where
        if job["metric"]:
            task = with_metric(task, job["metric"])
        if job["job"] == "trial":
            _trial(task, job, channel, clock, stopped, beats, team)
        else:
            _measure(task, job, channel, clock)
    except MachineError:
        raise  # nothing of the recipe's doing
    except TaskError as error:
        channel.send("broken", message=str(error if error.where else TaskError(error.message, where or None)))
    except AutoaccelError as error:
        channel.send("broken", message=str(error))
    except Exception as error:  # the user's code may raise anything
        line = user_line(error)
        channel.send("broken", message=str(TaskError(f"{type(error).__name__}: {error}", line or where or None)))
        raise


def _task(find: Callable[[], Any], job: Mapping[str, Any], team: Team | None, beats: Beats) -> Task:
    """Return the task, in a process that has its own device and has found the others of its trial."""
    if device := job["devices"][team.rank if team else 0]:
        _keep_to(device)
    target = find()
    if team is not None:
        team.connect(job["cpu"])
    find_device_anew(job["cpu"])
    beats.beat()
    task = with_data(target, job["split_seed"])
    beats.beat()
    return task


def _keep_to(device: str) -> None:
    """See that this process uses its own GPU.

    Raises:
        TaskError: If the user's file has chosen several and started CUDA, which looks once.
        MachineError: If it is gone; it must not train on the CPU then.
    """
    chosen = os.environ.get(VISIBLE)
    if chosen != device and torch.cuda.is_initialized():
        raise TaskError(
            f"this file sets {VISIBLE} to {chosen!r} and starts CUDA: set it outside, before the command"
        )
    os.environ[VISIBLE] = device
    if not torch.cuda.is_available():
        raise MachineError(f"torch finds no GPU {device} any more")


def _measure(task: Task, job: Mapping[str, Any], channel: Channel, clock: Clock) -> None:
    data, seed, cpu = Path(job["data"]), job["split_seed"], job["cpu"]
    match job["job"]:
        case "check":
            checked = rehearse(task, seed, cpu, data)
            names = checked.data.found.reader.names
            channel.send("checked", lines=checked.lines(), names=names, **_identity(task, job, data))
        case "profile":
            facts = profile_task(task, clock, 0.0, seed, cpu, data, tuple(job["measure"]))
            facts = replace(facts, files=file_digests(job["target"]))
            channel.send("facts", facts=to_data(facts), model_space=plain_space(task.space))
        case "identify":
            channel.send("identity", **_identity(task, job, data))
        case "sizes":
            for cost in measure_sizes(task, clock, seed, cpu):
                channel.send("size", size=to_data(cost))
            channel.send("sizes")
        case "score":
            recipe, path = Recipe.from_data(job["recipe"]), Path(job["weights"])
            scored = score_weights(task, recipe, path, clock, seed, cpu, Understanding.load(data))
            channel.send("score", **scored)


def _identity(task: Task, job: Mapping[str, Any], understood: Path) -> dict[str, Any]:
    """Return digests of the data and the files."""
    try:
        prepared = prepare(task, build_model(task, {}), job["split_seed"], Understanding.load(understood))
        data = data_digest(prepared)
    except Exception as error:  # other data may not be what was understood before, in any way
        data = f"{type(error).__name__}: {error}"
    return {"data": data, "files": file_digests(job["target"])}


def _trial(
    task: Any,
    job: Mapping[str, Any],
    channel: Channel,
    clock: Clock,
    stopped: list[bool],
    beats: Beats,
    team: Team | None,
) -> None:
    request = from_data(TrialRequest, job["request"])
    follows = team is not None and team.first is not None
    control = Unasked() if follows else ControlChannel(channel)

    def must_stop() -> bool:  # called before every step
        beats.step()
        return bool(stopped) or control.stopped()

    def report(made: Report) -> bool:
        if follows:
            return not stopped
        channel.send("report", report=to_data(made))
        last = made.milestone == len(request.milestones) - 1
        # If the budget does not depend on time, neither may the point at which a trial is stopped.
        return not stopped and (last or not request.budget.deterministic or control.may_proceed())

    environment = TrialEnvironment(
        clock=clock,
        started=0.0,
        report=report,
        folder=Path(job["folder"]) if job["folder"] else None,
        split_seed=job["split_seed"],
        cpu=job["cpu"],
        stopped=must_stop,
        finishing=control.finishing,
        preempted=lambda: bool(stopped) or control.preempted,
        finished=lambda outcome: None if follows else channel.send("saved", outcome=to_data(outcome)),
        found=Understanding.load(Path(job["data"])),
    )
    outcome = run_trial(task, request, environment)
    if team is not None:
        team.settle(outcome)
    if not follows:
        channel.send("outcome", outcome=to_data(outcome))


def _stop_on_sigterm() -> list[bool]:
    """Return a list that is empty until this process gets SIGTERM; ignore SIGINT."""
    stopped: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return stopped


def main() -> None:
    """Run a worker in a fresh process, for a fork server that cannot fork."""
    _, template, descriptor, shared, text = sys.argv
    die_with(int(template))
    adopt_orphans()
    faulthandler.enable()
    faulthandler.register(DUMP, all_threads=True, chain=False)
    channel, job = Channel(socket.socket(fileno=int(descriptor))), json.loads(text)
    del sys.argv[1:]  # the user's functions may read it
    beats = Beats(int(shared))
    beats.beat()
    work(lambda: load(job["load"]), job, channel, beats, job["elapsed"] + process_age())


if __name__ == "__main__":
    main()
