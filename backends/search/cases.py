"""Cases that one tree hands on to the next one of its target, on another ball or other bounds.

A tree's closed cases and its open ones together are all of a ball. Each is proven up to some
radius: a closed one up to that of the ball it was closed on. On a smaller ball it stays closed; on
a larger one it is bounded again, and the splits above it need not be found a second time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.subproblem import CondensedRegion, Subproblem
from graphprune.backends.search.node import OBJECTS, Singles, TreeNode
from graphprune.backends.trace import Path, Trace


@dataclass(frozen=True, eq=False, slots=True)
class CarriedCase:
    """Splits of a target's ball, and how far they are known to hold nothing adversarial.

    Attributes
    ----------
    neurons
        (rows,) numbers of the neurons in the network that the path and the parameters are about.
    path
        The splits.
    slopes, cut_weights
        The parameters that bounded it last; no weights where there were no planes.
    radius
        Nothing adversarial in it is nearer.
    """

    neurons: NDArray[np.intp]
    path: Path
    slopes: Singles
    cut_weights: Singles
    radius: float


class ClosedCases:
    """Takes the cases that trees on one region close, and tells a trace of them.

    Attributes
    ----------
    full
        There were too many to be kept: what is kept is not all of them.
    """

    def __init__(
        self, neurons: NDArray[np.intp], trace: Trace | None = None, memory: float = np.inf
    ) -> None:
        self.neurons = neurons
        self.trace = trace
        self.memory = memory
        self._kept: dict[int, list[tuple[Path, Singles, Singles]]] = {}

    @property
    def full(self) -> bool:
        return self.memory < 0

    def note(
        self, target: int, path: Path, slopes: NDArray[np.floating],
        cut_weights: NDArray[np.floating],
    ) -> None:  # fmt: skip
        """Take a closed case of a target."""
        if self.trace is not None:
            self.trace.note(target, path, slopes, cut_weights)
        if self.full:
            return
        weights = cut_weights[:0] if not np.any(cut_weights) else cut_weights
        one = path, slopes.astype(np.float32), weights.astype(np.float32)
        self._kept.setdefault(target, []).append(one)
        self.memory -= OBJECTS + one[1].nbytes + one[2].nbytes

    def of(self, target: int, radius: float) -> list[CarriedCase]:
        """Return a target's cases, which are closed on the ball of a radius."""
        return [CarriedCase(self.neurons, *one, radius) for one in self._kept.get(target, ())]


class KnownCases:
    """The cases of all targets, as the trees so far left them.

    Attributes
    ----------
    levels, seconds
        By target: the effort level that the last complete step ended on, and the time of the trees
        in the last one.
    late_kept
        The part that bounds of late layers left, the last time, of all that the worst root lacked.
    prepared
        By target: the number of kinds of preparation that the root of its cases had.
    late, constrained
        A complete step had late layers' bounds, and the targets that one had output-constrained
        bounds of: larger radii begin with what a smaller one needed.
    given_up
        The last radius whose trees were given up because a forecast was longer than the time.
    """

    def __init__(self, cases: Mapping[int, list[CarriedCase]] | None = None) -> None:
        self._cases = dict(cases or {})
        self.levels: dict[int, int] = {}
        self.seconds: dict[int, float] = {}
        self.late_kept = 0.7
        self.prepared: dict[int, int] = {}
        self.late = False
        self.constrained: set[int] = set()
        self.given_up = np.inf

    def copy(self) -> "KnownCases":
        """Return the cases, to be changed on their own."""
        known = KnownCases(self._cases)
        known.prepared = dict(self.prepared)
        return known

    def prefer(self, earlier: "KnownCases", radius: float) -> None:
        """Take back a target's earlier cases where those open on the ball of a radius are more.

        On a ball that is too large there soon are more than all of a smaller ball's.
        """
        for target, cases in earlier._cases.items():
            left = sum(case.radius < radius for case in self._cases.get(target, ()))
            if left > len(cases):
                self._cases[target] = cases
                self.prepared[target] = earlier.prepared.get(target, 0)

    def radius(self, target: int) -> float:
        """Return the radius up to which a target is excluded."""
        return min([case.radius for case in self._cases.get(target, ())], default=0.0)

    def cases(self, target: int) -> list[CarriedCase]:
        """Return a target's cases."""
        return self._cases.get(target, [])

    def put(self, target: int, cases: Iterable[CarriedCase]) -> None:
        """Replace a target's cases by others, which are all of them."""
        self._cases[target] = list(cases)

    def prepare(self, target: int, kinds: int) -> None:
        """Forget a target's cases where they come from a root with less preparation.

        A tree without it has many times the cases that one with it needs.
        """
        if kinds > self.prepared.get(target, 0):
            self.put(target, [])
        self.prepared[target] = kinds

    def carried(
        self, root: Subproblem, region: CondensedRegion, again: bool = False
    ) -> tuple[list[TreeNode], list[CarriedCase]]:
        """Return a target's cases as nodes of a tree with this root, and those closed on its ball.

        Parameters
        ----------
        again
            Closed ones become nodes as well.
        """
        cases = self._cases.get(root.label, [])
        radius = np.inf if again else root.ball.radius
        closed = [case for case in cases if case.radius >= radius]
        return carried([case for case in cases if case.radius < radius], root, region), closed


def carried(
    cases: Sequence[CarriedCase], root: Subproblem, region: CondensedRegion
) -> list[TreeNode]:
    """Return cases as nodes below a root on a region.

    Splits of neurons that are stable there are left out, and cases that contradict them are empty:
    where the root's bounds fix a neuron, the other phase holds nothing with a row <= 0.
    """
    maps: dict[int, _CaseRows] = {}
    known: dict[tuple[int, int, int], Path] = {}
    nodes = []
    for case in cases:
        rows = maps.get(id(case.neurons))
        if rows is None:
            rows = maps[id(case.neurons)] = _CaseRows(case.neurons, root, region)
        node = rows.node(case, known)
        if node is not None:
            nodes.append(node)
    return nodes


class _CaseRows:
    """Neurons of earlier cases, and their rows in a region."""

    def __init__(
        self, neurons: NDArray[np.intp], root: Subproblem, region: CondensedRegion
    ) -> None:
        low = np.concatenate([low for low, _ in region.bounds])
        place = np.full(len(low), -1)
        place[region.neurons] = np.arange(root.neurons)
        self.root = root
        self.place = place[neurons]
        self.both = self.place >= 0
        self.phases = np.where(low[neurons] >= 0.0, 1, -1)
        self.phases[self.both] = root.parameters.phases[self.place[self.both]]

    def node(self, case: CarriedCase, known: dict[tuple[int, int, int], Path]) -> TreeNode | None:
        """Return a case as a node; None where it is empty."""
        root, both = self.root, self.both
        phases, own, own_weights = root.parameters
        phases, slopes = phases.copy(), own.astype(np.float32)
        places = self.place[both]
        slopes[places] = np.clip(case.slopes[both], 0.0, 1.0)
        slopes[phases != 0] = own[phases != 0]
        weights = own_weights[: len(own_weights) * root.has_planes].astype(np.float32)
        if len(weights) and len(case.cut_weights):
            weights[places] = np.clip(case.cut_weights[both], 0.0, 1.0)
        splits = []
        path = case.path
        while path is not None:
            path, row, phase = path
            splits.append((row, phase))
        made: Path = None
        for row, phase in reversed(splits):
            fixed = self.phases[row]
            if fixed == -phase:
                return None
            if fixed == 0:
                place = int(self.place[row])
                made = known.setdefault((id(made), place, phase), (made, place, phase))
                phases[place], slopes[place] = phase, max(case.slopes[row], 0.0)
        deep = len(splits)
        return TreeNode(root, case.radius, case.radius, phases, slopes, weights, deep, made, deep)


def open_cases(
    nodes: Iterable[TreeNode], neurons: NDArray[np.intp]
) -> Mapping[int, list[CarriedCase]]:
    """Return nodes as cases, by class."""
    found: dict[int, list[CarriedCase]] = {}
    for node in nodes:
        case = CarriedCase(neurons, node.path, node.slopes, node.cut_weights, node.radius)
        found.setdefault(node.case.label, []).append(case)
    return found
