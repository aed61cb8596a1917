"""DEHB (Awad et al. 2021), through its ask and tell."""

from __future__ import annotations

import contextlib
import io
import tempfile

import numpy as np

with contextlib.redirect_stdout(io.StringIO()):
    from dehb import DEHB

from benchmarks.search.peers.units import from_unit, to_unit
from benchmarks.search.trainings import ETA, RUNGS, Trainings, search


@search
def dehb(trainings: Trainings, seed: int) -> None:
    """Evolve populations on all rungs; the default takes the place of the first recipe."""
    problem = trainings.problem
    with tempfile.TemporaryDirectory() as folder:
        engine = DEHB(
            f=lambda config, fidelity: {}, dimensions=len(problem.domains), configspace=False, min_fidelity=1,
            max_fidelity=1 / RUNGS[0], eta=ETA, seed=seed, n_workers=1, save_freq="end", output_path=folder,
            log_level="ERROR",
        )  # fmt: skip
        job = engine.ask()
        first = [problem.default, *problem.known]
        while True:
            if first:
                job["config"] = np.array(to_unit(problem, first.pop(0)))
            length = float(job["fidelity"]) * RUNGS[0]
            loss = trainings.train(from_unit(problem, job["config"]), length)
            engine.tell(job, {"fitness": loss, "cost": length})
            job = engine.ask()
