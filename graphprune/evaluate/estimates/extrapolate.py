"""d_rob from one or two evaluations of the certified margin, continued by power laws.

The certified margin of a target falls with the radius r from m = f_y(x0) - f_t(x0), at first with
the slope s = |grad| of the margin, then faster, as the relaxation loosens. What is modelled is

    m(r) = m - s r (1 + k r^p),

k from one evaluation; p from two, and before that from the depth of the network, since the gaps
of the layers multiply. The root of the model is the next radius to evaluate.
"""

from dataclasses import dataclass
from time import monotonic
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune import transforms
from graphprune.backends.onnxruntime import compiled
from graphprune.errors import GraphpruneError
from graphprune.evaluate.estimates.base import Answer, Metric, Question
from graphprune.ir import Ball, Domain
from graphprune.passes.analysis.bounds import LayerBounds
from graphprune.passes.analysis.certify import margin_rows, margins_on

Floats = NDArray[np.float64]

# The certified radius is around this share of the radius at which the linearised margin ends.
FIRST = 0.4
# p per activation layer, as measured on networks of 3 to 5 layers; and the limits of any p.
DEPTH = 0.4
LEAST, MOST = 0.5, 4.0


@dataclass(frozen=True)
class Extrapolate:
    """The root of the model of the certified margins after a few radii.

    It ends when the root moved by less than `near` from the last radius evaluated, or after
    `evaluations`. Proven: `lower`, the largest radius whose margins all came out positive.
    """

    name: ClassVar[str] = "extrapolate"
    metrics: ClassVar[tuple[Metric, ...]] = ("rob",)

    evaluations: int = 2
    near: float = 0.3

    def __post_init__(self) -> None:
        if self.evaluations < 1 or not self.near > 0:
            raise GraphpruneError(f"estimate '{self.name}': evaluations and near must be positive")

    def run(self, question: Question) -> Answer:
        s, anchor, network = question.settings, question.anchor, question.network
        reach = s.domain.search_limit(anchor.x)
        margin, slope = tangent(question, s.domain)
        root = float(np.min(margin / np.maximum(slope, 1e-30)))
        model = PowerLaw(margin, slope, DEPTH * len(network.activations))
        radius, lower = min(FIRST * root, reach), 0.0
        outer: list[LayerBounds] | None = None
        for _ in range(self.evaluations):
            try:
                ball = Ball(anchor.x.astype(np.float64), radius, s.domain, s.norm)
                margins, layers = margins_on(network, anchor, [ball], s.method, outer)
            except GraphpruneError:  # the bounds overflow: far too large a radius
                radius *= 0.25
                continue
            found = margins[0]
            model.learn(radius, found)
            if found.min() > 0:
                lower = max(lower, radius)
            root = min(model.root(), reach)
            question.progress(f"extrapolated {root:.5f}")
            if abs(root - radius) <= self.near * radius or monotonic() >= question.deadline:
                break
            # What holds on a ball holds on every smaller one.
            outer = layers if root < radius else None
            radius = root
        complete = s.domain.bounded and lower >= reach
        return Answer(
            max(root, lower), "collapsed" if complete else "ok", lower=lower,
            neurons_left=network.living_neurons, attacked=False, capped=complete,
        )  # fmt: skip


def tangent(question: Question, domain: Domain) -> tuple[Floats, Floats]:
    """Margins (targets,) at the anchor, and how fast they can fall with the radius."""
    network, anchor = question.network, question.anchor
    rows = margin_rows(network, anchor.label).astype(np.float32)
    x = np.repeat(anchor.x[None].astype(np.float32), len(rows), axis=0)
    run = compiled(network, "gradient", lambda: transforms.gradient(network))
    logits, gradient = run({"x": x, "rows": rows})
    gradient = gradient.reshape(len(rows), -1).astype(np.float64)
    flat = x[0].reshape(-1)
    # An element at the end of the domain cannot move further out.
    free = np.where(gradient > 0, flat > domain.low, flat < domain.high)
    margin = np.einsum("tc,tc->t", rows.astype(np.float64), logits.astype(np.float64))
    return margin, (np.abs(gradient) * free).sum(axis=1)


class PowerLaw:
    """Margins m - s r (1 + k r^p) of all targets (targets,), as far as known."""

    def __init__(self, margin: Floats, slope: Floats, exponent: float) -> None:
        self.margin, self.slope = margin, np.maximum(slope, 1e-30)
        self.exponent = np.full(len(margin), np.clip(exponent, LEAST, MOST))
        self.radius = 0.0
        # How much faster than by its slope the margin fell until `radius`: k radius^p.
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

    def root(self) -> float:
        """The smallest radius where the margin of a target is 0; infinite without one."""
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
            x = x - (s * x * (1.0 + power) - m) / (s * (1.0 + (1.0 + p) * power))
        r[curved] = x
        return float(np.min(r))
