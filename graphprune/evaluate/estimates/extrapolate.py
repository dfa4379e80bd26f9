"""d_rob from a few evaluations of the certified margin, continued by parabolas.

The certified margin of a target falls with the radius r from f_y(x0) - f_t(x0), at first with the
slope |grad| of the margin, then faster, as the relaxation loosens. A parabola through the value at
r = 0 and the last two evaluations (at first: through value and slope at 0 and one evaluation)
meets 0 close to where the margin does; the next evaluation goes there.
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
from graphprune.ir import Domain
from graphprune.passes.analysis.certify import certified_margins, margin_rows

Floats = NDArray[np.float64]

# The certified radius is around this share of the radius at which the linearised margin ends.
FIRST = 0.4


@dataclass(frozen=True)
class Extrapolate:
    """The root of parabolas through the certified margins at a few radii.

    It ends when the root moved by less than `near` from the last radius evaluated, or after
    `evaluations`. Proven: `lower`, the largest radius whose margins all came out positive.
    """

    name: ClassVar[str] = "extrapolate"
    metrics: ClassVar[tuple[Metric, ...]] = ("rob",)

    evaluations: int = 3
    near: float = 0.08

    def __post_init__(self) -> None:
        if self.evaluations < 1 or not self.near > 0:
            raise GraphpruneError(f"estimate '{self.name}': evaluations and near must be positive")

    def run(self, question: Question) -> Answer:
        s, anchor, network = question.settings, question.anchor, question.network
        reach = s.domain.search_limit(anchor.x)
        margin, slope = tangent(question, s.domain)
        radii, values = [0.0], [margin]
        root = float(np.min(margin / np.maximum(slope, 1e-30)))
        radius, lower = min(FIRST * root, reach), 0.0
        for _ in range(self.evaluations):
            try:
                found = certified_margins(network, anchor, radius, s.domain, s.method)
            except GraphpruneError:  # the bounds overflow: far too large a radius
                radius *= 0.25
                continue
            radii.append(radius)
            values.append(found)
            if found.min() > 0:
                lower = max(lower, radius)
            root = min(parabola_root(radii, values, slope), reach)
            question.progress(f"extrapolated {root:.5f}")
            if abs(root - radius) <= self.near * radius or monotonic() >= question.deadline:
                break
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


def parabola_root(radii: list[float], values: list[Floats], slope: Floats) -> float:
    """The smallest positive root over the targets; infinite where no parabola has one."""
    last, y2 = radii[-1], values[0] - values[-1]
    if len(radii) == 2:
        b = slope
    else:
        before, y1 = radii[-2], values[0] - values[-2]
        # y = b r + c r^2 through both evaluations.
        b = (y1 * last / before - y2 * before / last) / (last - before)
    c = (y2 - b * last) / last**2
    m = values[0]
    square = b * b + 4.0 * c * m
    # 2 m / (b + sqrt(b^2 + 4 c m)): the nearer root, without cancellation.
    bottom = b + np.sqrt(np.maximum(square, 0.0))
    ok = (square >= 0) & (bottom > 0)
    roots = np.where(ok, 2.0 * m / np.where(ok, bottom, 1.0), np.inf)
    return float(np.min(roots))
