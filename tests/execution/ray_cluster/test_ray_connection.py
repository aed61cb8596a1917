"""Where a run connects to, and what it refuses in one line."""

import pytest

from autoaccel.core.resources import Resources
from autoaccel.errors import UsageError

cluster = pytest.importorskip(
    "autoaccel.execution.ray.cluster", reason="Ray is not installed", exc_type=ImportError
)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("10.0.0.1:6379", "needs a token: RAY_AUTH_MODE=token on all nodes, and `ray get-auth-token --generate`"),
        ("head.example.org:6379", "needs a token"),
        ("[fd00::1]:6379", "needs a token"),
        ("ray://10.0.0.1:10001", "Ray Client is not supported; give HOST:PORT on a node of the cluster"),
    ],
)
def test_addresses_that_are_refused(address, says, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(UsageError) as refused:
        cluster.connect(Resources(), {})
    assert says in str(refused.value) and "\n" not in str(refused.value)
