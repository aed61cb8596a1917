"""The technique cards shown to users, and the page generated from them."""

import importlib.util
import json
from pathlib import Path

from autoaccel.techniques.cards import FAMILIES, card, card_lines, in_order, refused, summary_lines
from autoaccel.techniques.effects import Effect, helpful, read_effects
from autoaccel.techniques.registry import catalog

DOCS = Path(__file__).parents[2] / "docs"
BETTER = Effect("ema", "image", "660 GFLOPs", "flops", "accuracy", 5, 0.01, 0.004, 1.02, 1.0)


def test_every_cell_of_the_survey_has_a_technique():
    categories = {info.category for info in catalog().values()}
    assert categories >= {
        "data regularization", "data sampling", "curriculum learning", "basic modules", "model compression",
        "initialization", "learning rate selection", "large batch size", "efficient objectives",
        "model averaging", "system-centric",
    }  # fmt: skip


def test_every_technique_says_what_it_is():
    for info in catalog().values():
        assert info.family in FAMILIES and info.summary.endswith(".") and info.hooks and info.paper, info.name


def test_a_card_names_ranges_conflicts_and_effects():
    info = catalog()["mixup"]
    text = "\n".join(card_lines(info, [BETTER], catalog()))
    assert "0.1 to 1" in text and "infobatch" in text and "+0.0100 ± 0.0040 accuracy (better)" in text
    assert json.loads(json.dumps(card(info, [BETTER])))["effects"][0]["gain"] == 0.01
    assert "cutmix" in refused(info, catalog())


def test_the_list_has_every_technique_once():
    lines = summary_lines(catalog())
    assert sum(line.startswith("  ") for line in lines) == len(catalog()) == len(in_order(catalog()))


def test_verdicts():
    assert BETTER.verdict == "better" and helpful([BETTER])
    assert Effect("x", "image", "8s", "seconds", "loss", 5, -0.1, 0.05, 1.0, 0.9).verdict == "worse"
    assert Effect("x", "image", "8s", "seconds", "loss", 5, -0.1, 0.2, 1.0, 0.9).verdict == "level"
    assert Effect("x", "image", "8s", "seconds", "loss", 0, 0.0, 0.0, 0.0, 0.0, "no").verdict == "failed"


def test_effects_are_of_known_techniques():
    assert set(read_effects()) <= set(catalog())


def test_the_page_is_the_one_that_the_code_makes():
    spec = importlib.util.spec_from_file_location("make_techniques", DOCS / "make_techniques.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (DOCS / "techniques.md").read_text() == module.page(), "run python docs/make_techniques.py"
