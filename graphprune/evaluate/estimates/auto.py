"""The estimate to take when nobody says which."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphprune.errors import GraphpruneError
from graphprune.evaluate.estimates.base import Answer, Estimator, Metric, Question
from graphprune.evaluate.estimates.extrapolate import Extrapolate
from graphprune.evaluate.estimates.reanchored import ReAnchored
from graphprune.ir import Ball
from graphprune.passes.analysis.bounds import Boxes, pre_activation_bounds

# With fewer unstable neurons in the ball of d_adv the exact distance takes about as long as one
# substitute, and the polished attack misses it by some thousandths.
FEW = 150


@dataclass(frozen=True)
class TheAttack:
    """d_adv itself: a proven upper bound for nothing."""

    name: ClassVar[str] = "d_adv"
    metrics: ClassVar[tuple[Metric, ...]] = ("bnd",)

    def run(self, question: Question) -> Answer:
        found = question.found
        return Answer(
            found.distance, "collapsed" if found.distance is None else "ok", upper=found.distance,
            neurons_left=question.network.living_neurons, capped=found.distance is None,
            witness=found.witness,
        )  # fmt: skip


@dataclass(frozen=True)
class Auto:
    """d_rob: `extrapolate`. d_bnd: `re-anchored`, or d_adv where few neurons are unstable.

    A budget below `least` seconds leaves time for d_adv only.
    """

    name: ClassVar[str] = "auto"
    metrics: ClassVar[tuple[Metric, ...]] = ("rob", "bnd")

    least: float = 1.0

    def run(self, question: Question) -> Answer:
        return self.choose(question).run(question)

    def choose(self, question: Question) -> Estimator:
        """The estimator for this network, anchor, metric and budget."""
        if question.metric == "rob":
            return Extrapolate()
        found = question.found.distance
        if found is None or question.remaining < self.least:
            return TheAttack()
        ball = Ball(question.anchor.x.astype(np.float64), found, question.settings.domain)
        try:
            layers = pre_activation_bounds(question.network, Boxes.of(ball))
        except GraphpruneError:  # bounds overflow: no substitute could be solved on this ball
            return TheAttack()
        unstable = sum(int(layer.unstable[0].sum()) for layer in layers)
        return ReAnchored() if unstable > FEW else TheAttack()
