"""The baseline that substitutes are measured against: the plain big-M program of one target."""

from dataclasses import dataclass
from time import monotonic
from typing import ClassVar

import numpy as np

from graphprune.attacks.confirm import closest_on_ray
from graphprune.backends.relaxation.condensed import bounds_of, condense
from graphprune.backends.scip import solve_target
from graphprune.bounds import Boxes, Method, pre_activation_bounds
from graphprune.errors import GraphpruneError
from graphprune.evaluate.estimates.base import EstimateQuery, register_estimator
from graphprune.evaluate.results import Answer
from graphprune.evaluate.settings import Metric
from graphprune.runtime.resources import Resources


@register_estimator
@dataclass(frozen=True)
class PlainMilp:
    """The plain MILP for the attack's target alone, big-M from interval bounds at d_adv.

    No lower bound, no start solution and no search strategy helps SCIP. It has a time limit of its
    own, at which it is censored. Source of the formulation: Tjeng et al. 2019.
    """

    name: ClassVar[str] = "milp"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric.BND,)

    bounds: Method = "ibp"
    seconds: float = 120.0

    def run(self, asked: EstimateQuery) -> Answer:
        found, anchor = asked.found.witness, asked.anchor
        if not asked.network.piecewise_linear:
            raise GraphpruneError(
                f"estimate '{self.name}': a program of ReLUs alone; of networks with smooth"
                " activations the metric bnd and other estimates know more"
            )
        if found is None:
            raise GraphpruneError(f"estimate '{self.name}': the attack found no adversarial point")
        ball = asked.query.ball(found.distance)
        layers = pre_activation_bounds(asked.network, Boxes.of(ball), self.bounds)
        condensed = condense(asked.network, bounds_of(layers), ball)
        row = np.zeros(asked.network.classes)
        row[anchor.label], row[found.target] = 1.0, -1.0
        result = solve_target(
            condensed, ball, row, lower=0.0,
            resources=Resources(monotonic() + self.seconds, progress=asked.resources.progress),
        )  # fmt: skip
        witness = None
        if result.point is not None:
            point = result.point.reshape(anchor.x.shape)
            witness = closest_on_ray(asked.query, point)
        if witness is None or witness.distance > found.distance:
            witness = found  # nothing closer is known than what the ball was drawn through
        binaries = sum(len(layer.offset) for layer in condensed.layers)
        return Answer(
            witness.distance, "exact" if result.finished else "interval", upper=witness.distance,
            neurons_left=binaries, witness=witness,
        )  # fmt: skip
