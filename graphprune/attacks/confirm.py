"""Points that count: adversarial in the file's model in ONNX Runtime and in float64."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.attacks.step_graphs import rows_at_once
from graphprune.ir import Query
from graphprune.notebook import shown
from graphprune.number_text import number_text
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64

Floating = NDArray[np.floating]

# A point may be pushed past the boundary along its ray by this share of its distance.
PUSH = 1e-3
# Shares of the way to a point that are looked at when time is over.
LAST_LOOK = np.array([1.0, 1.0 + 1e-6, 1.0 + 1e-4, 1.0 + PUSH])


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
    searched
        The variables of a threat model whose input x is; None where these are x itself.
    """

    x: Floating
    distance: float
    target: int
    searched: Floating | None = None

    def __repr__(self) -> str:
        return f"Witness({self.distance:.5g}, class {self.target})"

    def _repr_html_(self) -> str:
        """Show the point in a notebook."""
        return shown(("distance", "class"), (number_text(self.distance), self.target), self.x)


def told(query: Query, witness: Witness) -> Witness:
    """A query's point as people are told it: the input of a threat model's variables.

    Where it leaves the K best classes, its class is the least of those that are no worse.
    """
    if query.top_k > 1:
        scores = margins(run_original(query.network, witness.x[None])[:, :-1], query.anchor.label)
        order = np.argsort(scores[0], kind="stable")
        witness = replace(witness, target=int(order[query.top_k - 1]))
    entry = query.network.source.entry
    if entry is None or not entry.local:
        return witness
    return replace(witness, x=entry.image(witness.x[None])[0], searched=witness.x)


def searched(query: Query, witness: Witness) -> Witness:
    """Inverse of `told`."""
    if query.top_k > 1:
        witness = replace(witness, target=int(query.targets[0]))
    return witness if witness.searched is None else replace(witness, x=witness.searched)


def margins(logits: Floating, label: int) -> NDArray[np.float64]:
    """f_y - f_t for every class t, (N, classes); +inf at t = y."""
    wide = logits.astype(np.float64)
    out = wide[:, label : label + 1] - wide
    out[:, label] = np.inf
    return out


def _wins(query: Query, logits: Floating) -> NDArray[np.bool_]:
    """Per point and class (N, classes), True where a class that counts is adversarial."""
    won = margins(logits, query.anchor.label) <= 0
    counts = np.zeros(won.shape[1], np.bool_)
    counts[query.targets] = True
    return won & counts


def confirm(query: Query, points: Floating) -> Witness | None:
    """The closest of `points` (N, *sample) that ONNX Runtime and float64 both call adversarial."""
    return _closest(query, [_judge(query, points)])


@dataclass(frozen=True, eq=False)
class _Judged:
    """Points (N, *sample), their distances (N,), the classes (N, classes) ONNX Runtime says."""

    points: Floating
    distances: NDArray[np.float64]
    adversarial: NDArray[np.bool_]

    @property
    def nearest(self) -> float:
        """The least distance of an adversarial point; inf where there is none."""
        return float(np.min(self.distances[self.adversarial.any(axis=1)], initial=np.inf))


def _judge(query: Query, points: Floating) -> _Judged:
    network, anchor = query.network, query.anchor
    points = query.domain.clip(network.source.rounded(points))
    adversarial = _wins(query, run_original(network, points))
    distances = query.norm.lengths(points.astype(np.float64) - anchor.center)
    return _Judged(points, distances, adversarial)


def _joined(judged: Sequence[_Judged]) -> _Judged:
    """The same points as one array."""
    return _Judged(
        np.concatenate([j.points for j in judged]),
        np.concatenate([j.distances for j in judged]),
        np.concatenate([j.adversarial for j in judged]),
    )


def _closest(query: Query, judged: list[_Judged]) -> Witness | None:
    """The closest point that float64, and ONNX Runtime alone, call adversarial too."""
    every = _joined(judged)
    points, distances, adversarial = every.points, every.distances, every.adversarial
    candidates = np.flatnonzero(adversarial.any(axis=1))
    for i in candidates[np.argsort(distances[candidates], kind="stable")]:
        alone = points[i : i + 1]
        both = adversarial[i] & _wins(query, forward64(query.network, alone)[0])[0]
        # ONNX Runtime may round a point otherwise in other batches: alone is how it is asked again.
        both = both & _wins(query, run_original(query.network, alone))[0]
        if both.any():
            return Witness(points[i], float(distances[i]), int(np.flatnonzero(both)[0]))
    return None


def closest_on_ray(
    query: Query,
    x: Floating,
    best: float = np.inf,
    *,
    low: float = 0.0,
    deadline: float = np.inf,
) -> Witness | None:
    """The closest confirmed point on the ray from the anchor through `x`, up to just beyond `x`.

    Parameters
    ----------
    best
        Only a point closer than this is of interest.
    low
        Share of the way to `x` at which to begin looking.
    deadline
        On the clock of :func:`time.monotonic`: past it only `x` and a few points beyond are seen.
        A few points of a large network are judged between two looks at it, the farthest first.
    """
    start = query.anchor.center
    step = x.astype(np.float64).reshape(start.shape) - start
    whole = query.norm.length(step)
    if whole == 0.0:
        return confirm(query, start[None])

    def judge(fractions: NDArray[np.float64]) -> _Judged:
        parts: list[_Judged] = []
        for end in range(len(fractions), 0, -count):
            if parts and monotonic() >= deadline:
                break
            some = fractions[max(end - count, 0) : end]
            parts.insert(0, _judge(query, start + some.reshape(-1, *(1,) * start.ndim) * step))
        return _joined(parts)

    count = rows_at_once(query.network)
    # From coarse to fine: first anywhere on the ray, then around the first crossing found.
    high = min(1.0 + PUSH, best / whole)
    if high <= low:
        return None
    if monotonic() >= deadline:
        shares = LAST_LOOK[LAST_LOOK * whole <= best]
        return _closer(_closest(query, [judge(shares)]), best) if len(shares) else None
    judged: list[_Judged] = []
    for _ in range(3):
        fractions = np.linspace(low, high, 33)[1:]
        judged.append(judge(fractions))
        if not np.isfinite(judged[-1].nearest) or monotonic() >= deadline:
            break
        high = min(high, judged[-1].nearest / whole)
        low = max(low, high - (fractions[1] - fractions[0]))
    found = _closest(query, judged)
    # The last word beyond x itself: a solver's point misses the boundary by its tolerance.
    if found is None and monotonic() < deadline:
        found = _closest(query, [judge(1.0 + np.geomspace(1e-9, PUSH, 24))])
    return _closer(found, best)


def _closer(found: Witness | None, best: float) -> Witness | None:
    return found if found is not None and found.distance < best else None
