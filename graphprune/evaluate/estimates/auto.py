"""The estimate to take when nobody says which."""

from dataclasses import dataclass, replace
from typing import ClassVar

from graphprune.attacks.attack import Attack
from graphprune.attacks.confirm import Witness
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.errors import GraphpruneError
from graphprune.evaluate.estimates.base import EstimateQuery, register_estimator
from graphprune.evaluate.estimates.extrapolate import Extrapolate
from graphprune.evaluate.estimates.nearest import Nearest
from graphprune.evaluate.estimates.reanchored import ReAnchored
from graphprune.evaluate.results import Answer
from graphprune.evaluate.settings import Metric

# Unstable neurons in the ball of the nearest point. Up to `FEW`, a fast attack is off by some
# thousandths; up to `SOME`, an attack from random points too finds what it misses, and the exact
# distance takes about as long as one substitute.
FEW, SOME = 30, 150
STANDARD = "nearest{effort=standard}"


@register_estimator
@dataclass(frozen=True)
class AutoEstimate:
    """d_rob: `extrapolate`. d_bnd: by how many neurons are unstable as far as the nearest point.

    With few it is `nearest`, with some `nearest` at effort standard, with many `re-anchored`. A
    budget below `least` seconds leaves time for `nearest` only. The answer says what was chosen.
    """

    name: ClassVar[str] = "auto"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric.ROB, Metric.BND)

    least: float = 1.0

    def run(self, asked: EstimateQuery) -> Answer:
        if asked.metric is Metric.ROB:
            return replace(Extrapolate().run(asked), chosen=Extrapolate.name)
        budget = asked.remaining
        answer = Nearest().run(asked)
        nearest = replace(answer, chosen=Nearest.name)
        if budget < self.least or answer.witness is None:
            return nearest
        unstable = _unstable(asked, answer.witness.distance)
        if unstable <= FEW:
            return nearest
        if unstable <= SOME:
            better = replace(Nearest("standard").run(asked), chosen=STANDARD)
        else:
            better = replace(ReAnchored().run(_from(asked, answer.witness)), chosen=ReAnchored.name)
        if better.value is None or better.value > answer.witness.distance:
            return nearest  # out of time
        return replace(better, attacked=better.attacked or answer.attacked)


def _from(asked: EstimateQuery, witness: Witness) -> EstimateQuery:
    """The same question with the closest point known by now."""
    known = asked.found.distance
    if known is not None and known <= witness.distance:
        return asked
    return replace(asked, found=Attack(witness, 0.0, asked.query.norm))


def _unstable(asked: EstimateQuery, radius: float) -> int:
    """Count the neurons that are unstable within the radius."""
    ball = asked.anchor.ball(radius, asked.query.domain)
    try:
        layers = pre_activation_bounds(asked.network, Boxes.of(ball))
    except GraphpruneError:  # bounds overflow: no substitute could be solved on this ball
        return 0
    return sum(int(layer.unstable[0].sum()) for layer in layers)
