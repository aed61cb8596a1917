"""Convert domains to Optuna distributions."""

from __future__ import annotations

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from autoaccel.core.catalog import Domain
from autoaccel.core.schedules import Option, Scalar


def distribution(domain: Domain) -> BaseDistribution:
    """Return the Optuna distribution of a domain: categorical, integer or float, on a log scale if needed."""
    if domain.options:
        return CategoricalDistribution(choices(domain))
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def choices(domain: Domain) -> list[Scalar | None]:
    """Return the options as Optuna's choices: sequences, which Optuna cannot keep, as Python writes them."""
    return [repr(option) if isinstance(option, list | tuple) else option for option in domain.options]


def to_optuna(domain: Domain, given: Option) -> Option:
    """Return a value of the domain as Optuna knows it."""
    return choices(domain)[domain.options.index(domain.option(given))] if domain.options else given


def from_optuna(domain: Domain, chosen: object) -> Option:
    """Return the option that Optuna has chosen; the inverse of `to_optuna`."""
    option: Option = domain.options[choices(domain).index(chosen)]  # type: ignore[arg-type]
    return option
