"""d_rob from a few evaluations of the certified margin, continued by power laws.

The certified margin of a target falls with the radius r from m = f_y(x0) - f_t(x0), at first with
the slope s = |grad| of the margin (dual norm), then faster, as the relaxation loosens. Modelled is

    m(r) = m - s r (1 + k r^p),

k from one evaluation; p from two, and before that from the depth of the network, since the gaps
of the layers multiply. The root of the model is the next radius to evaluate.

An evaluation is only as good as its radius is near the root, so the first radius is looked for
with cheap margins: a linear relaxation whose pre-activation bounds are intervals (CROWN-IBP, Zhang
et al. 2020) costs a small part of one. Its root lies below the certified radius, and that of the
linearised margin above.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.bounds import LayerBounds, Method
from graphprune.bounds.certify import margin_rows, margins_on
from graphprune.errors import GraphpruneError
from graphprune.evaluate.estimates.base import EstimateQuery, register_estimator
from graphprune.evaluate.results import Answer, EstimateStatus
from graphprune.evaluate.settings import Metric
from graphprune.number_text import number_text
from graphprune.progress import Progress, quiet
from graphprune.runtime.gradient import scores_and_gradients

Floats = NDArray[np.float64]
Margins = Callable[[float], Floats]

# Where the certified radius lies between the root of the cheap margins (1) and that of the
# linearised ones (0), on a logarithmic scale: 0.32 to 0.43 on plain-trained networks of 3 to 5
# layers, although the two roots are 3 to 150 times apart.
BETWEEN = 0.36
# Cheap margins: first taken at this share of the linearised root, at most so often, with this p.
CHEAP_FIRST, CHEAP_MOST, CHEAP_POWER = 0.1, 6, 1.0
# Evaluations of any kind, and the width of a bracket that ends halving.
ALTOGETHER, NARROW = 8, 1.15
# p per activation layer, as measured on networks of 3 to 5 layers; and the limits of any p.
DEPTH = 0.4
LEAST, MOST = 0.5, 4.0
# A margin whose excess is below this falls slower than by its slope; rounding does not matter.
SLOWER = -0.01
# Newton's steps end where they move no root by more than this share.
CONVERGED = 1e-9


@register_estimator
@dataclass(frozen=True)
class Extrapolate:
    """The root of the model of the certified margins after a few radii.

    It ends when the root moved by less than `near` (half of it in other norms than linf) from the
    last radius evaluated, or after `evaluations` at roots of the model. Where the model fails the
    radii in between are halved, which is not counted: up to eight evaluations in all. Proven:
    `lower`, the largest radius whose margins all came out positive.
    """

    name: ClassVar[str] = "extrapolate"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric.ROB,)

    evaluations: int = 3
    near: float = 0.6

    def __post_init__(self) -> None:
        if self.evaluations < 1 or not self.near > 0:
            raise GraphpruneError(f"estimate '{self.name}': evaluations and near must be positive")

    def run(self, asked: EstimateQuery) -> Answer:
        s, anchor, network = asked.settings, asked.anchor, asked.network
        reach = s.domain.search_limit(anchor.x, s.norm, s.radius)
        margin, slope = tangent(asked)
        if np.min(margin) <= 0:  # a tie: the anchor lies on the boundary
            return Answer(0.0, lower=0.0, neurons_left=network.live_neurons, attacked=False)
        linear = min(float(np.min(margin / np.maximum(slope, 1e-30))), reach)
        # The first radius is tuned for linf: in other norms it is farther off.
        near = self.near if s.norm.separable else 0.5 * self.near
        walk = RootWalk(reach, near, asked.resources.deadline, asked.resources.progress)
        own = margins_of(asked, s.method)
        # Intervals themselves have no cheaper margins than their own.
        intervals = s.method == "ibp"
        last: Method = "crown" if s.method == "alpha-crown" else s.method
        margins = own if intervals else margins_of(asked, last, below="ibp")
        law = PowerLaw(margin, slope, CHEAP_POWER)
        root = walk.root(law, margins, CHEAP_FIRST * linear, CHEAP_MOST)
        if not intervals:
            first = linear * (root / linear) ** BETWEEN
            law = PowerLaw(margin, slope, DEPTH * len(network.activations))
            root = walk.root(law, own, first, self.evaluations)
        capped = walk.lower >= reach
        status: EstimateStatus = "collapsed" if capped else "ok"
        return Answer(
            root, status, lower=walk.lower,
            neurons_left=network.live_neurons, attacked=False, capped=capped,
        )  # fmt: skip


class RootWalk:
    """From root to root of models of margins, and the largest radius proven on the way."""

    def __init__(
        self, reach: float, near: float, deadline: float = np.inf, progress: Progress = quiet
    ) -> None:
        self.reach, self.near = reach, near
        self.deadline, self.progress = deadline, progress
        self.lower = 0.0

    def root(self, model: "PowerLaw", margins: Margins, radius: float, most: int) -> float:
        """The model's root after `most` evaluations that the model explains, from `radius` on.

        Where the model contradicts what was found (margins that break off suddenly, as those of
        certifiably trained networks), the bracket is halved until it is narrow. Only the limit
        of all evaluations (`ALTOGETHER`) counts these.
        """
        root = radius = min(radius, self.reach)
        failed, left = np.inf, most
        for _ in range(ALTOGETHER):
            try:
                found = margins(radius)
            except GraphpruneError:  # the bounds overflow: far too large a radius
                root = radius = 0.25 * radius
                continue
            model.learn(radius, found)
            if found.min() > 0:
                self.lower = max(self.lower, radius)
            else:
                failed = min(failed, radius)
            root, fits = model.root()
            root = min(root, self.reach)
            fits = fits or failed == np.inf
            if (fits and self.lower < root < failed) or self.lower == self.reach:
                left -= 1
                done = left == 0 or abs(root - radius) <= self.near * radius
            else:
                low = self.lower or 0.5 * min(root, failed)
                high = failed if low < failed < np.inf else 2.0 * low
                root = min(float(np.sqrt(low * high)), self.reach)
                done = high <= NARROW * low
            self.progress(f"extrapolated {number_text(root)}")
            if done or monotonic() >= self.deadline:
                break
            radius = root
        return root


def margins_of(asked: EstimateQuery, method: Method, below: Method | None = None) -> Margins:
    """Certified margins (targets,) by radius; `below`: the method of pre-activation bounds."""
    outer: tuple[float, list[LayerBounds]] | None = None

    def margins(radius: float) -> Floats:
        nonlocal outer
        # Bounds on a ball hold on every smaller one.
        held = outer[1] if outer is not None and radius <= outer[0] else None
        ball = asked.query.ball(radius)
        found, layers = margins_on(asked.query, [ball], method, held, below=below)
        outer = radius, layers
        only: Floats = found[0]
        return only

    return margins


def tangent(asked: EstimateQuery) -> tuple[Floats, Floats]:
    """Margins (targets,) at the anchor, and how fast they can fall with the radius in the norm."""
    network, anchor, s = asked.network, asked.anchor, asked.settings
    rows = margin_rows(network, anchor.label, asked.query.target)
    x = np.repeat(anchor.x[None].astype(np.float32), len(rows), axis=0)
    logits, gradient = scores_and_gradients(network, x, rows)
    # An element at the end of the domain cannot move further out.
    down, up = (side.reshape(-1) for side in s.domain.steps(x[0]))
    free = np.where(gradient > 0, down < 0, up > 0)
    margin = np.einsum("tc,tc->t", rows, logits.astype(np.float64))
    return margin, np.array([s.norm.dual_length(row) for row in gradient * free])


class PowerLaw:
    """Margins m - s r (1 + k r^p) of all targets (targets,), as far as known."""

    def __init__(self, margin: Floats, slope: Floats, exponent: float) -> None:
        self.margin, self.slope = margin, np.maximum(slope, 1e-30)
        self.exponent = np.full(len(margin), np.clip(exponent, LEAST, MOST))
        self.radius = 0.0
        # The excess of the fall until `radius` over that by the slope: k radius^p.
        self.excess = np.zeros(len(margin))

    def learn(self, radius: float, found: Floats) -> None:
        """Go through the margins found at a radius, and keep those known at the one before."""
        excess = (self.margin - found) / (self.slope * radius) - 1.0
        if self.radius and abs(radius / self.radius - 1.0) > 0.01:
            both = (excess > 0) & (self.excess > 0)
            ratio = np.where(both, excess, 1.0) / np.where(both, self.excess, 1.0)
            exponent = np.clip(np.log(ratio) / np.log(radius / self.radius), LEAST, MOST)
            self.exponent = np.where(both, exponent, self.exponent)
        self.radius, self.excess = radius, excess

    def root(self) -> tuple[float, bool]:
        """The smallest radius where the margin of a target is 0 (infinite without one).

        And whether the law fits that margin: one that falls slower than by its slope says nothing
        of where it will break off.
        """
        # A margin that falls slower than by its slope is continued along its chord.
        chord = np.minimum(1.0 + self.excess, 1.0)
        falls = chord > 0
        r = np.where(falls, self.margin / (self.slope * np.where(falls, chord, 1.0)), np.inf)
        curved = self.excess > 0
        k = np.where(curved, self.excess, 0.0) / self.radius**self.exponent
        m, s, p = (x[curved] for x in (self.margin, self.slope, self.exponent))
        k, x = k[curved], r[curved]
        # Convex and increasing: Newton's steps from the right go down to the root.
        for _ in range(60):
            power = k * x**p
            step = (s * x * (1.0 + power) - m) / (s * (1.0 + (1.0 + p) * power))
            x = x - step
            if np.all(step <= CONVERGED * x):
                break
        r[curved] = x
        target = int(np.argmin(r))
        return float(r[target]), bool(self.excess[target] > SLOWER)
