"""How the user names a task: a file or a module, and a name in it."""

import pytest

from autoaccel.core.target import slug, split_target, target_name, task_ref
from autoaccel.errors import TaskError


@pytest.mark.parametrize(
    ("target", "parts", "name"),
    [
        ("a/model.py", ("a/model.py", ""), "model"),
        ("a/model.py:build", ("a/model.py", "build"), "model-build"),
        ("a/my model.py:task", ("a/my model.py", "task"), "my-model"),
        ("package.train:task", ("package.train", "task"), "train"),
        ("C:\\data\\model.py", ("C:\\data\\model.py", ""), None),
    ],
)
def test_targets(target, parts, name):
    assert split_target(target) == parts
    if name:
        assert slug(target) == name


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"x = (\n", r"model.py:1: not valid Python"), (b"\x00", "not valid Python")],
)
def test_a_file_that_cannot_be_imported_is_refused_before_a_process_starts(tmp_path, content, message):
    path = tmp_path / "model.py"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TaskError, match=message):
        target_name(str(path))


def test_a_pickle_that_lies_in_a_run_folder_is_never_read(tmp_path):
    planted = b"cos\nsystem\n(S'true'\ntR."
    (tmp_path / "task.pickle").write_bytes(planted)
    assert task_ref("model.py", tmp_path).pickled == ""
    assert task_ref(len, tmp_path).pickled
    assert (tmp_path / "task.pickle").read_bytes() != planted
