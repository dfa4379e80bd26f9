"""d_bnd by substitutes that enclose the network: an interval that is proven.

A replaced neuron keeps its triangle on the ball (z, 0 and the chord between its certified bounds)
instead of its ReLU, so every point of the network is a point of the substitute, and a lower bound
of the substitute's distance is one of the network's. The smaller program has one binary per
neuron that is still exact. A ladder returns the most damaging neurons to exact, a growing number
per step; points that steps find are carried back to the network and lower the upper end. The last
step, with every neuron exact, is the exact solver itself.

That solver's search encloses what it has not split yet in the same way, one neuron at a time. So
the ladder pays only between what the first attempt settles and what a few exact neurons leave
wide open; elsewhere the last step comes first.
"""

from dataclasses import dataclass, field
from time import monotonic
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.protocol import DistanceInterval, is_exact
from graphprune.backends.relaxation.condensed import Condensed, bounds_of, condense
from graphprune.backends.scip.influence import most_damaging
from graphprune.backends.scip.solve import solve_target
from graphprune.bounds import Boxes, linear_bounds, pre_activation_bounds
from graphprune.bounds.certify import margin_rows
from graphprune.errors import GraphpruneError
from graphprune.evaluate.distance import DistanceSettings, exact_distance
from graphprune.evaluate.estimates.base import EstimateQuery, register_estimator
from graphprune.evaluate.results import Answer, EstimateStatus
from graphprune.evaluate.settings import Metric
from graphprune.region import Ball
from graphprune.runtime.resources import Resources

Floats = NDArray[np.float64]

# The network's boundary is looked for so far beyond a substitute's point.
BEYOND = 1.5
# More unstable neurons than this, and steps with few exact ones say no more than the certificate.
CROWDED = 256


@register_estimator
@dataclass(frozen=True)
class Sound:
    """A proven interval from enclosing substitutes with ever more exact neurons.

    `first` neurons are exact on the first step, `growth` times as many on each further one, until
    (upper - lower) / upper is at most `gap`. Rungs with more than `most` exact neurons are left to
    the exact solver; the ladder has a `share` of the time.
    """

    name: ClassVar[str] = "sound"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric.BND,)

    first: int = 4
    growth: float = 3.0
    most: int = 64
    share: float = 0.3
    gap: float = 1e-4

    def __post_init__(self) -> None:
        if self.first < 0 or not self.growth > 1 or not 0 <= self.share < 1 or not self.gap > 0:
            raise GraphpruneError(
                f"estimate '{self.name}': first >= 0, growth > 1, 0 <= share < 1, gap > 0"
            )

    def run(self, asked: EstimateQuery) -> Answer:
        q, s = asked, asked.settings
        ladder = Ladder(self)
        found = exact_distance(
            q.query,
            q.resources,
            DistanceSettings(s.radius, s.solver, self.gap, attack=q.found, before=ladder),
        )
        status: EstimateStatus = "collapsed" if found.status == "robust" else found.status
        if found.upper is not None and is_exact(found.lower, found.upper, self.gap):
            status = found.status if found.status == "exact" else "ok"  # as tight as asked
        return Answer(
            found.upper, status, lower=found.lower, upper=found.upper,
            certified=found.certified, capped=status == "collapsed", witness=found.witness,
            neurons_left=q.network.live_neurons if ladder.exact is None else ladder.exact,
        )  # fmt: skip


@dataclass(eq=False)
class Ladder:
    """A backend: lower bounds from programs with few binaries.

    Attributes
    ----------
    exact
        Exact neurons of the step that closed the interval; None where none did.
    """

    options: Sound
    name: ClassVar[str] = "ladder"
    exact: int | None = field(default=None, init=False)

    def run(self, interval: DistanceInterval, resources: Resources) -> None:
        """Rungs until the interval is closed or the share of the time is used."""
        problem, witness = interval.problem, interval.witness
        crowded = (interval.unstable or 0) > CROWDED
        if witness is None or crowded or not problem.network.piecewise_linear:
            return
        deadline = monotonic() + self.options.share * resources.remaining()
        ball = problem.query.ball(witness.distance)
        layers = pre_activation_bounds(problem.network, Boxes.of(ball))
        condensed = condense(problem.network, bounds_of(layers), ball)
        if condensed.unstable > CROWDED:
            return  # SCIP alone makes no first attempt that would have told
        rows = margin_rows(problem.network, problem.anchor.label, problem.target)
        margins = linear_bounds(problem.network, Boxes.of(ball), layers, rows)[0]
        # Targets that bounds exclude are no nearer than the ball's radius.
        lowers = {int(i): interval.lower for i in np.flatnonzero(~(margins > 0))}
        count = self.options.first
        while not interval.closed:
            finished = _step(
                interval, condensed, ball, rows, lowers, count, resources.memory, deadline
            )
            interval.raise_lower(min([interval.upper, *lowers.values()]), certified=False)
            interval.report(f"sound, {min(count, condensed.unstable)} exact", always=True)
            if interval.closed:
                self.exact = min(count, condensed.unstable)
            if not finished or count >= condensed.unstable:
                break
            count = max(int(self.options.growth * count), 1)
            if count > self.options.most:
                break


def _step(
    interval: DistanceInterval, condensed: Condensed, ball: Ball, rows: Floats,
    lowers: dict[int, float], count: int, memory: int, deadline: float,
) -> bool:  # fmt: skip
    """Solve the targets with `count` exact neurons, the nearest first; False out of time."""
    start = interval.problem.anchor.center
    for target in sorted(lowers, key=lambda t: lowers[t]):
        if lowers[target] >= interval.upper:
            continue
        if deadline - monotonic() <= 0.05:
            return False
        result = solve_target(
            condensed, ball, rows[target], lower=lowers[target],
            resources=Resources(deadline, memory, progress=interval.progress),
            exact=most_damaging(condensed, rows[target], count),
        )  # fmt: skip
        lowers[target] = max(lowers[target], result.lower)
        if result.point is not None:
            # The network's boundary in the direction of the substitute's point.
            step = result.point.reshape(start.shape) - start
            interval.add_candidate(start + BEYOND * step, deadline=deadline)
            if interval.refuted(lowers[target], int(np.argmin(rows[target]))):
                lowers[target] = interval.proven
        if not result.finished:
            return False
    return True
