"""The exported script is one namespace cut from many files."""

import ast
from collections import Counter

from autoaccel.export.script import SOURCES, _defined, _parse, _technique_files, training_script
from autoaccel.recipe import PLAIN


def test_no_two_sources_define_the_same_name():
    names = Counter(
        name
        for module in (*SOURCES, *_technique_files())
        for node in _parse(module)[1].body
        for name in _defined(node)
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_the_script_holds_only_what_the_recipe_uses():
    script = training_script(PLAIN["plain"], "model.py", 0, {"steps": 3})
    ast.parse(script)
    assert "class AdamW(" in script and "class SGD(" not in script
    assert "from autoaccel" not in script


def test_hostile_names_stay_data():
    script = training_script(PLAIN["plain"], "a' + evil() + '\n.py", 0, {})
    assert "evil" not in {n.id for n in ast.walk(ast.parse(script)) if isinstance(n, ast.Name)}
