"""d_bnd by substitutes that learn from their own mistakes.

A substitute that is exact at the anchor and at every point looked at so far, linear where these
points allow it, is solved; its minimiser is carried back to the network by a search along the ray
and by polishing, and becomes one more point at which the next substitute is exact. That goes on
until the substitute knows of nothing closer than the best point found, so the estimate is the
distance of a confirmed adversarial point: a proven upper bound.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.attacks.attack import Attack
from graphprune.attacks.confirm import Witness, closest_on_ray
from graphprune.attacks.polish import polish
from graphprune.errors import GraphpruneError, OutOfTimeError
from graphprune.evaluate.distance import DistanceSettings, exact_distance
from graphprune.evaluate.estimates.base import EstimateQuery, register_estimator
from graphprune.evaluate.results import Answer
from graphprune.evaluate.settings import Metric
from graphprune.number_text import number_text
from graphprune.passes.rewrite.fuse_affine import FuseAffine
from graphprune.passes.rewrite.substitute import Substitute
from graphprune.pipeline import Pipeline
from graphprune.substitutes import KeptPoints

# A step counts as an improvement when it shortens the distance by more than this share.
GAIN = 1e-4
# The network's boundary is looked for so far beyond the substitute's minimiser.
BEYOND = 1.5


@register_estimator
@dataclass(frozen=True)
class ReAnchored:
    """Substitutes exact at every point seen, rebuilt until they know of nothing closer."""

    name: ClassVar[str] = "re-anchored"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric.BND,)

    rounds: int = 6
    # The share of a substitute's distance problem in the time left.
    share: float = 0.3

    def run(self, asked: EstimateQuery) -> Answer:
        if asked.found.witness is None:
            raise GraphpruneError(f"estimate '{self.name}': the attack found no adversarial point")
        loop = _Loop(asked, asked.found.witness)
        loop.improve(asked.found.witness)
        for _ in range(self.rounds):
            try:
                if not loop.round(self.share):
                    break
            except OutOfTimeError:
                break
        best = loop.best
        return Answer(
            best.distance, upper=best.distance, neurons_left=loop.neurons,
            prune_seconds=loop.prune_seconds, witness=best,
        )  # fmt: skip


class _Loop:
    """The points seen so far, and the best of them."""

    def __init__(self, asked: EstimateQuery, witness: Witness) -> None:
        self.asked = asked
        self.best = witness
        self.seen: list[NDArray[np.floating]] = []
        self.neurons = asked.network.live_neurons
        self.prune_seconds = 0.0
        # Every neuron that a line through the kept points fits goes, in all layers, at once.
        every = tuple(range(1, len(asked.network.source_activations) + 1))
        whole = Substitute(only=every, gamma=1.0, step=1.0, rank="range", bounds="ibp")
        self.pipeline = Pipeline((whole, FuseAffine()))

    def improve(self, witness: Witness) -> None:
        """Polish a point of the network's boundary; it may be the best so far."""
        q = self.asked
        better = polish(q.query, witness, deadline=q.resources.deadline)
        if better.distance < self.best.distance:
            self.best = better

    def round(self, share: float) -> bool:
        """Solve one substitute; False where it knows of nothing closer than the best point."""
        q, resources = self.asked, self.asked.resources
        # The best point comes first, as contexts expect it; a line has to be exact at all of them.
        points = KeptPoints((self.best.x, *self.seen))
        norm = q.query.norm
        attack = Attack(self.best, 0.0, norm)
        result = self.pipeline.run(
            q.network, q.anchor, domain=q.query.domain, facts=(attack, points),
            deadline=resources.deadline, progress=resources.progress,
        )  # fmt: skip
        substitute = result.network
        self.neurons = substitute.live_neurons
        self.prune_seconds += sum(p.seconds for p in result.report)
        known = closest_on_ray(q.query.about(substitute), self.best.x)
        solved = exact_distance(
            q.query.about(substitute),
            resources.within(share * q.remaining),
            DistanceSettings(
                solver=q.settings.solver,
                attack=None if known is None else Attack(known, 0.0, norm),
            ),
        ).witness
        resources.progress(f"re-anchored {number_text(self.best.distance)}")
        if solved is None or solved.distance >= self.best.distance * (1.0 - GAIN):
            return False
        # The next substitute knows better about this point; its surroundings may hold a closer one.
        self.seen.append(solved.x)
        start = q.anchor.center
        step = solved.x.astype(np.float64) - start
        back = closest_on_ray(q.query, start + BEYOND * step)
        if back is not None:
            self.improve(back)
        return True
