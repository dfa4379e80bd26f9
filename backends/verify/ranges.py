"""Range splitting for networks of any functions with many inputs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.ranges import RangeRelaxation, RangeTree, require_ranges
from graphprune.backends.ranges.tree import Minimisers
from graphprune.backends.verify.attack import attack_from
from graphprune.backends.verify.query import Counterexample, RegionResult, VerificationQuery
from graphprune.bounds import LayerBounds
from graphprune.progress import Progress, quiet
from graphprune.region import LINF, Box
from graphprune.runtime.original import run_original
from graphprune.runtime.resources import current

Floats = NDArray[np.float64]

# Minimisers that descents start from, every time the number of cases has doubled.
STARTS, FIRST = 16, 32


def split_ranges(
    query: VerificationQuery, layers: Sequence[LayerBounds], progress: Progress = quiet
) -> RegionResult:
    """Decide a region by splitting ranges of pre-activations, the case with the least bound first.

    Neither `unsat` nor a point: the deadline has passed, the memory for open cases is used up, or
    ranges too narrow to split are left.

    Parameters
    ----------
    layers
        Bounds of all pre-activations on the region's box.

    Raises
    ------
    UnsupportedError
        The network is too large.
    """
    require_ranges(query.network, LINF, current())
    return _RangeVerification(query, layers, progress).run()


class _RangeVerification:
    """The open cases of a region: a row of each polytope that is left is to exclude it."""

    def __init__(
        self, query: VerificationQuery, layers: Sequence[LayerBounds], progress: Progress
    ) -> None:
        self.query, self.progress = query, progress
        shape = query.network.input_shape
        box = Box(query.lower.reshape(shape), query.upper.reshape(shape))
        relaxation = RangeRelaxation(query.network, box, layers)
        self.tree = RangeTree(relaxation, query.weights, query.limits, current(), by_bound=True)
        self.starts: list[tuple[float, Floats]] = []
        self.next_attack = FIRST

    def run(self) -> RegionResult:
        query, tree = self.query, self.tree
        point = self._try(tree.add_roots(range(len(query.limits))))
        tree.keep(self._best_rows())
        while point is None and tree.waiting and query.in_time and not tree.full:
            point = self._try(tree.expand())
            self.progress(f"range splitting: {tree.nodes} cases split, {len(tree)} open")
        unsat = point is None and not len(tree)
        reason = ""
        if point is None and not unsat and query.in_time:
            reason = "ranges too narrow to split stay undecided"
            if tree.full:
                reason = "the open cases took all of the memory that they may"
        return RegionResult(unsat, point, tree.nodes + 1, reason)

    def _best_rows(self) -> set[int]:
        """Per polytope that no row excludes, the row with the largest bound."""
        query, bounds = self.query, np.full(len(self.query.limits), np.inf)
        for node in self.tree.open_nodes():
            bounds[node.row] = node.bound
        best = set()
        for p in range(query.polytopes):
            part = bounds[query.first[p] : query.first[p + 1]]
            if len(part) and np.all(part < np.inf):
                best.add(int(query.first[p] + np.argmax(part)))
        return best

    def _try(self, seen: Minimisers) -> Counterexample | None:
        """Take minimisers that are unsafe; descend from the best of all since the last time."""
        query = self.query
        if not len(seen.rows):
            return None
        points = query.inside(seen.points)
        sample = points.reshape(len(points), *query.network.input_shape)
        y = run_original(query.network, sample.astype(query.network.source.dtype))
        worst = query.violation(y).min(axis=1)
        if np.any(worst <= 0.0):
            found = query.confirm(points[np.argsort(worst)[:2]])
            if found is not None:
                return found
        self.starts += zip(worst.tolist(), points, strict=True)
        if self.tree.nodes < self.next_attack:
            return None
        self.next_attack = 2 * self.tree.nodes
        self.starts.sort(key=lambda start: start[0])
        chosen = np.array([x for _, x in self.starts[:STARTS]])
        self.starts.clear()
        return attack_from(query, chosen)
