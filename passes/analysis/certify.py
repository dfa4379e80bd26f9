"""d_rob: the largest radius that a linear relaxation certifies, by root finding on the margin."""

from dataclasses import dataclass
from time import monotonic
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import GraphpruneError
from graphprune.ir import Anchor, Ball, Domain, Network, Norm
from graphprune.passbase import Facts, Promise, State, provides, register_pass
from graphprune.passes.analysis.attack import Attack
from graphprune.passes.analysis.bounds import (
    METHODS,
    Boxes,
    Method,
    linear_bounds,
    pre_activation_bounds,
)
from graphprune.progress import Progress, quiet

# The search stops when failed / certified radius is at most this.
PRECISION = 1.001


@dataclass(frozen=True)
class Certificate:
    """Result of a radius search.

    Attributes
    ----------
    radius
        Largest radius certified: nothing in the ball is adversarial, rounding included.
    complete
        The whole domain is certified: there is no adversarial point at all.
    method
        The bounds used.
    seconds
        Wall time.
    """

    radius: float
    complete: bool
    method: str
    seconds: float


def margin_rows(network: Network, label: int) -> NDArray[np.float64]:
    """Rows (classes - 1, classes) of f_y - f_t, targets in increasing order."""
    rows = -np.eye(network.classes)
    rows[:, label] += 1.0
    others: NDArray[np.float64] = np.delete(rows, label, axis=0)
    return others


def certified_margins(
    network: Network, anchor: Anchor, radius: float, domain: Domain, method: Method = "crown"
) -> NDArray[np.float64]:
    """Proven lower bounds (classes - 1,) of the margins on a ball, targets increasing."""
    boxes = Boxes.of(Ball(anchor.x.astype(np.float64), radius, domain))
    layers = pre_activation_bounds(network, boxes, method)
    rows = margin_rows(network, anchor.label)
    margins: NDArray[np.float64] = linear_bounds(network, boxes, layers, rows, method)[0]
    return margins


def certify(
    network: Network,
    anchor: Anchor,
    *,
    domain: Domain | None = None,
    method: Method = "crown",
    norm: Norm = "linf",
    upper: float | None = None,
    time_limit: float = np.inf,
    progress: Progress = quiet,
) -> Certificate:
    """Largest certified radius around a correctly classified anchor, to 0.1 %.

    Parameters
    ----------
    method
        ``fastlin``, ``crown`` (or ``ibp``, ``fastlin-ibp``).
    norm
        Of the radius.
    upper
        A distance known to hold an adversarial point: where the search may stop looking.
    time_limit
        Seconds; the largest radius certified so far is returned when they are over.
    """
    if method not in METHODS:
        raise GraphpruneError(f"unknown method '{method}'; known: {', '.join(METHODS)}")
    if norm != "linf":
        raise GraphpruneError(f"d_rob knows the norm linf only, not {norm}")
    start = monotonic()
    domain = domain or Domain()
    reach = domain.search_limit(anchor.x)
    low, low_margin = 0.0, np.inf
    high, high_margin = np.inf, -np.inf
    radius = min(0.5 * upper, reach) if upper else min(0.01, reach)
    while monotonic() - start < time_limit:
        margin = _margin(network, anchor, radius, domain, method)
        if margin > 0:
            low, low_margin = radius, margin
            if low >= reach:
                break
        else:
            high, high_margin = radius, margin
        progress(f"certified {low:.5f}")
        if high <= PRECISION * low or high < 1e-9:
            break
        radius = _next(low, low_margin, high, high_margin, min(upper or np.inf, reach))
    complete = domain.bounded and low >= reach
    return Certificate(low, complete, method, monotonic() - start)


def _margin(
    network: Network, anchor: Anchor, radius: float, domain: Domain, method: Method
) -> float:
    """The smallest certified margin; minus infinity where the bounds overflow."""
    if network.classes < 2:
        raise GraphpruneError("the network has one output: no decision boundary is defined")
    try:
        return float(np.min(certified_margins(network, anchor, radius, domain, method)))
    except GraphpruneError:
        return -np.inf


def _next(low: float, low_margin: float, high: float, high_margin: float, limit: float) -> float:
    """The next radius: grow, shrink, or the secant's root kept inside the bracket."""
    if not np.isfinite(high):
        return min(2.0 * low, limit) if low < limit else low * 2.0
    if low == 0.0:
        return 0.5 * high
    if high > 1.5 * low or not np.isfinite(high_margin):
        inner = 0.5 * (low + high)
    else:
        inner = low + (high - low) * low_margin / (low_margin - high_margin)
    if high <= 1.5 * low and np.isfinite(high_margin):
        # Aim a little to the side of the root: one evaluation on each side closes the bracket.
        below, above = inner * 0.9996, inner * 1.0004
        inner = below if low < below and below - low > 0.3 * (high - low) else above
    width = high - low
    return float(np.clip(inner, low + 0.05 * width, high - 0.05 * width))


@provides(Certificate)
@register_pass
@dataclass(frozen=True)
class CertifyPass:
    """Find the largest certified radius."""

    name: ClassVar[str] = "certify"
    promise: ClassVar[Promise] = "everywhere"
    needs: ClassVar[Facts] = frozenset()

    method: Method = "crown"
    norm: Norm = "linf"

    def run(self, state: State) -> State:
        known = state.facts.get(Attack)
        proof = certify(
            state.network,
            state.the_anchor(self.name),
            domain=state.domain,
            method=self.method,
            norm=self.norm,
            upper=None if known is None else known.distance,
            progress=state.progress,
        )
        return state.with_fact(proof)
