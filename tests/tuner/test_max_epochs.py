"""The longest useful training, as the user tells it."""

import math
from dataclasses import replace

import pytest
from simulation import FACTS, quality

from autoaccel import tune
from autoaccel.api import plan
from autoaccel.core.budget import Budget
from autoaccel.core.clock import SimulatedClock
from autoaccel.errors import UsageError
from autoaccel.execution.simulated import TableExecutor
from autoaccel.storage.json_files import read_object
from autoaccel.storage.records import read_record
from autoaccel.techniques.registry import catalog
from autoaccel.tuner.options import Options

BUDGET = Budget(flops=1e11)
"""Of a thousand samples, at a million FLOPs each: a hundred epochs."""


def machine(facts=FACTS):
    known = catalog()
    return lambda *_: TableExecutor(quality, SimulatedClock(), standard_error=0.01, catalog=known, facts=facts)


def run(tmp_path, folder="run", **options):
    model = tmp_path / "model.py"  # which this machine does not look at
    model.write_text("task = None\n")
    options = {"executor": machine(), "memory": False, "quiet": True, **options}
    return tune(str(model), BUDGET, out=tmp_path / folder, **options)


@pytest.mark.parametrize("most", [0, -1, math.nan, math.inf, True, "3"])
def test_a_number_of_epochs_that_is_none_is_refused_in_one_line(most):
    with pytest.raises(UsageError, match=r"^--max-epochs must be a positive number of passes .*, got "):
        Options(max_epochs=most).resources()


def test_no_training_is_longer_than_told_and_the_search_gets_the_rest_also_when_resumed(tmp_path):
    result = run(tmp_path, max_epochs=40)
    budgets = [record.request.budget["flops"] / 1e9 for record in read_record(result.folder).trials]
    assert 40 <= max(budgets) < 41 and result.data["spent"]["search"]["flops"] > 0.3 * BUDGET["flops"]
    assert read_object(result.folder / "config.json")["max_epochs"] == 40
    assert run(tmp_path, max_epochs=40, resume=True).data["final"] == result.data["final"]
    for other in (60, None):
        with pytest.raises(UsageError, match=r"(?s)not what it was begun with.*longest training: "):
            run(tmp_path, max_epochs=other, resume=True)


@pytest.mark.parametrize(("most", "length"), [(40, "40.2 GFLOPs"), (1, "1.2 GFLOPs")])
def test_a_plan_prints_it(tmp_path, most, length):
    (tmp_path / "model.py").write_text("task = None\n")
    options = Options(executor=machine(), memory=False, max_epochs=most)
    lines = plan(str(tmp_path / "model.py"), BUDGET, options=options)
    assert f"longest training: what plain takes for {most} epochs (--max-epochs)" in lines
    assert f"final training: the best recipe with about {length} (the longest useful one)" in lines
    assert not any("trials of ," in line for line in lines)


def test_a_stream_without_an_end_has_no_epochs(tmp_path):
    with pytest.raises(UsageError, match="--max-epochs needs the length of a pass, and this stream has none"):
        run(tmp_path, max_epochs=2, executor=machine(replace(FACTS, n_train=0)))
