"""What a run is resumed with: the same, or a line for each difference."""

import pytest

from autoaccel import api
from autoaccel.core.budget import Budget
from autoaccel.core.machine import Gpu, Machine
from autoaccel.core.resources import Resources
from autoaccel.errors import UsageError
from autoaccel.storage.choice import choose_fork
from autoaccel.storage.json_files import json_text, read_config
from autoaccel.tuner.config import _written, read_options
from autoaccel.tuner.identity import check_same, identity
from autoaccel.tuner.options import Options

FILES = {"model.py": "aa", "layers.py": "bb"}


def of(budget="1h", data="dd", files=FILES, space="tabular", workers=1, there=Machine(), **options):  # noqa: B008
    given = Options(workers=workers, **options)
    return identity(
        space,
        Budget(seconds=3600) if budget == "1h" else budget,
        given,
        given.resources().slots(there),
        data,
        files,
    )


def lines(before, now):
    with pytest.raises(UsageError) as caught:
        check_same("runs/model", before, now)
    first, *found, last = str(caught.value).splitlines()
    assert first.startswith("runs/model cannot be resumed") and last.startswith("--fork begins anew")
    return [line.strip() for line in found]


def test_the_same_is_resumed():
    check_same("runs/model", of(), of())
    assert isinstance(Options().resources(), Resources)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"budget": Budget(seconds=7200)}, "budget: 1 h then, 2 h now"),
        ({"data": "ee"}, "data: changed"),
        ({"files": {**FILES, "layers.py": "cc"}}, "layers.py: changed"),
        ({"files": {"model.py": "aa"}}, "layers.py: gone"),
        ({"files": {**FILES, "new.py": "cc"}}, "new.py: new"),
        ({"seed": 1}, "seed: 0 then, 1 now"),
        ({"metric": "accuracy"}, "metric: none then, accuracy now"),
        ({"workers": 2}, "workers: 1 then, 2 now"),
        ({"there": Machine((Gpu("0", "L4"),))}, "devices: none then, 1 x L4 now"),
        ({"max_epochs": 3}, "longest training: none then, 3 now"),
        ({"sampler": "random"}, "search and sampler: halving, mixed then, halving, random now"),
    ],
)
def test_what_is_another_is_told_in_a_line(changes, line):
    assert lines(of(), of(**changes)) == [line]


def test_all_differences_are_told_at_once():
    assert len(lines(of(), of(seed=1, data="ee", space="vision"))) == 3
    assert lines({}, of())[0].startswith("version: an older one then")


def test_a_command_that_goes_on_has_the_options_that_the_run_was_begun_with(tmp_path):
    begun = Options(metric="accuracy", seed=3, subject_to="size_mb<=1", target="accuracy=0.9", sampler="tpe")
    run = tmp_path / "run"
    run.mkdir()
    config = {"target": str(tmp_path / "model.py"), "budget": {"seconds": 60.0}, "metric": "accuracy", "seed": 3}
    (run / "config.json").write_text(json_text({**config, "options": _written(begun)}))
    options = read_options(read_config(run), run)
    assert options.resume and options.out == run
    assert (options.metric, options.seed, options.goal()) == (begun.metric, begun.seed, begun.goal())
    assert options.parts() == begun.parts()


def test_what_cannot_be_resumed_is_said(tmp_path):
    with pytest.raises(UsageError, match="holds no run to resume"):
        api.resume(tmp_path)
    (tmp_path / "config.json").write_text('{"target": "make_task", "budget": {"seconds": 60.0}}')
    with pytest.raises(UsageError, match=r"its task was made in Python; go on there"):
        api.resume(tmp_path)


def test_a_fork_has_a_folder_of_its_own(tmp_path):
    with pytest.raises(UsageError, match=r"there is no run in .* to fork"):
        choose_fork(tmp_path / "run", "model")
    for name in ("run", "run-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    assert choose_fork(tmp_path / "run", "model") == (tmp_path / "run-2", tmp_path / "run-3")
