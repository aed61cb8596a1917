"""Train in several processes that share each batch, and write what came of it.

    torchrun --nproc_per_node 2 processes_run.py FOLDER NAME ...

In FOLDER, NAME.py is a task and NAME.json a request. The first process writes NAME-outcome.json and the weights.
"""

import json
import sys
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, PartialState

from autoaccel.core.clock import SimulatedClock
from autoaccel.core.codec import from_data, to_data
from autoaccel.core.trial import TrialRequest
from autoaccel.training.data.discovery import load_target, resolve
from autoaccel.training.run_trial import run_trial
from autoaccel.training.trial_environment import TrialEnvironment


def main() -> None:
    """Run the trials."""
    torch.set_num_threads(1)
    state, folder = PartialState(cpu=True), Path(sys.argv[1])
    for name in sys.argv[2:]:
        AcceleratorState._reset_state()
        request = from_data(TrialRequest, json.loads((folder / f"{name}.json").read_text()))
        environment = TrialEnvironment(SimulatedClock(), 0.0, lambda report: True, folder / name, cpu=True)
        outcome = run_trial(resolve(load_target(str(folder / f"{name}.py"))), request, environment)
        if state.is_main_process:
            (folder / f"{name}-outcome.json").write_text(json.dumps(to_data(outcome)))
        state.wait_for_everyone()


if __name__ == "__main__":
    main()
