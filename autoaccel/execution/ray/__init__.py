"""Trials on the nodes of a Ray cluster, each in a place that a supervisor of its node looks after.

The driver, which is the process of the command, keeps requests and events in order. A place is an actor in a
placement group of its own: it hosts the supervisor of `execution.local` with one slot, in a scratch folder of its
node. Whatever concerns processes is known there and nowhere else. When a trial ends, its folder comes back through
the object store. An actor is lost with its node, and never restarted: the search alone tries trials again.
"""

from autoaccel.execution.ray.environment import QUIET, unless_set

with unless_set(QUIET):
    import ray  # noqa: F401  # before any module of this package does
