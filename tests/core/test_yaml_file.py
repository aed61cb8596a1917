"""How YAML files of strangers are read: plain data or one line, in bounded time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from autoaccel.search_spaces import read as read_space

from autoaccel.api import read_recipe
from autoaccel.core.yaml_file import DEEPEST, LARGEST, dump_yaml, load_yaml
from autoaccel.errors import UsageError

REFUSED = {
    "deep lists": ("[" * 100_000, 1, "more than 20 mappings and lists inside each other"),
    "deep mappings": ("a: 1\nb: " + "{a: " * 1_200, 2, "more than 20"),
    "deep blocks": ("- " * 1_200, 1, "more than 20"),
    "an alias": ("a: &x [1]\nb: *x", 1, "aliases"),
    "a tag": ("a: 1\nb: !!python/object/apply:os.system ['true']", 2, "tags"),
    "a strange date": ("a: !!timestamp 2024-99-99", 1, "tags"),
    "a key twice": ("a: 1\nb: 2\na: 3", 3, "the key 'a' is there twice, first in line 1"),
    "a key twice in JSON": ('{"a": 1,\n "a": 2}', 2, "the key 'a' is there twice"),
    "a key that is a number": ("1: 2", 1, "the key '1' is not a word"),
    "a key that is a list": ("? [1]\n: 2", 1, "not a word"),
    "a key that is an escape sequence": ('"\\e[2J": 2', 1, r"'\x1b[2J' is not a word"),
    "two documents": ("--- 1\n--- 2", 2, "found another document"),
    "half a text": ("a: 'x", 1, "unexpected end"),
    "a control character": ("a: 1\nb: \x01", 2, r"'\x01'"),
    "no character": ('"\\UFFFFFFFF"', 1, "no such character"),
    "half a character": ('a: "\\ud800"', 1, "surrogate"),
    "many digits": ("a: " + "9" * 30_000, 1, "too large"),
    "a huge number": ("a: 1e400", 1, "too large"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_recipe_needs_is_refused_in_one_line(case):
    text, line, said = REFUSED[case]
    began = time.process_time()
    with pytest.raises(UsageError) as caught:
        load_yaml(text, "file.yaml")
    assert time.process_time() - began < 1
    message = str(caught.value)
    assert message.startswith(f"file.yaml:{line}: ") and said in message and "\n" not in message


def test_only_what_is_obviously_a_number_is_one():
    numbers = load_yaml("[1, -2, 0.5, .5, 1., 1e-3, 1E5, +3]", "x")
    assert numbers == [1, -2, 0.5, 0.5, 1.0, 0.001, 1e5, 3]
    assert [type(number) for number in numbers] == [int, int, *[float] * 5, int]
    texts = ["1:30", "010", "1_000", "0x10", "2024-01-01", "2024-99-99", "1e", "<<", "="]
    assert load_yaml("\n".join(f"- {text}" for text in texts), "x") == texts
    assert load_yaml('{"a": [true, null, "b", no], "c": {"d": 1}}', "x") == {
        "a": [True, None, "b", False],
        "c": {"d": 1},
    }
    nested = "[" * DEEPEST + "]" * DEEPEST
    assert dump_yaml(load_yaml(nested, "x")).count("-") == DEEPEST - 1


@pytest.mark.parametrize(
    "text", ["1e3", "1:30", "yes", "2024-01-01", "010", "1_000", ".inf", "<<", "~", "a\nb", '"""', "é", "\0", ""]
)
def test_a_text_stays_a_text(text):
    data = {"model": {"given": text, **({text: 1} if text.isprintable() else {})}}
    assert load_yaml(dump_yaml(data), "x") == data == yaml.safe_load(dump_yaml(data))


@pytest.mark.parametrize("read", [read_recipe, read_space])
def test_a_file_that_is_no_text_is_refused_in_one_line(tmp_path: Path, read):
    for name, data, said in (
        ("latin.yaml", b"a: 1\nb: \xe9", "latin.yaml:2: not UTF-8: the byte 0xe9"),
        ("large.yaml", b"#" * (LARGEST + 1), "large.yaml: larger than 200 kB"),
        ("deep.yaml", b"[" * 1_200, "deep.yaml:1: more than 20"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UsageError, match=said) as caught:
            read(str(tmp_path / name))
        assert "\n" not in str(caught.value)
    for missing in ("x" * 300, "\0", str(tmp_path)):
        with pytest.raises(UsageError, match=r"^no (recipe|search space) "):
            read(missing)
