"""The searches of the benchmark by name: autoaccel's, the same with a part taken out, and the peers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module

from benchmarks.search.trainings import Search

OURS = "autoaccel"
METHODS: Mapping[str, str] = {
    OURS: "ours:tune",
    f"{OURS}-no-model": "ablations:no_model",
    f"{OURS}-no-trust": "ablations:no_trust",
    f"{OURS}-no-random": "ablations:no_random",
    f"{OURS}-tpe": "ablations:tpe",
    "default": "peers.simple:default",
    "random": "peers.simple:random",
    "one-epoch": "peers.simple:one_epoch",
    "asha": "peers.simple:asha",
    "hyperband": "peers.simple:hyperband",
    "tpe": "peers.with_optuna:tpe",
    "gp": "peers.with_optuna:gp",
    "tpe-hyperband": "peers.with_optuna:tpe_hyperband",
    "bohb": "peers.with_hpbandster:bohb",
    "dehb": "peers.with_dehb:dehb",
    "smac": "peers.with_smac:smac",
    "flaml": "peers.with_flaml:flaml",
    "neps": "peers.with_neps:neps",
}
"""The module and the function of each. Modules are only loaded if asked for: peers may not be installed."""


@cache
def find(name: str) -> Search:
    """Return the search of a name in `METHODS`.

    Raises:
        ImportError: If its library is not installed.
    """
    module, function = METHODS[name].split(":")
    found: Search = getattr(import_module(f"benchmarks.search.{module}"), function)
    return found
