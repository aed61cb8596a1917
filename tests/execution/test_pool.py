"""A device belongs to one trial at a time."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoaccel.execution.pool import DevicePool

DEVICES = st.lists(st.sampled_from(["0", "1", "GPU-5", "MIG-7", ""]), min_size=1, max_size=6)


@given(DEVICES, st.lists(st.integers(-3, 5), max_size=40))
def test_no_device_is_leased_twice_and_all_come_back(devices, moves):
    """A negative move leases as many; others give back what one of the leases holds."""
    pool, leases = DevicePool(devices), []
    for move in moves:
        if move < 0 and -move <= len(devices):
            lease = pool.lease(-move)
            fits = -move <= len(devices) - sum(map(len, leases))
            assert len(lease) == (-move if fits else 0)
            leases += [lease] if lease else []
        elif leases and move >= 0:
            pool.give_back(leases.pop(move % len(leases)))
        leased = [device for lease in leases for device in lease]
        assert not Counter(leased) - Counter(devices)
        assert pool.free == len(devices) - len(leased)


@given(DEVICES, st.sampled_from(["0", "", "9"]))
def test_what_was_never_leased_cannot_be_given_back(devices, device):
    with pytest.raises(ValueError, match="is not leased"):
        DevicePool(devices).give_back([device])


@pytest.mark.parametrize("count", [0, 3])
def test_more_than_there_are_cannot_be_leased(count):
    with pytest.raises(ValueError, match="of 2 devices cannot be leased"):
        DevicePool(["0", "1"]).lease(count)
