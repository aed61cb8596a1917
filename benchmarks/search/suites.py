"""The suites of the benchmark, by name: tables and surrogates of learning curves, and synthetic ones.

`DIR` is the folder of `--data`: `lcbench/`, `taskset/` and `vlm_scan_bench/` lie in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from random import Random

import numpy as np

from autoaccel.core.catalog import Domain
from autoaccel.spaces.choosers import draw
from benchmarks.search.problems import Problem, Values
from benchmarks.search.recorded import portfolio, recorded

LCBENCH = {
    "batch_size": Domain(16, 512, log=True, integer=True),
    "learning_rate": Domain(1e-4, 1e-1, log=True),
    "momentum": Domain(0.1, 0.99),
    "weight_decay": Domain(1e-5, 1e-1, log=True),
    "num_layers": Domain(1, 5, integer=True),
    "max_units": Domain(64, 1024, log=True, integer=True),
    "max_dropout": Domain(0.0, 1.0),
}
EPOCHS = 52


def lcbench(data: Path) -> list[Problem]:
    """YAHPO's surrogate of LCBench: multilayer perceptrons on tables, validation error in percent by seconds.

    A full training takes as many seconds as the median of random recipes takes for its 52 epochs; one that is
    faster is done sooner. Only the tasks of the development split.
    """
    folder = data / "lcbench"
    numbers = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]
    default = {"batch_size": 64, "learning_rate": 1e-2, "momentum": 0.9, "weight_decay": 1e-4, "num_layers": 3,
               "max_units": 256, "max_dropout": 0.2}  # fmt: skip
    tasks = json.loads((folder / "split.json").read_text())["development"]
    return [
        Problem("lcbench", task, LCBENCH, default, partial(_lcbench_curve, str(folder), numbers[task]), True)
        for task in tasks
    ]


@cache
def _session(folder: str) -> object:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(f"{folder}/model.onnx", options)


def _lcbench_curve(folder: str, task: int, values: Values, length: float) -> Callable[[float], float]:
    seconds, accuracy = _lcbench(folder, task, values)
    return _between(seconds / _lcbench_seconds(folder, task), 100.0 - accuracy)


@cache
def _lcbench_seconds(folder: str, task: int) -> float:
    source = Random(0)
    drawn = ({name: draw(domain, source) for name, domain in LCBENCH.items()} for _ in range(200))
    return float(np.median([_lcbench(folder, task, values)[0][-1] for values in drawn]))


def _lcbench(folder: str, task: int, values: Values) -> tuple[np.ndarray, np.ndarray]:
    epochs = np.arange(1, EPOCHS + 1, dtype=np.float32)[:, None]
    given = np.float32([[values[name] for name in LCBENCH]]).repeat(EPOCHS, 0)
    inputs = {"x_cat": np.full((EPOCHS, 1), task, np.int32), "x_cont": np.hstack([epochs, given])}
    found = _session(folder).run(None, inputs)[0]  # type: ignore[attr-defined]
    return np.maximum.accumulate(np.maximum(found[:, 0], 1e-3)), found[:, 1]


def _between(lengths: np.ndarray, losses: np.ndarray) -> Callable[[float], float]:
    return lambda length: float(np.interp(length, lengths, losses))


NEIGHBOURS = 4


def taskset(data: Path) -> list[Problem]:
    """TaskSet: 1000 recorded recipes of Adam with extras on each of six small recurrent nets.

    Between recorded recipes, the logarithm of the loss is interpolated by inverse squared distance.
    """
    return [_taskset_problem(path) for path in sorted((data / "taskset").glob("*.npz"))]


def _taskset_problem(path: Path) -> Problem:
    table = np.load(path)
    names = [str(name) for name in table["hp_names"]]
    columns = {name: table["hp"][:, index] for index, name in enumerate(names)}
    # Momentum is spread like 1 - beta: so the nearest recorded recipe is near in effect.
    scaled = {n: np.log(1 - c) if n.startswith("beta") else np.log(c) for n, c in columns.items()}
    low, span = {n: c.min() for n, c in scaled.items()}, {n: np.ptp(c) for n, c in scaled.items()}
    points = np.stack([(scaled[n] - low[n]) / span[n] for n in names], 1)
    domains = {
        n: Domain(float((1 - c).min()), float((1 - c).max()), log=True) if n.startswith("beta")
        else Domain(float(c.min()), float(c.max()), log=True)
        for n, c in columns.items()
    }  # fmt: skip
    losses = table["valid"]

    def curve(values: Values, length: float) -> Callable[[float], float]:
        point = np.array([(math.log(values[n]) - low[n]) / span[n] for n in names])
        distances = ((points - point) ** 2).sum(1)
        nearest = distances.argsort()[:NEIGHBOURS]
        weights = 1 / (distances[nearest] + 1e-9)
        return _until_it_diverges(np.exp(weights @ np.log(losses[nearest]) / weights.sum()))

    default = {"learning_rate": 1e-3, "beta1": 0.1, "beta2": 0.001, "epsilon": 1e-8, "l1": 1e-8, "l2": 1e-8,
               "linear_decay": 1e-7, "exponential_decay": 1e-6}  # fmt: skip
    return Problem("taskset", path.stem.split("imdb_")[1], domains, _clipped(default, domains), curve, True)


def _until_it_diverges(losses: np.ndarray) -> Callable[[float], float]:
    """A loss far beyond chance (.693) has diverged too."""
    bad = ~(losses < 10.0)
    ends = int(bad.argmax()) if bad.any() else len(losses)
    lengths = np.arange(len(losses)) / (len(losses) - 1)
    return lambda length: (
        float(np.interp(length, lengths, losses)) if length * (len(losses) - 1) < ends else math.nan
    )


def _clipped(values: Values, domains: Mapping[str, Domain]) -> Values:
    return {name: min(max(given, domains[name].low), domains[name].high) for name, given in values.items()}


OPENCLIP = {
    "lr": Domain(1e-5, 5e-2, log=True),
    "wd": Domain(1e-6, 0.2, log=True),
    "beta1": Domain(0.9, 0.99),
    "beta2": Domain(0.95, 0.999),
    "eps": Domain(1e-8, 1e-6, log=True),
    "warmup_fraction": Domain(0.0, 0.75),
    "vision_width": Domain(32, 512, log=True, integer=True),
    "text_width": Domain(32, 512, log=True, integer=True),
}
CLIP_TASKS = ((2048, 1e7), (2048, 1e8), (8192, 3e7), (8192, 2e8))
"""Batch sizes, of which a contrastive loss depends, and GFLOPs of a full training."""


def openclip(data: Path) -> list[Problem]:
    """A surrogate of 1366 contrastive trainings, each annealed to its own budget: widths of the model, optimizer
    and schedule are searched, and the samples follow from the compute of a training."""
    default = {"lr": 5e-4, "wd": 0.1, "beta1": 0.9, "beta2": 0.98, "eps": 1e-6, "warmup_fraction": 0.1,
               "vision_width": 256, "text_width": 256}  # fmt: skip
    return [
        Problem("openclip", f"batch{batch}-{full:.0e}", OPENCLIP, default,
                partial(_clip_curve, str(data), batch, full), False)
        for batch, full in CLIP_TASKS
    ]  # fmt: skip


@cache
def _clip_model(data: str) -> Callable[[np.ndarray], np.ndarray]:
    import joblib
    import pandas
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kept = Path(__file__).parents[2] / "runs" / "search" / "openclip.joblib"
    if not kept.exists():
        rows = pandas.read_csv(Path(data) / "vlm_scan_bench" / "runs.csv.gz")
        ends = rows.sort_values("epoch").groupby("config_id").tail(1)
        inputs = _clip_inputs(ends[list(OPENCLIP)].to_numpy(), ends["global_batch_size"].to_numpy(),
                              ends["compute_seen"].to_numpy())  # fmt: skip
        models = [
            make_pipeline(StandardScaler(), MLPRegressor(
                hidden_layer_sizes=(64, 64), alpha=1e-2, max_iter=3000, random_state=seed, early_stopping=True,
                n_iter_no_change=50,
            ))
            for seed in range(5)
        ]  # fmt: skip
        kept.parent.mkdir(parents=True, exist_ok=True)
        joblib.dump([model.fit(inputs, np.log(ends["val_loss"])) for model in models], kept)
    fitted = joblib.load(kept)
    return lambda inputs: np.exp(np.mean([model.predict(inputs) for model in fitted], 0))


def _clip_inputs(values: np.ndarray, batch: object, compute: object) -> np.ndarray:
    scaled = [
        np.log(column) if domain.log else column for column, domain in zip(values.T, OPENCLIP.values(), strict=True)
    ]
    size = np.broadcast_to(np.log(np.asarray(batch, float)), len(values))
    return np.stack([*scaled, size, np.broadcast_to(np.log(np.asarray(compute, float)), len(values))], 1)


def _clip_curve(data: str, batch: int, full: float, values: Values, length: float) -> Callable[[float], float]:
    """The loss along the way is that of a training annealed to there: the surrogate knows only ends."""
    given = np.array([[values[name] for name in OPENCLIP]])
    compute = full * np.geomspace(0.001, 1, 13)
    losses = _clip_model(data)(_clip_inputs(given.repeat(13, 0), batch, compute))
    return lambda progress: float(np.interp(math.log(max(length * progress, 1e-3)), np.log(compute / full), losses))


SYNTHETIC = {**{f"x{i}": Domain(0.0, 1.0) for i in range(5)}, "regularization": Domain(0.0, 1.0)}


def synthetic(data: Path) -> list[Problem]:
    """Power laws of the length with noise, regions that diverge, and a regularization that pays only late."""
    return [_synthetic_problem(seed) for seed in range(8)]


def _synthetic_problem(seed: int) -> Problem:
    source = Random(seed)
    optimum = {name: source.random() for name in SYNTHETIC}
    weight = {name: source.choice((0.05, 0.2, 1.0)) for name in SYNTHETIC}
    noise, late = 0.01 * source.choice((0.5, 1.0, 2.0)), source.choice((0.0, 0.1, 0.2))

    def curve(values: Values, length: float) -> Callable[[float], float]:
        rest = sum(weight[n] * (values[n] - optimum[n]) ** 2 for n in SYNTHETIC if n != "regularization")
        strength = values["regularization"]
        lucky = Random(repr((seed, sorted(values.items()), length))).gauss(0, noise)
        if values["x0"] > 0.9:
            return lambda progress: math.nan

        def loss(progress: float) -> float:
            spent = max(length * progress, 1e-3)
            fits = 0.3 * spent ** -(0.3 - 0.1 * values["x1"])
            helps = late * strength * (math.log(spent) / math.log(30) + 0.3)
            return 1.0 + rest + fits - helps + lucky

        return loss

    default = {name: 0.0 if name == "regularization" else 0.5 for name in SYNTHETIC}
    return Problem("synthetic", f"s{seed}", SYNTHETIC, default, curve, False)


LATE = {**{f"x{i}": Domain(0.0, 1.0) for i in range(4)}, "regularization": Domain(0.0, 1.0)}
PASSES = 43
"""Passes over the data of a full training, the longest that was recorded with regularization and without."""
LEVEL, PAYS, BEST = 7, 0.018, 0.7
"""Passes at which regularization makes no difference, what it gains with `PASSES`, and its best strength."""
LUCK = 0.002
"""Standard deviation between trainings alike."""


def late(data: Path) -> list[Problem]:
    """Errors of tasks whose best recipe needs a regularization that costs first and pays in long trainings."""
    return [_late_problem(seed) for seed in range(3)]


def _late_problem(seed: int) -> Problem:
    source = Random(seed)
    optimum = [source.random() for _ in range(4)]

    def expected(values: Values, length: float) -> float:
        passes = PASSES * max(length, 1e-3)
        far = sum(0.02 * (values[f"x{i}"] - at) ** 2 for i, at in enumerate(optimum))
        gains = PAYS * (1 - ((values["regularization"] - BEST) / BEST) ** 2)
        return 0.02 + 0.15 * passes**-0.5 + far - gains * math.log(passes / LEVEL) / math.log(PASSES / LEVEL)

    def curve(values: Values, length: float) -> Callable[[float], float]:
        lucky = Random(repr((seed, sorted(values.items()), length))).gauss(0, LUCK)
        return lambda progress: expected(values, length * progress) + lucky

    default = {name: 0.0 if name == "regularization" else 0.5 for name in LATE}
    return Problem("late", f"s{seed}", LATE, default, curve, False, judge=expected)


SUITES: Mapping[str, Callable[[Path], Sequence[Problem]]] = {
    "lcbench": lcbench,
    "taskset": taskset,
    "openclip": openclip,
    "synthetic": synthetic,
    "late": late,
    "recorded": recorded,
    "portfolio": portfolio,
}
