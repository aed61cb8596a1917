"""How places are laid over nodes: whole GPUs on few nodes, as many threads as all can have, or one line for why not."""

import pytest

from autoaccel.core.machine import Gpu
from autoaccel.core.resources import Resources
from autoaccel.errors import UsageError

layout = pytest.importorskip("autoaccel.execution.ray.layout", reason="Ray is not installed", exc_type=ImportError)
Node, lay_out = layout.Node, layout.lay_out
H200 = Node("a", 32, 4, "H200", "10.0.0.1")
PLAIN = Node("b", 16, address="10.0.0.2")


@pytest.fixture(autouse=True)
def no_limit_of_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("nodes", "asked", "made"),
    [
        ([H200, H200], Resources(), ((4, 4), 8, 1, 0)),
        ([H200, H200], Resources(workers=3), ((3,), 10, 1, 5)),
        ([H200, H200], Resources(workers=6), ((4, 2), 8, 1, 2)),
        ([Node("c", 64, 2), PLAIN, H200], Resources(), ((4, 2), 8, 1, 0)),
        ([Node("c", 2, 6), H200], Resources(workers=4), ((4,), 8, 1, 6)),
        ([H200, PLAIN], Resources(), ((4,), 8, 1, 0)),
        ([Node("a", 2, 4)], Resources(), ((4,), 1, 1, 0)),
        ([H200, PLAIN], Resources(cpu=True), ((1,), 32, 0, 0)),
        ([H200, PLAIN], Resources(cpu=True, choosing=9.0), ((2, 1), 16, 0, 0)),
        ([PLAIN, PLAIN, Node("c", 4), Node("d", 0)], Resources(choosing=9.0), ((1, 1), 16, 0, 0)),
        ([PLAIN], Resources(choosing=9.0), ((1,), 16, 0, 0)),
        ([H200, PLAIN], Resources(cpu=True, workers=3), ((2, 1), 16, 0, 0)),
        ([Node("a", 3), Node("b", 3)], Resources(workers=3), ((3,), 1, 0, 0)),
        ([Node("a", 0), Node("b", 4)], Resources(workers=4), ((4,), 1, 0, 0)),
        ([Node(name, 1) for name in "abcd"], Resources(workers=3), ((1, 1, 1), 1, 0, 0)),
    ],
)
def test_places_share_the_nodes(nodes, asked, made):
    laid = lay_out(nodes, asked)
    assert (laid.sizes, laid.threads, laid.gpus, laid.idle) == made
    assert laid.count == sum(laid.sizes)
    free = list(nodes)
    for bundle in map(laid.bundle, laid.sizes):
        fits = [node for node in free if bundle.get("GPU", 0) <= node.gpus and bundle.get("CPU", 0) <= node.cpus]
        free.remove(fits[0])


def test_no_more_threads_than_the_user_sets(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    laid = lay_out([PLAIN], Resources())
    assert laid.bundle(1) == {"CPU": 2.0} and (laid.threads, laid.most) == (2, 2)
    monkeypatch.delenv("OMP_NUM_THREADS")
    laid = lay_out([PLAIN], Resources(workers=2))
    assert (laid.threads, laid.most) == (8, 16), "one training may have all of a place"


def test_gpus_without_cpus_are_used_all_the_same():
    laid = lay_out([Node("a", 0, 2)], Resources())
    assert laid.bundle(2) == {"GPU": 2.0} and laid.threads == 1
    assert str(laid) == "2 trials on 1 node, each trial with 1 GPU and 0 CPUs"


@pytest.mark.parametrize(
    ("nodes", "asked", "says"),
    [
        ([H200, PLAIN], Resources(workers=5), "Ray has 2 nodes with 4 x H200, 48 CPUs"),
        ([PLAIN], Resources(workers=17), "needs a CPU of its own, and Ray has 1 node with 16 CPUs"),
        ([], Resources(), "Ray has 0 nodes with 0 CPUs"),
        ([H200], Resources(devices=(1,)), "--devices numbers the GPUs of one machine"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(nodes, asked, says):
    with pytest.raises(UsageError) as refused:
        lay_out(nodes, asked)
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_a_cluster_is_described_as_one_machine():
    seen = [("a", Gpu("10.0.0.1/2", "NVIDIA H200", 10))]
    machine = layout.whole_machine([H200, PLAIN, Node("c", 1, 1, "A100", "10.0.0.3")], seen)
    assert str(machine) == "4 x NVIDIA H200, 1 x A100, 49 CPUs"
    assert len({gpu.name for gpu in machine.gpus}) == 5 and seen[0][1] in machine.gpus
