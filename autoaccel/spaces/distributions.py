"""Convert domains to Optuna distributions."""

from __future__ import annotations

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from autoaccel.core.catalog import Domain


def distribution(domain: Domain) -> BaseDistribution:
    """Return the Optuna distribution of a domain: categorical, integer or float, on a log scale if needed."""
    if domain.options:
        return CategoricalDistribution(domain.options)
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)
