"""A device belongs to one trial at a time."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoaccel.execution.pool import DevicePool

DEVICES = st.lists(st.sampled_from(["0", "1", "GPU-5", "MIG-7", ""]), max_size=6)


@given(DEVICES, st.lists(st.integers(-1, 5), max_size=40))
def test_no_device_is_leased_twice_and_all_come_back(devices, moves):
    """A negative move leases; others give back one of those that are leased."""
    pool, leased = DevicePool(devices), []
    for move in moves:
        if move < 0:
            device = pool.lease()
            assert (device is None) == (len(leased) == len(devices))
            leased += [] if device is None else [device]
        elif leased:
            pool.give_back(leased.pop(move % len(leased)))
        assert not Counter(leased) - Counter(devices)
        assert pool.free == len(devices) - len(leased)


@given(DEVICES, st.sampled_from(["0", "", "9"]))
def test_what_was_never_leased_cannot_be_given_back(devices, device):
    with pytest.raises(ValueError, match="is not leased"):
        DevicePool(devices).give_back(device)
