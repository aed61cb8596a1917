"""A worker: a process that runs one job, a trial or the profile, and tells the supervisor how it goes."""

from __future__ import annotations

import json
import pickle
import selectors
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed

from autoaccel.core.clock import SystemClock, seconds_since_process_start
from autoaccel.core.recipe import Recipe
from autoaccel.core.trial import Report, TrialRequest
from autoaccel.errors import AutoaccelError, TaskError, UsageError
from autoaccel.execution.local.messages import Channel
from autoaccel.training.data.discovery import load_target, resolve, user_line
from autoaccel.training.profile import measure_sizes, profile_task
from autoaccel.training.run_trial import TrialEnvironment, run_trial
from autoaccel.training.scoring import score_weights


def load(message: Mapping[str, Any]) -> Any:
    """The user's task, or the function that makes it.

    Args:
        message: What the supervisor sent first: the target, or a file with the pickled task; and the seed, so
            that a file that draws random numbers gives the same data to every process of a run.

    Raises:
        TaskError: If it cannot be loaded.
    """
    set_seed(message["seed"])
    if message["pickled"]:
        return pickle.loads(Path(message["pickled"]).read_bytes())
    return load_target(message["target"])


def work(target: Any, job: Mapping[str, Any], channel: Channel, elapsed: float = 0.0) -> None:
    """Do one job in this process and send its result.

    Args:
        target: The user's task, or the function that makes it.
        job: What to do, as the supervisor sent it.
        channel: To the supervisor.
        elapsed: Seconds since the job was asked for; they count for it.
    """
    clock = SystemClock(elapsed)
    stopped = _stop_on_sigterm()
    torch.set_num_threads(job["threads"])
    where = ""
    try:
        if job["device"] and not torch.cuda.is_available():
            raise UsageError(f"--devices {job['device']}: torch finds no such GPU")
        task = resolve(target)
        where = task.where
        if job["metric"]:
            task = replace(task, metric=job["metric"], direction=None)
        if job["job"] == "profile":
            facts = profile_task(task, clock, 0.0, job["split_seed"], job["cpu"])
            channel.send("facts", facts=facts.to_data(), model_space=plain_space(task.space))
        elif job["job"] == "sizes":
            for cost in measure_sizes(task, clock, job["split_seed"], job["cpu"]):
                channel.send("size", **vars(cost))
            channel.send("sizes")
        elif job["job"] == "score":
            recipe, path = Recipe.from_data(job["recipe"]), Path(job["weights"])
            channel.send("score", **score_weights(task, recipe, path, clock, job["split_seed"], job["cpu"]))
        else:
            _trial(task, job, channel, clock, stopped)
    except TaskError as error:
        channel.send("broken", message=str(error if error.where else TaskError(error.message, where or None)))
    except AutoaccelError as error:
        channel.send("broken", message=str(error))
    except Exception as error:  # the user's code may raise anything
        line = user_line(error)
        channel.send("broken", message=str(TaskError(f"{type(error).__name__}: {error}", line or where or None)))
        raise


def _trial(task: Any, job: Mapping[str, Any], channel: Channel, clock: SystemClock, stopped: list[bool]) -> None:
    request = TrialRequest.from_data(job["request"])
    control = ControlChannel(channel)

    def report(made: Report) -> bool:
        channel.send("report", report=made.to_data())
        last = made.milestone == len(request.milestones) - 1
        # Where time plays no part, how far a trial comes before it is stopped must not depend on it either.
        return not stopped and (last or not request.budget.deterministic or control.may_proceed())

    environment = TrialEnvironment(
        clock=clock,
        started=0.0,
        report=report,
        folder=Path(job["folder"]) if job["folder"] else None,
        split_seed=job["split_seed"],
        cpu=job["cpu"],
        stopped=lambda: bool(stopped),
        finishing=control.finishing,
    )
    channel.send("outcome", outcome=run_trial(task, request, environment).to_data())


class ControlChannel:
    """What the supervisor says to a trial while it trains: `proceed` or `stop` after a report,
    `finish_early` at any time.

    A message and no signal: it waits for a worker that has not begun, and disturbs no process of the user's.

    Args:
        channel: To the supervisor.
    """

    def __init__(self, channel: Channel):
        self._channel = channel
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ)
        self._answers: list[str] = []
        self._finishing = False
        self._open = True

    def finishing(self) -> bool:
        """Whether the trial was asked to finish early. It never waits: it is called before every step."""
        while not self._finishing and self._open and self._selector.select(0):
            self._listen()
        return self._finishing

    def may_proceed(self) -> bool:
        """Wait for the answer to a report; no if the supervisor is gone."""
        while not self._answers and self._open:
            self._listen()
        return bool(self._answers) and self._answers.pop(0) == "proceed"

    def _listen(self) -> None:
        messages = self._channel.receive()
        self._open = messages is not None
        for message in messages or []:
            if message["kind"] == "finish_early":
                self._finishing = True
            else:
                self._answers.append(message["kind"])


def _stop_on_sigterm() -> list[bool]:
    """A list that is empty until somebody asks this process to stop; the handler does nothing else."""
    stopped: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return stopped


def plain_space(space: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters of the user's model as plain data, which keep what a tuple was meant for."""

    def plain(domain: Any) -> Any:
        if isinstance(domain, tuple) and len(domain) == 2:
            low, high = domain
            return {"low": low, "high": high, "integer": isinstance(low, int) and isinstance(high, int)}
        return domain

    return {name: plain(domain) for name, domain in space.items()}


def main() -> None:
    """A worker in a fresh process, where the fork server may not fork."""
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    job = json.loads(sys.argv[2])
    work(load(job["load"]), job, channel, seconds_since_process_start())


if __name__ == "__main__":
    main()
