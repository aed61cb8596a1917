"""What the JSON files of a run folder hold, as far as other code relies on it; they may hold more."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from annotated_types import Ge
from pydantic import ConfigDict, FiniteFloat
from typing_extensions import TypedDict

Data = dict[str, Any]
Number = FiniteFloat | None


class Open(TypedDict):
    """An object that may hold more than is listed."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]


class Account(Open):
    """`account.json`: the seconds that a run has spent."""

    seconds: NotRequired[Annotated[FiniteFloat, Ge(0)]]


class Training(Open):
    """What a training of one recipe was started with."""

    recipe: Data
    reference: str | None
    names: list[str]
    seed: int
    devices: str


class Config(Open, total=False):
    """`config.json`."""

    target: str
    budget: dict[str, FiniteFloat]
    begun: dict[str, FiniteFloat]
    reserve: FiniteFloat
    space: str | None
    model_space: Data
    goal: Data
    options: Data
    seed: int
    known: list[Data]
    training: Training
    identity: Data
    started: str
    environment: dict[str, str]
    folder: str


class Score(Open):
    """An evaluation."""

    metric: FiniteFloat
    loss: NotRequired[Number]
    standard_error: NotRequired[Number]


class Scored(Score):
    """A trial's evaluation."""

    trial: int
    origin: str


class Row(Scored):
    """A line of the leaderboard or the front."""

    budget: str
    summary: NotRequired[str]
    recipe: NotRequired[Data]


class Comparison(Open):
    """Two trials with the same budget."""

    budget: str
    winner: Scored
    plain: Scored
    gain: FiniteFloat


class Tested(Open):
    """A score on the test set."""

    metric: Number
    loss: NotRequired[Number]


class Kept(Open):
    """Why the weights are not the last ones."""

    why: str


class Final(Open):
    """A complete training."""

    budget: str
    validation: Score
    test: Tested | None
    cost: dict[str, Number]
    reason: str
    kept: NotRequired[Kept | None]


class Optimism(Open):
    """Validation minus test."""

    difference: FiniteFloat
    standard_error: Number


class DeliveredTrial(Open):
    """The trial that is delivered, if any."""

    what: str
    trial: int | None
    budget: NotRequired[str]
    metric: NotRequired[FiniteFloat]
    loss: NotRequired[Number]
    test: NotRequired[Tested | None]
    optimism: NotRequired[Optimism | None]


class Constraint(Open):
    """A constraint, and whether the delivered model keeps it."""

    constraint: str
    value: Number
    measured: Number
    kept: bool


class Seeds(Open):
    """The recipe against plain over several seeds."""

    gain: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    seeds: list[int]
    length: str


class Part(Open):
    """What the recipe is without one of its parts."""

    without: str
    metric: FiniteFloat
    loss: FiniteFloat
    noise: Number


class Weights(Open):
    """The weights that lie in the run folder: whose they are, and their checksum."""

    trial: int
    sha256: str
    bytes: int


class Metric(Open):
    """The metric: its name, and `max` or `min`."""

    name: str
    direction: NotRequired[str]


class Result(Open, total=False):
    """`result.json`; empty if there is none."""

    status: str
    headline: str
    evidence: str
    metric: Metric
    recipe: Data
    delivered: DeliveredTrial
    final: Final | None
    comparison: Comparison | None
    seeds: Seeds | None
    parts: list[Part] | None
    constraints: list[Constraint]
    front: list[Row]
    objective: tuple[str, str]
    leaderboard: list[Row]
    failures: list[str]
    plan: list[str]
    trials: dict[str, int]
    spent: dict[str, dict[str, Number]]
    budget: dict[str, FiniteFloat]
    paths: dict[str, str]
    load: str
    target: str
    folder: str
    environment: dict[str, str]
    weights: Weights | None
