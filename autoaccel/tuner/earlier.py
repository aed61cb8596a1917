"""What a run has from earlier ones, and what it leaves to later ones. No run fails for it, but for bad input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoaccel.core.budget import Budget
from autoaccel.core.clock import timestamp
from autoaccel.core.facts import TaskFacts
from autoaccel.core.recipe import Recipe
from autoaccel.errors import StoreError, UsageError
from autoaccel.export.sources import declared
from autoaccel.search.base import Proposal, Search
from autoaccel.spaces.space import SearchSpace
from autoaccel.storage.memory import memory_file, read_memory, remember
from autoaccel.tuner.config import read_known, warm_start
from autoaccel.tuner.known import learned, proposals, ranked, sketch, warm_recipes
from autoaccel.tuner.options import Options


class Earlier:
    """Connects a run with the memory and with the run that it starts from.

    Args:
        options: The user's options.
        budget: The budget of the run.
        config: The configuration of the run that is resumed; empty for a new run.

    Raises:
        UsageError: If there is no finished run to start from.
    """

    def __init__(self, options: Options, budget: Budget, config: Mapping[str, Any]):
        self._options, self._budget, self._config = options, budget, config
        self._memory = options.memory
        self._warm: list[Recipe] = []
        if options.warm_start is not None and not config:
            self._warm = warm_recipes(Path(options.warm_start))
        elif options.warm_start is not None and config.get("warm_start") != warm_start(options):
            began = config.get("warm_start") or "no other run"
            raise UsageError(f"--warm-start {options.warm_start}: the run that is resumed was started from {began}")

    def known(self, space: SearchSpace, facts: TaskFacts) -> tuple[list[Proposal], list[str]]:
        """Return the recipes to try early, and what went wrong, in lines to show.

        A resumed run has those that it began with: its decisions depend on them.
        """
        if self._config:
            return read_known(self._config), []
        warm = proposals(self._warm, space, "warm start")
        notes = [] if warm or self._options.warm_start is None else [self._nothing_fits()]
        found, more = self._from_memory(space, facts, warm) if self._memory else ([], [])
        return [*warm, *found], [*notes, *more]

    def _nothing_fits(self) -> str:
        return f"--warm-start {self._options.warm_start}: no recipe of that run but plain fits this task and space"

    def _from_memory(
        self, space: SearchSpace, facts: TaskFacts, warm: Sequence[Proposal]
    ) -> tuple[list[Proposal], list[str]]:
        try:
            path = memory_file()
            memory, unread = read_memory(path) if path else ([], 0)
        except StoreError as error:
            self._memory = False  # one warning is enough
            return [], [f"the memory of earlier runs is left out: {error}"]
        notes = [f"{path}: lines skipped, since they are broken or of a newer version: {unread}"] if unread else []
        recipes = [known.recipe for known in ranked(memory, sketch(facts, self._budget))]
        return proposals(recipes, space, "memory", [each.recipe for each in warm], alike=False), notes

    def remember(self, search: Search) -> list[str]:
        """Write what a finished run has found out to the memory; return what went wrong."""
        if not self._memory:
            return []
        try:
            found = learned(search, self._budget, declared(), timestamp()[:10])
            if found and (path := memory_file()):
                remember(path, found)
        except StoreError as error:
            return [f"this run is not remembered: {error}"]
        return []
