"""Files of a run that end anywhere, as after a power cut: writes that had not reached the disk."""

import random
import shutil

import pytest
from sample_folder import make_run

from autoaccel.errors import AutoaccelError
from autoaccel.reporting.status import read_status, status_lines
from autoaccel.storage.log import LOG, scan_log
from autoaccel.tuner.repair import repair
from autoaccel.tuner.result import Result

FILES = ("events.log", "config.json", "account.json", "result.json", "recipe.yaml", "model.safetensors")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_ends_anywhere(tmp_path, name):
    """Fault: a file of a run is cut off at 0, at its last byte, and at four seeded places. Promise: what reads the run
    gives what is whole or one line, and after `repair` the run has a recipe and no finished trial less than the log."""
    run = make_run(tmp_path / "run")
    size, source = (run / name).stat().st_size, random.Random(name)
    for length in {0, size - 1, *(source.randrange(size) for _ in range(4))}:
        copy = tmp_path / str(length)
        shutil.copytree(run, copy)
        with (copy / name).open("r+b") as file:
            file.truncate(length)
        for read in (lambda run=copy: status_lines(read_status(run)), lambda run=copy: Result.load(run).weights()):
            try:
                read()
            except AutoaccelError as error:
                assert ("\n" not in str(error) and name in str(error)) or name == LOG, error
        whole = list(scan_log(copy / LOG).entries)
        try:
            repair(copy, lambda line: None)
        except AutoaccelError as error:
            assert name in (LOG, "config.json") and "\n" not in str(error), error
            continue
        assert list(scan_log(copy / LOG).entries) == whole
        assert (copy / "recipe.yaml").read_text() == (run / "recipe.yaml").read_text() or name == LOG
