"""The house is as docs/architecture.md draws it, and its files stay small."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
LONGEST = 300
MEDIAN = 120


def test_the_picture_is_that_of_the_code():
    spec = importlib.util.spec_from_file_location("make_architecture", ROOT / "docs" / "make_architecture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page() == PAGE, "run python docs/make_architecture.py"


def test_files_are_small():
    lines = {path: len(path.read_text().splitlines()) for path in (ROOT / "autoaccel").rglob("*.py")}
    assert {str(path): count for path, count in lines.items() if count > LONGEST} == {}
    assert median(lines.values()) < MEDIAN


def test_the_glossary_is_short():
    glossary = PAGE.partition("## Glossary")[2].strip().splitlines()
    assert len(glossary) <= 30


def test_the_way_of_a_trial_has_at_most_eight_hops():
    way = PAGE.partition("## The life of a trial")[2].partition("\n## ")[0]
    assert sum(line[:1].isdigit() for line in way.splitlines()) <= 8


def test_each_file_that_the_page_names_exists():
    for word in PAGE.split("`"):
        if word.startswith(("tests/", "examples/", "docs/")):
            assert (ROOT / word).exists(), word
        elif word.endswith(".py") and "/" in word and " " not in word:
            assert (ROOT / "autoaccel" / word).exists() or (ROOT / word).exists(), word


def test_a_worker_imports_scikit_learn_only_where_the_task_needs_it():
    """It takes as long to import as torch's optimizers, and the start comes out of the budget."""
    code = "import autoaccel.execution.local.worker, sys; print('sklearn' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["False", "False"]
