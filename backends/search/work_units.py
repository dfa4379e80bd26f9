"""Nodes on their way between processes: work units and work results.

The roots of a tree travel once. A node is its splits, parameters and numbers, and where its bounds
were computed anew, those. Its path is told from the lent node on that it descends from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.arrays import within
from graphprune.backends.relaxation.kernels import NetworkRelaxation
from graphprune.backends.relaxation.subproblem import Subproblem
from graphprune.backends.search.node import Singles, TreeNode
from graphprune.backends.search.settings import TreeSettings
from graphprune.backends.search.tree import HeuristicSchedule
from graphprune.backends.trace import Path

Floats = NDArray[np.float64]

# Where a node comes from: the place of a lent node, and splits (row, phase) from there on.
RelativePath: TypeAlias = "tuple[int, tuple[tuple[int, int], ...]]"
# A closed node, as a trace is told of it: class, path, slopes, cut weights.
ClosedNode: TypeAlias = "tuple[int, RelativePath, Singles, Singles]"
# The fields of a node that travel as they are.
OWN = [field.name for field in fields(TreeNode) if field.name not in ("case", "path")]
# The phase that stands for "here a lent node begins" in a path; its row is the node's place.
ORIGIN = 0


@dataclass(frozen=True, eq=False)
class SerialisedBounds:
    """Bounds and box that were computed anew for some nodes, on the ball of `radius`."""

    label: int
    radius: float
    lower: Floats
    upper: Floats
    box_lower: Floats
    box_upper: Floats


@dataclass(frozen=True, eq=False)
class SerialisedNodes:
    """Nodes as they travel.

    Attributes
    ----------
    bounds
        Where nodes have bounds of their own.
    nodes
        For every node: its class, its place in `bounds` or -1, its path, and the other fields of
        its :class:`TreeNode`.
    """

    bounds: tuple[SerialisedBounds, ...]
    nodes: tuple[tuple[int, int, RelativePath, dict[str, Any]], ...]


@dataclass(frozen=True, eq=False)
class WorkUnit:
    """Nodes that a worker is to expand.

    Attributes
    ----------
    radius
        The ball's.
    seconds, left
        A slice of time, and the time left for the whole question.
    memory
        Bytes that open nodes may take.
    record
        True: closed nodes are to be told.
    expanded
        Nodes that the whole tree has expanded so far.
    schedule, settings
        The tree's.
    nodes
        To be expanded.
    """

    radius: float
    seconds: float
    left: float
    memory: int
    record: bool
    expanded: int
    schedule: HeuristicSchedule
    settings: TreeSettings
    nodes: SerialisedNodes


@dataclass(frozen=True, eq=False)
class WorkResult:
    """The outcome of a work unit.

    Attributes
    ----------
    open, resolved
        Nodes that are left, and those that hold an adversarial point.
    nodes
        So many were expanded.
    closed
        The nodes that were closed.
    splits_per_lp
        As in :class:`HeuristicSchedule`.
    radius
        Nodes may be closed on the ball of this radius only.
    """

    open: SerialisedNodes
    resolved: SerialisedNodes
    nodes: int
    closed: tuple[ClosedNode, ...]
    splits_per_lp: int
    radius: float


def relative_path(path: Path) -> RelativePath:
    """Return the splits from the lent node on."""
    splits: list[tuple[int, int]] = []
    while path is not None:
        path, row, phase = path
        if phase == ORIGIN:
            return row, tuple(reversed(splits))
        splits.append((row, phase))
    raise ValueError("the path does not begin at a lent node")


def origin(place: int) -> Path:
    """Return the path of a lent node, in the process it is lent to."""
    return None, place, ORIGIN


class PathTable:
    """Relative paths as whole ones again; their common parts are kept once."""

    def __init__(self, origins: Sequence[Path]) -> None:
        self.origins = origins
        self.known: dict[tuple[int, int, int], Path] = {}

    def __getitem__(self, relative: RelativePath) -> Path:
        place, splits = relative
        path = self.origins[place]
        for row, phase in splits:
            path = self.known.setdefault((id(path), row, phase), (path, row, phase))
        return path


def pack(
    nodes: Sequence[TreeNode], roots: Sequence[Subproblem], paths: Sequence[RelativePath]
) -> SerialisedNodes:
    """Serialise nodes of a tree with these roots, to be unpacked with the like of them."""
    root = {case.label: case for case in roots}
    places: dict[int, int] = {}
    bounds: list[SerialisedBounds] = []
    packed = []
    for node, path in zip(nodes, paths, strict=True):
        case = node.case
        place = -1
        if case is not root[case.label]:
            place = places.setdefault(id(case), len(bounds))
            if place == len(bounds):
                rows, box = case.rows, case.box
                own = rows.lower, rows.upper, box.lower, box.upper
                bounds.append(SerialisedBounds(case.label, case.ball.radius, *own))
        rest = {name: getattr(node, name) for name in OWN}
        packed.append((case.label, place, path, rest))
    return SerialisedNodes(tuple(bounds), tuple(packed))


def unpack(
    packed: SerialisedNodes, roots: Sequence[Subproblem], paths: PathTable
) -> Iterator[TreeNode]:
    """Return serialised nodes as nodes of a tree with these roots."""
    root = {case.label: case for case in roots}
    cases = [_bounded(root[b.label], b) for b in packed.bounds]
    for label, place, path, rest in packed.nodes:
        case = root[label] if place < 0 else cases[place]
        yield TreeNode(case, path=paths[path], **rest)


def _bounded(root: Subproblem, bounds: SerialisedBounds) -> Subproblem:
    """Return the subproblem of a root with other bounds."""
    rows, planes, box = root.relaxation
    relaxation = NetworkRelaxation(
        rows._replace(lower=bounds.lower, upper=bounds.upper), planes,
        within(box._replace(lower=bounds.box_lower, upper=bounds.box_upper), bounds.radius),
    )  # fmt: skip
    return replace(root, ball=root.ball.shrunk(bounds.radius), relaxation=relaxation)
