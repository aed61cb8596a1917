"""Writes docs/techniques.md from the techniques themselves and what was measured of them.

python docs/make_techniques.py
"""

from pathlib import Path
from statistics import median

from autoaccel.search_spaces import names, read

from autoaccel.core.recipe import COMPONENTS
from autoaccel.techniques.cards import FAMILIES, facts, in_order, parameter_text
from autoaccel.techniques.effects import Effect, helpful, read_effects
from autoaccel.techniques.registry import catalog

PAGE = Path(__file__).parent / "techniques.md"
HEAD = """# Techniques

Made by `python docs/make_techniques.py` from the code; do not edit. `autoaccel techniques NAME` shows the same.

Each effect is that of the technique alone, with its default parameters, on top of the better form of plain
training (AdamW 1e-3, batch 64, linear decay or a constant rate), paired by seed: the mean difference of the
metric on the test set, positive is better, with its 95 % interval (Student's t). *Level* means that the interval
holds zero. With so many intervals, one in twenty misses zero by chance. *Seconds* and *FLOPs* are ratios to plain
training. Trainings at equal FLOPs ran two at a time with one thread each, those at equal seconds alone with two.

Measured by `python benchmarks/techniques/table.py --write` with its small budgets, on two cores without a GPU;
`--scale 4 --seeds 10` sees effects about a third as large. A technique that is level or worse here may still help a
longer training, another net or a GPU. That augmentation pays off after many passes is in the rows of 3.96 TFLOPs,
43 passes instead of 7: `--tasks image --scale 6 --no-seconds --only crop cutout cutmix trivial_augment dropout ema`
and `--only flip mixup --seeds 10`, after 5 seeds had left these two at the edge of what can be seen.
"""


def page() -> str:
    """The whole page."""
    known, effects = catalog(), read_effects()
    parts = [HEAD, _precision([e for each in effects.values() for e in each]), _default_spaces(effects)]
    for family in FAMILIES:
        parts.append(f"## {family.capitalize()}\n")
        for info in (info for info in in_order(known) if info.family == family):
            lines = [f"### {info.name}\n", f"{info.summary}\n"]
            lines += [f"- {key}: {text}" for key, text in facts(info, known).items() if key != "family"]
            lines += [f"- survey: {info.category}"]
            lines += [f"- `{name}`: {parameter_text(p)}" for name, p in info.parameters.items()]
            parts += ["\n".join(lines) + "\n", _effects(effects.get(info.name, []))]
    return "\n".join(parts).rstrip() + "\n"


def _precision(effects: list[Effect]) -> str:
    lines = ["What is too small to be seen (half of an interval, median over the techniques):\n"]
    seen = [e for e in effects if e.seeds > 1]
    for task, budget in dict.fromkeys((e.task, e.budget) for e in seen):
        rows = [e for e in seen if (e.task, e.budget) == (task, budget)]
        half = median(e.half for e in rows)
        lines.append(f"- {task}: {half:.4f} {rows[0].metric}, {budget}, {rows[0].seeds} seeds")
    return "\n".join(lines) + "\n"


def _default_spaces(effects: dict[str, list[Effect]]) -> str:
    offered = {
        name: {technique for part in (*COMPONENTS, "techniques") for technique in read(name).get(part) or {}}
        for name in names()
    }
    helpless = sorted(name for name, each in effects.items() if not helpful(each))
    kept = [name for name in helpless if any(name in space for space in offered.values())]
    return (
        f"Better nowhere in this table, and in no shipped space but for those named next: "
        f"{', '.join(helpless) or 'none'}.\n\nIn a shipped space all the same, for what the table cannot show "
        f"(longer trainings, fine-tuning, GPUs, hyperparameters that interact): {', '.join(kept) or 'none'}.\n"
    )


def _effects(effects: list[Effect]) -> str:
    if not effects:
        return "Not measured.\n"
    lines = ["| task | budget | effect | seconds | FLOPs | |", "| --- | --- | --- | --- | --- | --- |"]
    for e in effects:
        if e.seeds < 2:
            lines.append(f"| {e.task} | {e.budget} | none | | | {e.note} |")
            continue
        effect = f"{e.gain:+.4f} ± {e.half:.4f} {e.metric}, {e.verdict}"
        lines.append(f"| {e.task} | {e.budget} | {effect} | x {e.seconds:.2f} | x {e.flops:.2f} | {e.note} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
