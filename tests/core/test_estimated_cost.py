"""What a trial that was killed is charged for."""

import pytest

from autoaccel.core.budget import Budget
from autoaccel.core.quantities import Cost
from autoaccel.core.recipe import PLAIN
from autoaccel.core.trial import Report, TrialRequest, estimated_cost

REQUEST = TrialRequest(0, PLAIN["plain"], Budget(flops=1e9), step=Cost(seconds=0.1, flops=1e7, steps=1))
REPORT = Report(0, 0, 0.4, 1.0, 1.0, None, Cost(seconds=4.0, flops=4e8, steps=40))


def test_it_went_on_as_before_its_last_report():
    assert estimated_cost(REQUEST, REPORT, 6.0) == Cost(seconds=6.0, flops=6e8, steps=60)
    assert estimated_cost(REQUEST, None, 2.0) == Cost(seconds=2.0, flops=2e8, steps=20)


def test_it_did_not_spend_more_than_its_budget():
    assert estimated_cost(REQUEST, REPORT, 60.0).flops == 1e9


@pytest.mark.parametrize("report", [None, REPORT])
def test_what_came_after_a_checkpoint_is_done_and_booked_again(report):
    saved = Cost(seconds=3.0, flops=3e8, steps=30)
    assert estimated_cost(REQUEST, report, 6.0, saved) == Cost(seconds=6.0, flops=3e8, steps=30)


def test_a_training_that_went_on_is_charged_for_all_of_it():
    carried = Cost(seconds=5.0, flops=5e8, steps=50)
    request = TrialRequest(1, PLAIN["plain"], Budget(flops=1e9), resumes=0, carried=carried)
    assert estimated_cost(request, None, 2.0) == Cost(seconds=7.0, flops=5e8, steps=50)
