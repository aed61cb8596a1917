"""Whatever a file, a flag or a budget says: it is used, or refused by an error of ours. 2,000 draws over all."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import zlib
from pathlib import Path

import pytest
from autoaccel.search_spaces import names, read, text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_run import entries

from autoaccel import cli
from autoaccel.core.budget import Budget, parse_budget, parse_flops
from autoaccel.core.catalog import check
from autoaccel.core.codec import to_data
from autoaccel.core.recipe import PLAIN, Recipe
from autoaccel.core.records import Trials
from autoaccel.core.yaml_file import dump_yaml, load_yaml
from autoaccel.errors import AutoaccelError
from autoaccel.export.formats import FORMATS, export
from autoaccel.reporting.html import write_report
from autoaccel.spaces.space import SearchSpace
from autoaccel.storage.folder import RunFolder
from autoaccel.storage.log import Log, read_log
from autoaccel.storage.records import RunRecord, read_record
from autoaccel.techniques.registry import catalog
from autoaccel.tuner.known import warm_recipes
from autoaccel.tuner.result import Result

KNOWN = [
    *("schema", "name", "description", "extends", "techniques", "portfolio", "model", "when", "options", "tuple"),
    *(
        "optimizer",
        "learning_rate",
        "batch_size",
        "low",
        "high",
        "log",
        "integer",
        "start",
        "end",
        "since",
        "until",
    ),
    *("adamw", "sgd", "linear", "constant_batch", "ema", "mixup", "lr", "size", "warmup", "half_life", "required"),
]
WORDS = st.one_of(st.sampled_from(KNOWN), st.text(max_size=8))
NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([0, 1, -1, 1e23, 10**40, 1e-300, 2**63]))
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS)
DATA = st.recursive(
    LEAVES,
    lambda part: st.one_of(st.lists(part, max_size=4), st.dictionaries(WORDS, part, max_size=4)),
    max_leaves=12,
)
SIGNS = "[]{}:,-?&*!|>'\"#%@`\n\t 0123456789.eE+~<=\\ab\0\x85\u2028\ufeff\ud800é"
MARKUP = st.one_of(st.text(max_size=60), st.text(alphabet=SIGNS, max_size=60), st.binary(max_size=40).map(ascii))


def fuzz(draws: int):
    """Return the settings of a test with so many draws, the same ones in every run."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(max_examples=draws, deadline=None, derandomize=True, database=None, suppress_health_check=slow)


@st.composite
def mutated(draw: st.DrawFn, data: object) -> object:
    """Return data of ours in which one part, at any depth, is something else or has another name."""
    if not isinstance(data, dict | list) or not data or draw(st.integers(0, 5)) == 0:
        return draw(DATA)
    keys = list(data) if isinstance(data, dict) else list(range(len(data)))
    chosen = draw(st.sampled_from(keys))
    made = dict(data) if isinstance(data, dict) else list(data)
    match draw(st.integers(0, 7)) if isinstance(made, dict) else 7:
        case 0:
            del made[chosen]
        case 1:
            made[draw(WORDS)] = made.pop(chosen)
        case _:
            made[chosen] = draw(mutated(data[chosen]))
    return made


@st.composite
def edited(draw: st.DrawFn, whole: str) -> str:
    """Return a text of ours with a piece cut out and another put in."""
    begin, length = draw(st.integers(0, len(whole))), draw(st.integers(0, 30))
    return whole[:begin] + draw(MARKUP) + whole[begin + length :]


def use_recipe(recipe: Recipe) -> None:
    """Everything that is done with a recipe before a training."""
    check(recipe.chosen(), catalog())
    hash(recipe)
    again = Recipe.from_yaml(recipe.to_yaml())
    assert repr(again) == repr(recipe)


@fuzz(300)
@given(st.one_of(MARKUP, edited(PLAIN["plain"].to_yaml()), edited(text("minimal")), DATA.map(ascii)))
def test_yaml(given_text):
    with contextlib.suppress(AutoaccelError):
        data = load_yaml(given_text, "file.yaml")
        assert repr(load_yaml(dump_yaml(data), "again")) == repr(data)
    with contextlib.suppress(AutoaccelError):
        use_recipe(Recipe.from_yaml(given_text))


@fuzz(400)
@given(mutated(PLAIN["plain"].to_data()))
def test_recipes(data):
    with contextlib.suppress(AutoaccelError):
        recipe = Recipe.from_data(data)
        use_recipe(recipe)
        for form in FORMATS.values():
            record = RunRecord({"seed": 0, "target": "model.py"}, Trials([]), 0.0, {"recipe": data})
            with contextlib.suppress(AutoaccelError):
                compile(form(record), "script", "exec") if form is FORMATS["script"] else form(record)


@fuzz(300)
@given(st.data(), st.sampled_from(names()))
def test_spaces(data, name):
    with contextlib.suppress(AutoaccelError):
        space = SearchSpace.from_data(data.draw(mutated(read(name))), catalog(), read, "mine")
        for seed in range(3):
            recipe = space.sample(seed)
            assert not check(recipe.chosen(), catalog())
            use_recipe(recipe)


AMOUNTS = st.from_regex(r"[+-]?[0-9.:]{0,20}(e[+-]?[0-9]{1,4})?", fullmatch=True)
UNITS = st.sampled_from(["s", "m", "h", "d", "w", " FLOPs", "PFLOP", "T", "P", "Y", " or ", ",", ""])
BUDGETS = st.one_of(st.text(max_size=30), st.lists(st.tuples(AMOUNTS, UNITS).map("".join), max_size=4).map("".join))


@fuzz(400)
@given(BUDGETS, st.dictionaries(st.sampled_from(["seconds", "flops", "steps", "epochs", "x"]), LEAVES))
def test_budgets(written, limits):
    for read_it in (lambda: parse_budget(written), lambda: parse_flops(written), lambda: Budget(limits)):
        with contextlib.suppress(AutoaccelError):
            str(read_it())


FLAGS = {
    "tune": ["--budget", "--flops", "--space", "--metric", "--out", "--seed", "--resume", "--devices", "--workers",
             "--inline", "--warm-start", "--target", "--subject-to", "--objective", "--max-epochs", "--dry-run"],
    "train": ["--recipe", "--budget", "--epochs", "--steps", "--flops", "--out", "--seed", "--devices", "--reference"],
    "plan": ["--budget", "--space", "--seed", "--workers", "--warm-start", "--max-epochs", "--json"],
    "check": ["--devices"],
    "report": ["--json"],
    "export": ["--format", "--trial"],
    "spaces": [],
    "schema": [],
    "techniques": ["--json"],
    "memory": ["list", "forget", "--all"],
    "init": [],
}  # fmt: skip
GIVEN = st.one_of(
    st.sampled_from(["9s", "2e18", "plain", "minimal", "accuracy=0.9", "latency_ms<=5", "quality,cost", "cpu", "0", "1"]),
    *(st.text(max_size=12).filter(lambda word: "\0" not in word), BUDGETS, NUMBERS.map(str)),
)  # fmt: skip


@fuzz(200)
@given(st.data())
def test_flags(tmp_path_factory, data):
    command = data.draw(st.sampled_from(list(FLAGS)))
    words = [
        command,
        *data.draw(st.lists(st.sampled_from(["missing.py", *FLAGS[command]]), max_size=6, unique=True)),
    ]
    flagged = [part for word in words for part in ([word, data.draw(GIVEN)] if word.startswith("--") else [word])]
    if command in ("init", "spaces", "schema", "techniques", "report", "export"):
        flagged.append(data.draw(GIVEN))
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        patch.chdir(tmp_path_factory.mktemp("flags"))
        patch.setattr(sys, "argv", ["autoaccel", *flagged])
        with contextlib.suppress(SystemExit):
            cli.main()
    assert "Traceback" not in out.getvalue()


RESULT = {
    "schema": 2, "status": "complete", "headline": "Better.", "folder": "/gone", "target": "model.py", "load": "",
    "metric": {"name": "accuracy", "direction": "max"}, "recipe": PLAIN["plain"].to_data(),
    "delivered": {"trial": 0, "what": "trial", "budget": "2 s", "metric": 0.9, "loss": 0.1, "standard_error": None, "test": None},
    "final": None, "leaderboard": [], "failures": [], "constraints": [], "spent": {"final": {"seconds": 1.0}},
    "paths": {"recipe.yaml": "/gone/recipe.yaml"},
}  # fmt: skip
CONFIG = {"seed": 0, "target": "model.py", "folder": "/gone", "budget": {"seconds": 9.0}, "environment": {}}


def run_folder(made: Path, config: object, result: object) -> Path:
    run = RunFolder(made)
    run.close()
    for name, data in (("config.json", config), ("account.json", {"seconds": 1.0}), ("result.json", result)):
        text_of = data if isinstance(data, str) else json.dumps(data)
        (made / name).write_bytes(text_of.encode(errors="surrogatepass"))
    log = Log(made / "events.log")
    for now, entry in entries():
        log.append(now, entry)
    log.close()
    return made


@fuzz(200)
@given(st.one_of(mutated(RESULT), MARKUP), mutated(CONFIG), st.booleans())
def test_files_of_a_run(tmp_path_factory, result, config, foreign):
    run = run_folder(tmp_path_factory.mktemp("run"), config if foreign else CONFIG, result)
    for read_it in (
        lambda: write_report(read_record(run)),
        *((lambda form=form: export(read_record(run), form)) for form in FORMATS),
        lambda: warm_recipes(run),
        lambda: Result.load(run).best_recipe,
    ):
        with contextlib.suppress(AutoaccelError):
            read_it()


@fuzz(200)
@given(st.data())
def test_logs(tmp_path_factory, data):
    lines = [json.dumps([now, type(entry).__name__.lower(), to_data(entry)]) for now, entry in entries()]
    number = data.draw(st.integers(0, len(lines) - 1))
    lines[number] = data.draw(
        st.one_of(mutated(json.loads(lines[number])).map(json.dumps), edited(lines[number]), MARKUP)
    )
    # Lines of an enemy have the right checksums.
    encoded = [line.encode(errors="surrogatepass") for line in lines]
    whole = b"".join(b"%08x %s\n" % (zlib.crc32(line), line) for line in encoded)
    cut, noise = data.draw(st.integers(0, len(whole))), data.draw(st.binary(max_size=5))
    path = tmp_path_factory.mktemp("log") / "events.log"
    for content in (whole, whole[:cut], whole[:cut] + noise + whole[cut:]):
        path.write_bytes(content)
        with contextlib.suppress(AutoaccelError):
            read_log(path)
