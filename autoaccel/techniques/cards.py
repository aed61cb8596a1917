"""Cards that describe a technique to users: its purpose, its parameters and its measured effects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from autoaccel.core.catalog import Catalog, Domain, Parameter, TechniqueInfo
from autoaccel.core.codec import to_data
from autoaccel.core.schedules import Schedule
from autoaccel.techniques.effects import Effect

FAMILIES = ("data", "model", "optimization", "system")


def in_order(catalog: Catalog) -> list[TechniqueInfo]:
    """Return all techniques, sorted by family, category and name."""
    return sorted(catalog.values(), key=lambda info: (FAMILIES.index(info.family), info.category, info.name))


def summary_lines(catalog: Catalog) -> list[str]:
    """Return one line per technique, grouped under a line for each family."""
    lines: list[str] = []
    family = ""
    for info in in_order(catalog):
        if info.family != family:
            family = info.family
            lines += ["", family] if lines else [family]
        missing = "" if info.available else f"  (pip install 'autoaccel[{info.extra}]')"
        lines.append(f"  {info.name:24} {info.summary}{missing}")
    return lines


def card(info: TechniqueInfo, effects: Sequence[Effect]) -> dict[str, Any]:
    """Return a technique's card as plain data for JSON."""
    tags = {name: sorted(getattr(info, name)) for name in ("requires", "tags", "conflicts")}
    return {**to_data(info), **tags, "effects": [asdict(effect) for effect in effects]}


def card_lines(info: TechniqueInfo, effects: Sequence[Effect], others: Catalog) -> list[str]:
    """Return a technique's card as lines of text."""
    lines = [f"{info.name}: {info.summary}"]
    lines += [f"  {key:10} {text}" for key, text in facts(info, others).items()]
    if info.parameters:
        lines.append("  parameters")
        lines += [f"    {name:14} {parameter_text(p)}" for name, p in info.parameters.items()]
    lines.append("  measured alone against plain training" if effects else "  not measured")
    lines += [f"    {effect.task:10} {effect.budget:>11}  {effect}" for effect in effects]
    return lines


def facts(info: TechniqueInfo, others: Catalog) -> dict[str, str]:
    """Return the declarations of a technique as text by label, without those that do not apply."""
    found = {
        "family": f"{info.family}: {info.category}",
        "component": info.component,
        "hooks": ", ".join(info.hooks),
        "requires": words(info.requires),
        "tags": words(info.tags),
        "refuses": ", ".join(refused(info, others)),
        "extra": f"pip install 'autoaccel[{info.extra}]'" if info.extra else "",
        "processes": "" if info.parallel else "one only",
        "paper": info.paper,
    }
    return {key: text for key, text in found.items() if text}


def refused(info: TechniqueInfo, catalog: Catalog) -> list[str]:
    """Return the names of the techniques that it conflicts with, except those of its own component."""
    others = [
        other
        for other in catalog.values()
        if other is not info and not (info.component and other.component == info.component)
    ]
    return sorted(o.name for o in others if info.conflicts & o.tags or o.conflicts & info.tags)


def parameter_text(parameter: Parameter) -> str:
    """Format a parameter's default and domain."""
    scheduled = ", or a schedule" if parameter.scheduled else ""
    return f"{value_text(parameter.default)}  in {domain_text(parameter.domain)}{scheduled}"


def domain_text(domain: Domain) -> str:
    """Format a domain: its range or its options."""
    if domain.options:
        return ", ".join(map(str, domain.options))
    kind = " on a logarithmic scale" if domain.log else ""
    return f"{domain.low:g} to {domain.high:g}{kind}"


def value_text(value: object) -> str:
    """Format a parameter's value or schedule."""
    if isinstance(value, Schedule):
        return f"{value.start:g} to {value.end:g} over progress {value.since:g} to {value.until:g}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def words(names: Iterable[str]) -> str:
    """Join names in alphabetical order, with spaces instead of underscores."""
    return ", ".join(sorted(name.replace("_", " ") for name in names))
