"""Many regions at once: bounds over all their boxes in one batch, and their centres.

Files with thousands of boxes mostly hold trivially safe ones; whatever is left is ordered by how
close its centre comes to the unsafe set.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.verify.head import below_file
from graphprune.backends.verify.network_rows import UNIT
from graphprune.backends.verify.relations import rows_of_constraints
from graphprune.backends.verify.root import row_bounds
from graphprune.bounds import Boxes, round_down, round_up
from graphprune.errors import GraphpruneError
from graphprune.ir import Network
from graphprune.runtime.original import run_original
from graphprune.vnnlib import Constraint, Disjunct
from graphprune.vnnlib.ends import compare

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

# Regions of one batch: how closely the clock is watched.
BATCH = 4096
# Different rows of constraints up to which all boxes are bounded for all of them.
MOST_ROWS = 64


@dataclass(frozen=True, eq=False)
class _Rows:
    """The different constraints of some regions as rows, and each region's use of them.

    Attributes
    ----------
    weights
        (K, outputs) different left sides.
    region, polytope, row, limit
        One entry per constraint: its region, its polytope (over all regions), its left side and
        its right side.
    owner
        (P,) the region of each polytope.
    """

    weights: Floats
    region: NDArray[np.intp]
    polytope: NDArray[np.intp]
    row: NDArray[np.intp]
    limit: Floats
    owner: NDArray[np.intp]


def undecided(network: Network, regions: Sequence[Disjunct]) -> NDArray[np.intp]:
    """The regions that bounds over their whole boxes do not exclude, the most promising first.

    Parameters
    ----------
    network
        With its input beside its outputs, where constraints are about inputs.
    """
    boxes = _boxes(regions)
    try:
        rows = _rows(network, regions)
        if rows is None:
            return np.arange(len(regions))
        excluded = _excluded(network, boxes, rows)
    except GraphpruneError:  # bounds that overflow
        return np.arange(len(regions))
    open_polytopes = np.bincount(rows.owner[~excluded], minlength=len(regions))
    left = np.flatnonzero(open_polytopes)
    if len(left) < 2:
        return left
    nearest = _at_centres(network, boxes, rows, len(regions))
    return left[np.argsort(nearest[left], kind="stable")]


def _boxes(regions: Sequence[Disjunct]) -> Boxes:
    """The regions' boxes, rounded outward to float32."""
    known: dict[tuple[object, float], int] = {}
    sides = []
    for name, rounded, away in (
        ("lower_ends", round_down, -np.inf), ("upper_ends", round_up, np.inf),
    ):  # fmt: skip
        ends = [getattr(region.box, name) for region in regions]
        near = np.array([list(map(float, row)) for row in ends])
        single = rounded(near)
        # The nearest float64 is less than its own spacing off: only where it is a float32 itself
        # can the end lie beyond it.
        for r, i in np.argwhere(single == near):
            key = ends[r][i], away
            if key not in known:
                known[key] = compare(float(single[r, i]), ends[r][i])
            if known[key] * away < 0:
                single[r, i] = np.nextafter(single[r, i], np.float32(away))
        sides.append(single)
    lower, upper = sides
    return Boxes(lower, upper)


def _rows(network: Network, regions: Sequence[Disjunct]) -> _Rows | None:
    """None: a constraint is not one of the scores, or there are too many different ones."""
    outputs = network.source.output_layout.size
    known: dict[tuple[object, object], int] = {}
    lefts: list[Constraint] = []
    entries: list[tuple[int, int, int, float]] = []
    owner: list[int] = []
    for r, stated in enumerate(regions):
        region = below_file(stated, network.source, outward=True)
        if region is None:
            return None
        for polytope in region.polytopes:
            for c in polytope:
                key = c.terms, c.inputs
                if key not in known:
                    known[key] = len(lefts)
                    lefts.append(c)
                    if len(lefts) > MOST_ROWS:
                        return None
                entries.append((r, len(owner), known[key], float(c.limit)))
            owner.append(r)
    region_of, polytope_of, row, limit = zip(*entries, strict=True) if entries else ((),) * 4
    return _Rows(
        rows_of_constraints(lefts, outputs, network.classes), np.array(region_of, np.intp),
        np.array(polytope_of, np.intp), np.array(row, np.intp), np.array(limit),
        np.array(owner, np.intp),
    )  # fmt: skip


def _excluded(network: Network, boxes: Boxes, rows: _Rows) -> NDArray[np.bool_]:
    """(P,) polytopes of which a constraint is proven false over its region's box."""
    excluded = np.zeros(len(rows.owner), np.bool_)
    if not len(rows.row):
        return excluded
    bounds = row_bounds(network, boxes, rows.weights)
    limits = rows.limit + 4 * UNIT * np.abs(rows.limit)
    proven = bounds[rows.region, rows.row] > limits
    excluded[rows.polytope[proven]] = True
    return excluded


def _at_centres(network: Network, boxes: Boxes, rows: _Rows, count: int) -> Floats:
    """(regions,) least over a region's polytopes of the largest excess at its box's centre."""
    centre = 0.5 * boxes.lower.astype(np.float64) + 0.5 * boxes.upper
    points = centre.astype(network.source.dtype).reshape(count, *network.input_shape)
    scores = run_original(network, points).astype(np.float64)
    if network.classes > scores.shape[1]:
        scores = np.concatenate([scores, centre], axis=1)
    excess = (scores @ rows.weights.T)[rows.region, rows.row] - rows.limit
    largest = np.full(len(rows.owner), -np.inf)
    np.maximum.at(largest, rows.polytope, excess)
    nearest = np.full(count, np.inf)
    np.minimum.at(nearest, rows.owner, largest)
    return nearest
