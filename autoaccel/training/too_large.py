"""Say what is missing where a model does not fit on one device, on which each training begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from autoaccel.errors import TaskError
from autoaccel.training.device import out_of_memory


@contextmanager
def one_device() -> Iterator[None]:
    """Turn a lack of memory, which comes only after a sample at a time was tried, into one line.

    Raises:
        TaskError: Instead of the error of the library that found no memory.
    """
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if isinstance(error, TaskError) else error
        # A MemoryError comes from Python and numpy, which hold data, and not from where models are computed.
        if not isinstance(cause, Exception) or isinstance(cause, MemoryError) or not out_of_memory(cause):
            raise
        said = error.message if isinstance(error, TaskError) else " ".join(str(error).split()) or "out of memory"
        raise TaskError(
            f"the model does not fit in {_memory()}, not even a sample at a time ({said}); autoaccel does not shard"
            " a model over several devices (FSDP): train a smaller one, shorter inputs, or fewer of its weights",
            error.where if isinstance(error, TaskError) else None,
        ) from error


def _memory() -> str:
    if not torch.cuda.is_initialized():  # asking would start it
        return "the memory of this machine"
    free, total = torch.cuda.mem_get_info()
    others = max(0, total - free - torch.cuda.memory_reserved()) / 2**30
    used = f", of which {others:.0f} GiB are not autoaccel's" if others >= 1 else ""
    return f"the {total / 2**30:.0f} GiB of one {torch.cuda.get_device_name()}{used}"
