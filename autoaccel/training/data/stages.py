"""Name the step at which the user's code or data fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from autoaccel.errors import AutoaccelError, TaskError
from autoaccel.training.data.discovery import user_line


@contextmanager
def stage(name: str, hint: str = "") -> Iterator[None]:
    """Turn what goes wrong in the user's code into one line with the stage, the line of code and what to do.

    Raises:
        TaskError: Instead of any other error.
    """
    try:
        yield
    except AutoaccelError:
        raise
    except Exception as error:  # user code may raise anything
        said = " ".join(str(error).split()) or "no message"
        more = f"; {hint}" if hint else ""
        raise TaskError(f"{name} fails: {type(error).__name__}: {said}{more}", user_line(error) or None) from error
