"""The estimate to take when nobody says which."""

from dataclasses import dataclass, replace
from typing import ClassVar

from graphprune.attacks.attack import Attack
from graphprune.attacks.confirm import Witness
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.errors import GraphpruneError
from graphprune.evaluate.estimates.base import Answer, Metric, Question
from graphprune.evaluate.estimates.extrapolate import Extrapolate
from graphprune.evaluate.estimates.nearest import Nearest
from graphprune.evaluate.estimates.reanchored import ReAnchored

# Unstable neurons in the ball of the nearest point. Up to `FEW`, a fast attack is off by some
# thousandths; up to `SOME`, an attack from random points too finds what it misses, and the exact
# distance takes about as long as one substitute.
FEW, SOME = 30, 150
STANDARD = "nearest{effort=standard}"


@dataclass(frozen=True)
class Auto:
    """d_rob: `extrapolate`. d_bnd: by how many neurons are unstable as far as the nearest point.

    With few it is `nearest`, with some `nearest` at effort standard, with many `re-anchored`. A
    budget below `least` seconds leaves time for `nearest` only. The answer says what was chosen.
    """

    name: ClassVar[str] = "auto"
    metrics: ClassVar[tuple[Metric, ...]] = ("rob", "bnd")

    least: float = 1.0

    def run(self, question: Question) -> Answer:
        if question.metric == "rob":
            return replace(Extrapolate().run(question), chosen=Extrapolate.name)
        budget = question.remaining
        answer = Nearest().run(question)
        nearest = replace(answer, chosen=Nearest.name)
        if budget < self.least or answer.witness is None:
            return nearest
        unstable = _unstable(question, answer.witness.distance)
        if unstable <= FEW:
            return nearest
        if unstable <= SOME:
            better = replace(Nearest("standard").run(question), chosen=STANDARD)
        else:
            better = replace(
                ReAnchored().run(_from(question, answer.witness)), chosen=ReAnchored.name
            )
        if better.value is None or better.value > answer.witness.distance:
            return nearest  # out of time
        return replace(better, attacked=better.attacked or answer.attacked)


def _from(question: Question, witness: Witness) -> Question:
    """The question with the closest point known by now."""
    known = question.found.distance
    if known is not None and known <= witness.distance:
        return question
    return replace(question, found=Attack(witness, 0.0))


def _unstable(question: Question, radius: float) -> int:
    """How many neurons are unstable within the radius."""
    ball = question.anchor.ball(radius, question.settings.domain)
    try:
        layers = pre_activation_bounds(question.network, Boxes.of(ball))
    except GraphpruneError:  # bounds overflow: no substitute could be solved on this ball
        return 0
    return sum(int(layer.unstable[0].sum()) for layer in layers)
