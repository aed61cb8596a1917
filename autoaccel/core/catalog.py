"""Known techniques and their compatibility rules, as data that a process without torch can read.

Each technique class has a `TechniqueInfo`. The process that imports the classes sends these to the process that
plans the search. Techniques do not name each other: each declares its own tags and the tags that it conflicts with,
and `check` compares them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any

from autoaccel.core.schedules import Option, Schedule, Value
from autoaccel.core.values import LARGEST_INTEGER, Plain, frozen
from autoaccel.errors import suggestion

TAGS: Mapping[str, str] = MappingProxyType(
    {
        "adapts": "trains small matrices beside frozen weights",
        "anneals": "lowers the learning rate towards the end",
        "averages": "evaluates an average of the weights",
        "changes_shapes": "changes the shape of the inputs",
        "compiles": "compiles the model as it is at the start",
        "distills": "learns the outputs of another model for each sample as it is",
        "fakes_precision": "trains rounded weights",
        "filters_batches": "leaves out a part of each batch by the loss of its samples",
        "freezes": "stops training a part of the weights",
        "initializes": "sets the first weights",
        "masks_weights": "keeps chosen weights at zero",
        "mixes": "blends samples, whose loss says nothing of a single one",
        "own_schedule": "brings a schedule and an average of its own",
        "precision": "sets the number format",
        "pulls_weights": "pulls the weights towards older ones",
        "recomputes": "computes activations twice",
        "recomputes_gradients": "computes the gradient of a step again at other weights",
        "replaces_loss": "trains on a loss of its own",
        "reshapes_weights": "changes the shapes of the weights",
        "scales_gradients": "scales the gradients",
        "selects_by_loss": "chooses the samples of a pass by their loss",
        "skips_blocks": "leaves out blocks of the model",
        "skips_tokens": "leaves out tokens inside the model",
        "smooths": "softens the targets",
    }
)
"""The meaning of each tag, for messages. Techniques may declare other tags."""
MOST = 2**31 - 1
"""The largest count that makes sense, such as that of a batch's samples: what torch can index with 32 bits."""
REFERENCE = "reference"
"""The capability that techniques require to learn from a finished model: available once a trial is complete."""


@dataclass(frozen=True)
class Domain:
    """The allowed values of one parameter: a range, or a list of options.

    Args:
        low: Smallest value of a range.
        high: Largest value of a range.
        log: Whether the range is searched on a logarithmic scale.
        integer: Whether only integers are allowed.
        options: The allowed values; empty for a range.
        when: The parameters beside this one that decide whether there is one: it is proposed only where each has a
            value in the domain given here.
    """

    low: int | float = 0.0
    high: int | float = 1.0
    log: bool = False
    integer: bool = False
    options: tuple[Annotated[Any, Plain], ...] = ()
    when: Mapping[str, Domain] = field(default_factory=dict)

    def option(self, value: object) -> Option:
        """Return the option that equals `value`, where a list equals a tuple of the same parts.

        Raises:
            ValueError: If there is none.
        """
        for option in self.options:
            if frozen(option) == frozen(value):
                found: Option = option
                return found
        raise ValueError(f"{value!r} is not one of {', '.join(map(str, self.options))}")

    def fault(self, value: object) -> str | None:
        """Return why `value` is not accepted, or None if it is. Values outside the range are accepted."""
        if self.options:
            try:
                self.option(value)
            except ValueError as error:
                return f"= {error}"
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"= {value!r} is not a number"
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            return "is beyond 2^63 - 1"
        if not math.isfinite(value):
            return f"= {value!r} is not finite"
        if self.integer and value != int(value):
            return f"= {value!r} is not a whole number"
        return None

    def contains(self, value: object) -> bool:
        """Return whether the search could propose `value`."""
        if self.options or self.fault(value):
            return not self.fault(value)
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class Parameter:
    """One parameter of a technique: its default, the domain to search, and what makes sense at all.

    A recipe may use values outside the domain, which is only what is worth searching. What the domain says of them
    all the same: what is searched on a logarithmic scale is more than 0, what is not negative in the domain never
    is, a range inside [0, 1] is one of shares, and a count is at least 1 if 0 is not worth searching.

    Args:
        default: Its value where a recipe says nothing.
        domain: The values worth searching.
        scheduled: Whether it takes a schedule too.
        least: The smallest value that makes sense, where the domain does not say it.
        most: The largest value that makes sense, where the domain does not say it.
    """

    default: Annotated[Value, Plain]
    domain: Domain
    scheduled: bool = False
    least: float | None = None
    most: float | None = None

    def fault(self, value: object, end: bool = False) -> str | None:
        """Return why `value` is not accepted, or None if it is.

        Args:
            value: A fixed value.
            end: Whether it is where a schedule starts or ends, which may be 0 for what is otherwise more than 0.
        """
        domain = self.domain
        if (found := domain.fault(value)) or domain.options or not isinstance(value, int | float):
            return found
        positive = domain.log and not domain.integer and self.least is None
        least, most = self.limits
        if least <= value <= most and (value > 0 or end or not positive):
            return None
        bounds = "more than 0" if positive and not end else "" if least == -math.inf else f"at least {least:g}"
        upper = "" if most == math.inf else f"at most {most:.10g}"
        return f"= {value!r} makes no sense; accepted is {' and '.join(filter(None, (bounds, upper)))}"

    @property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest value that make sense."""
        domain = self.domain
        least = -math.inf if domain.low < 0 else float(domain.integer and domain.low >= 1)
        share = not domain.log and domain.low >= 0 and domain.high <= 1
        most = MOST if domain.integer else 1.0 if share else math.inf
        return least if self.least is None else self.least, most if self.most is None else self.most


@dataclass(frozen=True)
class TechniqueInfo:
    """The declaration of one technique.

    Args:
        name: Its name in recipes and search spaces.
        family: data, model, optimization or system.
        category: Its section in the survey (arXiv 2304.03589).
        summary: One line that says what it does.
        component: The component that it fills, one of `COMPONENTS`; empty for an optional technique.
        parameters: Its parameters by name.
        requires: Capabilities that the task must have, such as `image`, `tokens` or `classes`.
        tags: What it does to the training; other techniques may conflict with these tags.
        conflicts: Tags of techniques that cannot be in the same recipe.
        order: Techniques with a lower order run first in every hook.
        hooks: The training hooks that it implements, in the order in which they run.
        parallel: Whether it works when several processes share each batch.
        extra: The package extra that it needs, if any.
        available: Whether that extra is installed.
        paper: The source.
    """

    name: str
    family: str
    category: str
    summary: str = ""
    component: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    requires: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    conflicts: frozenset[str] = frozenset()
    order: int = 50
    hooks: tuple[str, ...] = ()
    parallel: bool = True
    extra: str = ""
    available: bool = True
    paper: str = ""


Catalog = Mapping[str, TechniqueInfo]


def check(
    chosen: Mapping[str, Mapping[str, Value]], catalog: Catalog, capabilities: Iterable[str] | None = None
) -> list[str]:
    """Return the faults of a choice of techniques, one line each; empty if it can be trained.

    Args:
        chosen: Parameters by technique, including those that fill components.
        catalog: All known techniques.
        capabilities: What the task offers; None skips this check.
    """
    known = {name: catalog[name] for name in chosen if name in catalog}
    faults = [f"{name}: unknown technique{suggestion(name, catalog)}" for name in chosen if name not in catalog]
    for name, info in known.items():
        faults += parameter_faults(info, chosen[name])
        if not info.available:
            faults.append(f"{name}: not installed; pip install 'autoaccel[{info.extra}]'")
        if capabilities is not None and (missing := info.requires - set(capabilities)):
            faults.append(f"{name}: needs {_words(missing)}, which this task does not offer")
    return faults + _conflicts(list(known.values()))


def parameter_faults(info: TechniqueInfo, parameters: Mapping[str, object]) -> list[str]:
    """Return the faults in the parameters of one technique, one line each."""
    faults = []
    for key, given in parameters.items():
        if key not in info.parameters:
            faults.append(f"{info.name}.{key}: unknown parameter{suggestion(key, info.parameters)}")
            continue
        parameter = info.parameters[key]
        if isinstance(given, Schedule):
            if not parameter.scheduled:
                faults.append(f"{info.name}.{key}: takes a fixed value, not a schedule")
            ends = {"start": given.start, "end": given.end}
            found = {part: parameter.fault(value, end=True) for part, value in ends.items()}
            faults += [f"{info.name}.{key}.{part} {fault}" for part, fault in found.items() if fault]
        elif fault := parameter.fault(given):
            faults.append(f"{info.name}.{key} {fault}")
    return faults


def misplaced(components: Mapping[str, str], techniques: Iterable[str], catalog: Catalog) -> list[str]:
    """Return the techniques that are known, but in another's place, one line each.

    Args:
        components: The name of the technique that fills each component.
        techniques: The optional techniques.
        catalog: All known techniques.
    """
    wrong = [
        f"{part}: {name} is none"
        for part, name in components.items()
        if _component(name, catalog) not in (part, None)
    ]
    taken = {name: _component(name, catalog) for name in techniques}
    return wrong + [
        f"techniques.{name}: is one of {part}, of which there is just one" for name, part in taken.items() if part
    ]


def _component(name: str, catalog: Catalog) -> str | None:
    return catalog[name].component if name in catalog else None


def clashes(names: Iterable[str], catalog: Catalog) -> dict[str, frozenset[str]]:
    """Return for each of some known techniques those of them that cannot be in the same recipe."""
    infos = [catalog[name] for name in names]
    return {a.name: frozenset(b.name for b in infos if _clash(a, b) or _clash(b, a)) for a in infos}


def _conflicts(infos: list[TechniqueInfo]) -> list[str]:
    faults = []
    for i, a in enumerate(infos):
        for b in infos[i + 1 :]:
            for one, other in ((a, b), (b, a)):
                if why := _clash(one, other):
                    does = " and ".join(sorted(TAGS.get(tag, _words([tag])) for tag in why))
                    faults.append(
                        f"{a.name} and {b.name} do not work together: {other.name} {does}, "
                        f"which {one.name} conflicts with"
                    )
                    break
    return faults


def _clash(one: TechniqueInfo, other: TechniqueInfo) -> frozenset[str]:
    return one.conflicts & other.tags


def _words(words: Iterable[str]) -> str:
    return " and ".join(sorted(word.replace("_", " ") for word in words))
