"""The estimate to take when nobody says which."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from graphprune.errors import GraphpruneError
from graphprune.evaluate.estimates.base import Answer, Metric, Question
from graphprune.evaluate.estimates.extrapolate import Extrapolate
from graphprune.evaluate.estimates.nearest import Nearest
from graphprune.evaluate.estimates.reanchored import ReAnchored
from graphprune.ir import Ball
from graphprune.passes.analysis.bounds import Boxes, pre_activation_bounds

# With fewer unstable neurons in the ball of the nearest point the exact distance takes about as
# long as one substitute.
FEW = 150


@dataclass(frozen=True)
class Auto:
    """d_rob: `extrapolate`. d_bnd: `nearest`, or `re-anchored` where many neurons are unstable.

    A budget below `least` seconds leaves time for `nearest` only. The answer says what was chosen.
    """

    name: ClassVar[str] = "auto"
    metrics: ClassVar[tuple[Metric, ...]] = ("rob", "bnd")

    least: float = 1.0

    def run(self, question: Question) -> Answer:
        if question.metric == "rob":
            return replace(Extrapolate().run(question), chosen=Extrapolate.name)
        budget = question.remaining
        answer = Nearest().run(question)
        enough = budget >= self.least and question.found.witness is not None
        if not enough or answer.value is None or not _crowded(question, answer.value):
            return replace(answer, chosen=Nearest.name)
        return replace(ReAnchored().run(question), chosen=ReAnchored.name)


def _crowded(question: Question, radius: float) -> bool:
    """Whether more neurons than `FEW` are unstable within the radius."""
    ball = Ball(question.anchor.x.astype(np.float64), radius, question.settings.domain)
    try:
        layers = pre_activation_bounds(question.network, Boxes.of(ball))
    except GraphpruneError:  # bounds overflow: no substitute could be solved on this ball
        return False
    return sum(int(layer.unstable[0].sum()) for layer in layers) > FEW
