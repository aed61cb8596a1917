"""Cases of a benchmark run in processes of one thread."""

import os

from benchmarks.jobs import THREADS, processes


def test_its_processes_have_one_thread_and_this_one_keeps_its_own(monkeypatch):
    monkeypatch.delenv(THREADS[0], raising=False)
    monkeypatch.setenv(THREADS[1], "3")
    with processes(1) as pool:
        assert list(pool.map(os.getenv, THREADS)) == ["1", "1", "1"]
    assert [os.environ.get(name) for name in THREADS[:2]] == [None, "3"]
