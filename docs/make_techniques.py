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

Made by `python docs/make_techniques.py` from the code; do not edit. `autoaccel techniques NAME` shows the same,
but for notes.

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

NOTES = {
    "local_sgd": """In one process it changes nothing: a search whose trials are single processes learns nothing.
A perceptron and a convolutional net with BatchNorm on scikit-learn's digits, 200 steps of AdamW at 5e-3 with
batches of 128, 6 seeds, median and range on the test set (`python -m benchmarks.techniques.local_sgd`):

| net | processes | | accuracy | loss | lower in | bytes |
| --- | --- | --- | --- | --- | --- | --- |
| perceptron | 2 | shared gradients | 0.964 (0.954 to 0.978) | 0.139 (0.113 to 0.161) | 0 of 6 | x 1.00 |
| perceptron | 2 | every 0.01 after 0.25 | 0.965 (0.952 to 0.976) | 0.144 (0.117 to 0.166) | 0 of 6 | x 0.62 |
| perceptron | 2 | every 0.05 after 0 | 0.961 (0.950 to 0.976) | 0.156 (0.131 to 0.185) | 0 of 6 | x 0.11 |
| perceptron | 2 | every 0.05 after 0.5 | 0.965 (0.956 to 0.980) | 0.140 (0.114 to 0.162) | 0 of 6 | x 0.56 |
| BatchNorm | 2 | shared gradients | 0.988 (0.978 to 0.992) | 0.059 (0.049 to 0.071) | 0 of 6 | x 1.00 |
| BatchNorm | 2 | every 0.01 after 0.25 | 0.988 (0.978 to 0.992) | 0.059 (0.050 to 0.072) | 2 of 6 | x 0.63 |
| BatchNorm | 2 | every 0.05 after 0 | 0.986 (0.978 to 0.992) | 0.066 (0.056 to 0.079) | 0 of 6 | x 0.11 |
| BatchNorm | 2 | every 0.05 after 0.5 | 0.988 (0.978 to 0.992) | 0.058 (0.049 to 0.071) | 3 of 6 | x 0.56 |
| perceptron | 4 | shared gradients | 0.964 (0.954 to 0.978) | 0.139 (0.113 to 0.161) | 0 of 6 | x 1.00 |
| perceptron | 4 | every 0.01 after 0.25 | 0.963 (0.950 to 0.976) | 0.150 (0.124 to 0.175) | 0 of 6 | x 0.62 |
| perceptron | 4 | every 0.05 after 0 | 0.949 (0.940 to 0.974) | 0.181 (0.159 to 0.214) | 0 of 6 | x 0.11 |
| perceptron | 4 | every 0.05 after 0.5 | 0.965 (0.954 to 0.978) | 0.141 (0.115 to 0.165) | 0 of 6 | x 0.56 |
| BatchNorm | 4 | shared gradients | 0.986 (0.978 to 0.992) | 0.059 (0.049 to 0.071) | 0 of 6 | x 1.00 |
| BatchNorm | 4 | every 0.01 after 0.25 | 0.986 (0.978 to 0.992) | 0.061 (0.051 to 0.075) | 1 of 6 | x 0.63 |
| BatchNorm | 4 | every 0.05 after 0 | 0.984 (0.980 to 0.992) | 0.081 (0.068 to 0.091) | 0 of 6 | x 0.11 |
| BatchNorm | 4 | every 0.05 after 0.5 | 0.987 (0.978 to 0.992) | 0.058 (0.049 to 0.071) | 3 of 6 | x 0.56 |

*Lower in* counts the seeds whose loss is lower than with shared gradients. At equal steps it is level at best.
What it saves are bytes: what is left is about `after` + (1 - `after`) times the averages per step, and of 200
steps `every` = 0.01, the default, is two. A training far from its end loses more: with `--lr 1e-3` the
perceptron's loss is 0.664 with shared gradients, and in four processes 0.696 alone from 0.5 on, 0.788 from 0.25
and 0.963 from the start; it may be that Adam takes shorter steps where its gradients, those of smaller shares, are
noisier. The default, `every` 0.01 `after` 0.5, was not measured; it sends 0.75 of the bytes. Alone, a step has one
message of three numbers, on progress and a stop (and another where the budget limits FLOPs); with shared gradients
it has four or more. The state of each optimizer stays where it is.
"""
}
"""What is said of a technique that the table cannot show, which trains in one process."""


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
            parts += ["\n".join(lines) + "\n", NOTES.get(info.name) or _effects(effects.get(info.name, []))]
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
