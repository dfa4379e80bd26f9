"""Estimates: cheaper answers about a network, and what is proven of each.

An estimate is asked for by a text: a rewrite pipeline (the metric of the substitute it makes), or
the name of an estimator with its options. One estimator is one class in one file.
"""

from graphprune.evaluate.estimates.base import Answer, Estimator, Metric, Question
from graphprune.evaluate.estimates.run import estimate, estimated, longest, parse_estimate

__all__ = [
    "Answer",
    "Estimator",
    "Metric",
    "Question",
    "estimate",
    "estimated",
    "longest",
    "parse_estimate",
]
