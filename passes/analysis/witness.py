"""Points that count: adversarial in the file's model in ONNX Runtime and in float64."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.onnxruntime import run_original
from graphprune.backends.reference import forward64
from graphprune.ir import Anchor, Domain, Network, Norm
from graphprune.ir.points import length, lengths

Floating = NDArray[np.floating]

# How far past the boundary a point may be pushed along its ray, relative to its distance.
PUSH = 1e-3


@dataclass(frozen=True, eq=False)
class Witness:
    """A confirmed adversarial point.

    Attributes
    ----------
    x
        Sample shape, in the dtype of the original model.
    distance
        ||x - x0|| in the norm asked for, computed in float64.
    target
        The class whose logit is at least the label's, both in ONNX Runtime and in float64.
    """

    x: Floating
    distance: float
    target: int


def margins(logits: Floating, label: int) -> NDArray[np.float64]:
    """f_y - f_t for every class t, (N, classes); +inf at t = y."""
    wide = logits.astype(np.float64)
    out = wide[:, label : label + 1] - wide
    out[:, label] = np.inf
    return out


def confirm(
    network: Network, anchor: Anchor, domain: Domain, points: Floating, norm: Norm = "linf"
) -> Witness | None:
    """The closest of `points` (N, *sample) that ONNX Runtime and float64 both call adversarial."""
    points = _clip(points.astype(network.source.dtype), domain)
    adversarial = margins(run_original(network, points), anchor.label) <= 0
    distances = lengths(points.astype(np.float64) - anchor.x.astype(np.float64), norm)
    candidates = np.flatnonzero(adversarial.any(axis=1))
    for i in candidates[np.argsort(distances[candidates], kind="stable")]:
        both = adversarial[i] & (
            margins(forward64(network, points[i : i + 1])[0], anchor.label)[0] <= 0
        )
        if both.any():
            return Witness(points[i], float(distances[i]), int(np.flatnonzero(both)[0]))
    return None


def closest_on_ray(
    network: Network,
    anchor: Anchor,
    domain: Domain,
    x: Floating,
    best: float = np.inf,
    norm: Norm = "linf",
    *,
    low: float = 0.0,
) -> Witness | None:
    """The closest confirmed point on the ray from the anchor through `x`, up to just beyond `x`.

    Parameters
    ----------
    best
        Only a point closer than this is of interest.
    low
        Share of the way to `x` at which to begin looking.
    """
    start = anchor.x.astype(np.float64)
    step = x.astype(np.float64).reshape(start.shape) - start
    whole = length(step, norm)
    if whole == 0.0:
        return confirm(network, anchor, domain, start[None], norm)
    # From coarse to fine: first anywhere on the ray, then around the first crossing found.
    high = min(1.0 + PUSH, best / whole)
    if high <= low:
        return None
    found: Witness | None = None
    for _ in range(3):
        fractions = np.linspace(low, high, 33)[1:]
        points = start + fractions.reshape(-1, *(1,) * start.ndim) * step
        closest = confirm(network, anchor, domain, points, norm)
        if closest is None:
            break
        if found is None or closest.distance < found.distance:
            found = closest
        high = min(high, closest.distance / whole)
        low = max(low, high - (fractions[1] - fractions[0]))
    # The last word beyond x itself: a solver's point misses the boundary by its tolerance.
    if found is None:
        pushes = 1.0 + np.geomspace(1e-9, PUSH, 24)
        points = start + pushes.reshape(-1, *(1,) * start.ndim) * step
        found = confirm(network, anchor, domain, points, norm)
    return found if found is not None and found.distance < best else None


def _clip(points: Floating, domain: Domain) -> Floating:
    return np.clip(points, points.dtype.type(domain.low), points.dtype.type(domain.high))
