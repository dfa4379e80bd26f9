"""Estimates: cheaper answers about a network, and what is proven of each.

An estimate is asked for by a text: a rewrite pipeline (the metric of the substitute it makes), or
the name of an estimator with its options. In comes an `EstimateQuery` (a metric of a network at an
anchor, the attack on it, the settings); out comes an `Answer`, wrapped as an `EstimateResult`. One
estimator is one class in one file, found through a registry; other distributions add theirs by the
entry points ``graphprune.estimators``. Read `base.py`, `run.py` and `nearest.py` first.
"""

from graphprune.evaluate.estimates.base import EstimateQuery, Estimator, register_estimator
from graphprune.evaluate.estimates.run import (
    estimate,
    estimated,
    known_estimators,
    longest,
    parse_estimate,
)

__all__ = [
    "EstimateQuery",
    "Estimator",
    "estimate",
    "estimated",
    "known_estimators",
    "longest",
    "parse_estimate",
    "register_estimator",
]
