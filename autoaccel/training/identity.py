"""What a run is a run of: digests of the user's data, and of the files from which the task was imported.

They are compared when a run is resumed, so that no result of other data or other code is taken for its own.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoaccel.core.target import split_target
from autoaccel.training.data.prepare import Data
from autoaccel.training.data.reading import ReadSource
from autoaccel.training.data.sources import FEW, ArraySource, DatasetSource, root_of

BYTES = 1 << 28
"""Most bytes of the arrays of a part that are read; of larger ones, rows at equal distances."""


def data_digest(data: Data) -> str:
    """Return a digest of a task's samples.

    Of a dataset that is read sample by sample only a few count, and those that differ at every reading don't. Of a
    stream only the length does, since reading it may have effects.
    """
    digest = hashlib.sha256()
    for part in (data.train, data.valid, data.test):
        if part is not None:
            digest.update(str(len(part)).encode())
            _add_samples(digest, part)
    return digest.hexdigest()[:16]


def _add_samples(digest: Any, part: ReadSource) -> None:
    source = root_of(part.source)
    if isinstance(source, ArraySource):
        share = min(1.0, BYTES / max(1, source.nbytes()))
        _add(digest, part.take(_spread(len(part), max(1, int(share * len(part))))))
    elif isinstance(source, DatasetSource):
        index = _spread(len(part), FEW)
        digests = [_of_a_reading(part, index) for _ in range(2)]
        if digests[0] == digests[1]:
            digest.update(digests[0])


def _of_a_reading(part: ReadSource, index: Tensor) -> bytes:
    digest = hashlib.sha256()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _add(digest, part.take(index))
    return digest.digest()


def _spread(count: int, most: int) -> Tensor:
    """Return up to `most` indices at equal distances."""
    return torch.linspace(0, count - 1, min(count, most)).round().long()


def _add(digest: Any, data: Any) -> None:
    if isinstance(data, Tensor):
        digest.update(f"{data.dtype} {tuple(data.shape)}".encode())
        dense = data.to_dense() if data.layout is not torch.strided else data
        digest.update(dense.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    elif isinstance(data, dict):
        for key in data:
            digest.update(str(key).encode())
            _add(digest, data[key])
    elif isinstance(data, list | tuple):
        for part in data:
            _add(digest, part)
    elif isinstance(data, str | int | float | bool | None):
        digest.update(repr(data).encode())


def file_digests(target: str) -> dict[str, str]:
    """Return a digest of the user's file, and of each module imported from its folder or below, by relative path.

    Args:
        target: The task's target; one that is no file has none.
    """
    path = Path(split_target(target)[0])
    if path.suffix != ".py" or not path.is_file():
        return {}
    home = path.resolve().parent
    imported = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    files = {path.resolve(), *(Path(file).resolve() for file in imported if file)}
    own = [file for file in files if file.is_relative_to(home) and "site-packages" not in file.parts]
    return {
        file.relative_to(home).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        for file in sorted(own)
        if file.suffix == ".py" and file.is_file()
    }
