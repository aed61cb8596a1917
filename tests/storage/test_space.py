"""Below a floor of the disk or the memory no new trial starts, and one line says why."""

from autoaccel.storage.space import (
    COPIES,
    DISK_FLOOR,
    MEMORY_FLOOR,
    MIB,
    RESERVE,
    SET_ASIDE,
    Floors,
    free_disk,
    free_memory,
    release,
    set_aside,
)


def test_there_is_a_reason_only_below_a_floor(tmp_path):
    (tmp_path / "weights").write_bytes(bytes(10 * MIB))
    floor = DISK_FLOOR + COPIES * 10 * MIB
    for disk, memory, reason in (
        (floor, MEMORY_FLOOR, None),
        (
            floor - MIB,
            MEMORY_FLOOR,
            f"no new trial starts: 157 MiB are free on the disk of {tmp_path}, below 158 MiB",
        ),
        (floor, MEMORY_FLOOR - MIB, "no new trial starts: 255 MiB of memory are left, below 256 MiB"),
    ):
        floors = Floors(tmp_path, "weights", lambda folder, free=disk: free, lambda free=memory: free)
        assert floors() == reason


def test_this_machine_is_above_them(tmp_path):
    assert free_disk(tmp_path) > 0 and free_memory() > 0
    assert Floors(tmp_path, "none")() is None


def test_the_space_set_aside_is_taken_and_given_back_once(tmp_path):
    set_aside(tmp_path)
    used = (tmp_path / RESERVE).stat()
    assert used.st_size == SET_ASIDE and used.st_blocks * 512 >= SET_ASIDE
    assert [release(tmp_path), release(tmp_path)] == [True, False]
