"""The estimate to take when nobody says which."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.evaluate.estimates.base import Answer, Metric, Question
from graphprune.evaluate.estimates.extrapolate import Extrapolate
from graphprune.evaluate.estimates.reanchored import ReAnchored


@dataclass(frozen=True)
class Auto:
    """d_rob: `extrapolate`; d_bnd: `re-anchored`."""

    name: ClassVar[str] = "auto"
    metrics: ClassVar[tuple[Metric, ...]] = ("rob", "bnd")

    def run(self, question: Question) -> Answer:
        estimator = Extrapolate() if question.metric == "rob" else ReAnchored()
        return estimator.run(question)
