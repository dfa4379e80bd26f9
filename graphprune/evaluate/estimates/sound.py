"""d_bnd by substitutes that enclose the network: an interval that is proven.

A replaced neuron keeps its triangle on the ball (z, 0 and the chord between its certified bounds)
instead of its ReLU, so every point of the network is a point of the substitute, and a lower bound
of the substitute's distance is one of the network's. The smaller program has one binary per
neuron that is still exact. A ladder returns the most damaging neurons to exact, a growing number
per rung; points that rungs find are carried back to the network and lower the upper end. The last
rung, with every neuron exact, is the exact solver itself.
"""

from dataclasses import dataclass
from time import monotonic
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.condensed import Condensed, bounds_of, condense
from graphprune.backends.protocol import is_exact
from graphprune.backends.scip.influence import most_damaging
from graphprune.backends.scip.solve import solve_target
from graphprune.errors import GraphpruneError, UnsupportedError
from graphprune.evaluate.distance import distance
from graphprune.evaluate.estimates.base import Answer, Metric, Question
from graphprune.ir import Ball
from graphprune.passes.analysis.attack import Attack
from graphprune.passes.analysis.attack_polish import polish
from graphprune.passes.analysis.bounds import Boxes, linear_bounds, pre_activation_bounds
from graphprune.passes.analysis.certify import Certificate, certify, margin_rows
from graphprune.passes.analysis.witness import Witness, closest_on_ray

Floats = NDArray[np.float64]

# How far beyond a rung's point the network's boundary is looked for.
BEYOND = 1.5


@dataclass(frozen=True)
class Sound:
    """A proven interval from enclosing substitutes with ever more exact neurons.

    `first` neurons are exact on the first rung, `growth` times as many on each further one, until
    (upper - lower) / upper is at most `gap`. Rungs with more than `most` exact neurons are left to
    the exact solver; the ladder has a `share` of the time.
    """

    name: ClassVar[str] = "sound"
    metrics: ClassVar[tuple[Metric, ...]] = ("bnd",)

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

    def run(self, question: Question) -> Answer:
        q = question
        s = q.settings
        best = q.found.witness
        if best is not None:
            best = polish(q.network, q.anchor, s.domain, best, deadline=q.deadline)
        proof = certify(
            q.network, q.anchor, domain=s.domain, method=s.method,
            upper=None if best is None else best.distance,
            time_limit=0.25 * q.remaining, progress=q.progress,
        )  # fmt: skip
        ladder = None
        if best is not None:
            ladder = _Ladder(q, best, proof)
            best = ladder.climb(self)
        lower = proof.radius if ladder is None else max(proof.radius, ladder.lower)
        status = "interval"
        certified = lower <= proof.radius
        neurons = q.network.living_neurons if ladder is None else ladder.exact
        if best is None or best.distance - lower > self.gap * best.distance:
            result = distance(
                q.network, q.anchor, domain=s.domain, radius=s.radius, solver=s.solver,
                time_limit=q.remaining, known_attack=Attack(best, 0.0), known_certificate=proof,
                workers=s.workers, memory=s.memory, progress=q.progress,
            )  # fmt: skip
            best = result.witness or best
            neurons = q.network.living_neurons
            if result.lower >= lower:
                lower, certified = result.lower, result.certified
            if result.status == "robust":
                return Answer(
                    None, "collapsed", lower=lower, certified=certified, capped=True,
                    neurons_left=neurons,
                )  # fmt: skip
        upper = None if best is None else best.distance
        if upper is not None:
            lower = min(lower, upper)
            status = "exact" if is_exact(lower, upper) else "interval"
        return Answer(
            upper, "exact" if status == "exact" else "interval", lower=lower, upper=upper,
            certified=certified, neurons_left=neurons, witness=best,
        )  # fmt: skip


class _Ladder:
    """Lower bounds per target from programs with few binaries."""

    def __init__(self, question: Question, best: Witness, proof: Certificate) -> None:
        self.question = question
        self.best = best
        self.proof = proof
        self.lower = proof.radius
        self.exact = 0

    def climb(self, options: Sound) -> Witness:
        """Rungs until the interval is as tight as asked, or the share of the time is used."""
        q = self.question
        deadline = monotonic() + options.share * q.remaining
        ball = Ball(q.anchor.x.astype(np.float64), self.best.distance, q.settings.domain)
        layers = pre_activation_bounds(q.network, Boxes.of(ball))
        try:
            condensed = condense(q.network, bounds_of(layers), ball)
        except UnsupportedError:
            return self.best  # smooth activations: the certificate is what there is
        rows = margin_rows(q.network, q.anchor.label)
        margins = linear_bounds(q.network, Boxes.of(ball), layers, rows)[0]
        # Targets that bounds exclude are no nearer than the ball's radius.
        lowers = {int(i): self.lower for i in np.flatnonzero(margins <= 0)}
        count = options.first
        while not self._tight(options.gap):
            finished = self._rung(condensed, ball, rows, lowers, count, deadline)
            whole = count >= condensed.unstable
            count = max(int(options.growth * count), 1)
            if not finished or whole or count > options.most:
                break
        return self.best

    def _tight(self, gap: float) -> bool:
        return self.best.distance - self.lower <= gap * self.best.distance

    def _rung(
        self, condensed: Condensed, ball: Ball, rows: Floats, lowers: dict[int, float], count: int,
        deadline: float,
    ) -> bool:  # fmt: skip
        """Solve the targets with `count` exact neurons, the nearest first; False out of time."""
        q = self.question
        for target in sorted(lowers, key=lambda t: lowers[t]):
            if lowers[target] >= self.best.distance:
                continue
            remaining = deadline - monotonic()
            if remaining <= 0.05:
                break
            exact = most_damaging(condensed, rows[target], count)
            result = solve_target(
                condensed, ball, rows[target], lower=lowers[target], time_limit=remaining,
                exact=exact, progress=q.progress,
            )  # fmt: skip
            lowers[target] = max(lowers[target], result.lower)
            if result.point is not None:
                self._offer(result.point)
            if not result.finished:
                break
        else:
            self.exact = min(count, condensed.unstable)
            self.lower = max(self.lower, min([self.best.distance, *lowers.values()]))
            q.progress(f"sound [{self.lower:.5f}, {self.best.distance:.5f}], {count} exact")
            return True
        self.lower = max(self.lower, min([self.best.distance, *lowers.values()]))
        return False

    def _offer(self, point: Floats) -> None:
        """The network's boundary in the direction of a substitute's point."""
        q, domain = self.question, self.question.settings.domain
        start = q.anchor.x.astype(np.float64)
        step = point.reshape(start.shape) - start
        found = closest_on_ray(q.network, q.anchor, domain, start + BEYOND * step)
        if found is not None:
            better = polish(q.network, q.anchor, domain, found, deadline=q.deadline)
            if better.distance < self.best.distance:
                self.best = better
