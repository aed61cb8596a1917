"""The search space of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from autoaccel.core.catalog import Catalog
from autoaccel.core.facts import TaskFacts
from autoaccel.spaces.compression import compressing
from autoaccel.spaces.domains import model_domains
from autoaccel.spaces.space import SearchSpace

DEFAULT_SPACES = {"image": "vision", "tokens": "text", "table": "tabular", "series": "tabular"}


def run_space(
    given: str | None, catalog: Catalog, facts: TaskFacts, model_space: Mapping[str, Any], measures: Iterable[str]
) -> tuple[str, SearchSpace, list[str]]:
    """Return the name of a run's search space, the space as far as the task bears it, and what was left out.

    Args:
        given: The name or file that the user chose; None for the default of the kind of inputs.
        catalog: All techniques.
        facts: The facts of the task.
        model_space: The hyperparameters of the user's model.
        measures: What the run's goal asks to measure of models.
    """
    name = given or DEFAULT_SPACES[facts.kind]
    whole = SearchSpace.load(name, catalog).with_model(model_domains(model_space), facts.defaults)
    if given is None:
        whole = compressing(whole, measures)
    return name, *whole.for_task(facts.capabilities)
