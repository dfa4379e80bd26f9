"""Cases on their way between processes: what a tree lends, and what comes back.

The targets of a tree travel once. A case is its splits, parameters and numbers, and where its
bounds were computed anew, those. Its path is told from the lent case on that it descends from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.kernels import NetworkRelaxation
from graphprune.backends.relaxation.subproblem import Subproblem
from graphprune.backends.search.node import Singles, TreeNode
from graphprune.backends.search.tree import Pace
from graphprune.backends.trace import Path

Floats = NDArray[np.float64]

# Where a case comes from: the place of a lent case, and splits (row, phase) from there on.
Way: TypeAlias = "tuple[int, tuple[tuple[int, int], ...]]"
# A closed case, as a trace is told of it: class, way, slopes, cut weights.
Note: TypeAlias = "tuple[int, Way, Singles, Singles]"
# The fields of a node that travel as they are.
OWN = [field.name for field in fields(TreeNode) if field.name not in ("case", "path")]
# The phase that stands for "here a lent case begins" in a path; its row is the case's place.
ORIGIN = 0


@dataclass(frozen=True, eq=False)
class Bounds:
    """Bounds and box that were computed anew for some cases, on the ball of `radius`."""

    label: int
    radius: float
    lower: Floats
    upper: Floats
    box_lower: Floats
    box_upper: Floats


@dataclass(frozen=True, eq=False)
class Parcel:
    """Cases.

    Attributes
    ----------
    bounds
        Where cases have bounds of their own.
    nodes
        For every case: its class, its place in `bounds` or -1, its way, and the other fields of
        its :class:`TreeNode`.
    """

    bounds: tuple[Bounds, ...]
    nodes: tuple[tuple[int, int, Way, dict[str, Any]], ...]


@dataclass(frozen=True, eq=False)
class Portion:
    """What a worker is to expand.

    Attributes
    ----------
    radius
        Of the ball.
    seconds, left
        A slice of time, and what is left of the whole question's.
    memory
        Bytes that open cases may take.
    record
        Whether closed cases are to be told.
    nodes
        Of the whole tree so far.
    """

    radius: float
    seconds: float
    left: float
    memory: int
    record: bool
    nodes: int
    pace: Pace
    cases: Parcel


@dataclass(frozen=True, eq=False)
class Growth:
    """What became of a portion.

    Attributes
    ----------
    open, settled
        What is left.
    nodes
        So many were expanded.
    notes
        The cases that were closed.
    program
        As in :class:`Pace`.
    radius
        Cases may be closed on the ball of this radius only.
    """

    open: Parcel
    settled: Parcel
    nodes: int
    notes: tuple[Note, ...]
    program: int
    radius: float


def way_of(path: Path) -> Way:
    """The way from a lent case."""
    splits: list[tuple[int, int]] = []
    while path is not None:
        path, row, phase = path
        if phase == ORIGIN:
            return row, tuple(reversed(splits))
        splits.append((row, phase))
    raise ValueError("the path does not begin at a lent case")


def origin(place: int) -> Path:
    """The path of a lent case, in the process it is lent to."""
    return None, place, ORIGIN


class Paths:
    """Ways as paths again; what they have in common is kept once."""

    def __init__(self, origins: Sequence[Path]) -> None:
        self.origins = origins
        self.known: dict[tuple[int, int, int], Path] = {}

    def __getitem__(self, way: Way) -> Path:
        place, splits = way
        path = self.origins[place]
        for row, phase in splits:
            path = self.known.setdefault((id(path), row, phase), (path, row, phase))
        return path


def pack(nodes: Sequence[TreeNode], roots: Sequence[Subproblem], ways: Sequence[Way]) -> Parcel:
    """Cases of a tree with these targets, to be unpacked with the like of them."""
    root = {case.label: case for case in roots}
    places: dict[int, int] = {}
    bounds: list[Bounds] = []
    packed = []
    for node, way in zip(nodes, ways, strict=True):
        case = node.case
        place = -1
        if case is not root[case.label]:
            place = places.setdefault(id(case), len(bounds))
            if place == len(bounds):
                rows, box = case.rows, case.box
                own = rows.lower, rows.upper, box.lower, box.upper
                bounds.append(Bounds(case.label, case.ball.radius, *own))
        rest = {name: getattr(node, name) for name in OWN}
        packed.append((case.label, place, way, rest))
    return Parcel(tuple(bounds), tuple(packed))


def unpack(parcel: Parcel, roots: Sequence[Subproblem], paths: Paths) -> Iterator[TreeNode]:
    """The cases of a parcel."""
    root = {case.label: case for case in roots}
    cases = [_bounded(root[b.label], b) for b in parcel.bounds]
    for label, place, way, rest in parcel.nodes:
        case = root[label] if place < 0 else cases[place]
        yield TreeNode(case, path=paths[way], **rest)


def _bounded(root: Subproblem, bounds: Bounds) -> Subproblem:
    """Return the subproblem of a root with other bounds."""
    rows, planes, box = root.relaxation
    relaxation = NetworkRelaxation(
        rows._replace(lower=bounds.lower, upper=bounds.upper), planes,
        box._replace(lower=bounds.box_lower, upper=bounds.box_upper),
    )  # fmt: skip
    return replace(root, ball=root.ball.shrunk(bounds.radius), relaxation=relaxation)
