"""Contracts for authors of techniques and executors, to be called from their own tests.

from autoaccel.testing import check_executor, check_technique
"""

from autoaccel.testing.executors import check_executor
from autoaccel.testing.techniques import check_technique

__all__ = ["check_executor", "check_technique"]
