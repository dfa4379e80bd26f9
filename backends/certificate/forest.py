"""Trees of cases, grown until every case's bound is positive or a number of nodes is used.

Nodes are bounded by the search's own kernels on the checker's system; a case is closed when the
checker's inequality says so.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.certificate.systems import Floats, Singles, SystemRelaxation
from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.arrays import copied
from graphprune.backends.relaxation.kernels import AscentSettings, Parameters
from graphprune.backends.relaxation.node_lp import relax
from graphprune.backends.relaxation.subproblem import RATE, ROOT_STEPS
from graphprune.check.bound import lower_bounds
from graphprune.check.container import Claims
from graphprune.check.forms import AffineForm

# Cases evaluated by the checker's inequality at once.
CHUNK = 256
# AscentSettings steps at nodes below a root, and where no split is left.
STEPS, LAST_STEPS = 10, 400
# The ascent is slow in cases that hold few or no points: linear programs at every fourth depth from
# where this share of the neurons is split, for so many seconds.
PROGRAM_EVERY, PROGRAM_FROM, SECONDS = 4, 0.125, 10.0
# Neurons per node whose two cases are bounded before one is split.
CANDIDATES = 64


class UnprovenError(Exception):
    """A case cannot be closed, or time is over."""


class UnboundedError(UnprovenError):
    """Time is over before all neurons have bounds."""


@dataclass(eq=False)
class CaseNode:
    """A case of a goal.

    Attributes
    ----------
    parameters
        The parameters of the kernels' bound; neurons that the bounds have fixed are split as well.
    depth
        Number of splits.
    split, children
        The neuron that is split, and the cases z >= 0 and z <= 0; -1 and None: a leaf.
    surplus
        The bound that the kernels must prove before the checker evaluates the case again: so much
        rounding, or precision of float32, has cost it before.
    multipliers, planes
        The certificate's entries of a leaf.
    """

    goal: int
    parameters: Parameters
    depth: int = 0
    split: int = -1
    children: "tuple[CaseNode, CaseNode] | None" = None
    surplus: float = 0.0
    multipliers: Singles | None = field(default=None, repr=False)
    planes: Singles | None = field(default=None, repr=False)

    def divide(self, neuron: int) -> "tuple[CaseNode, CaseNode]":
        """Split a neuron; the two cases, with multiplier 0 for it."""
        both = []
        for phase in (kernels.ACTIVE, kernels.INACTIVE):
            phases, slopes, weights = self.parameters
            phases, slopes = phases.copy(), slopes.copy()
            phases[neuron], slopes[neuron] = phase, 0.0
            both.append(CaseNode(self.goal, Parameters(phases, slopes, weights), self.depth + 1))
        self.split, self.children = neuron, (both[0], both[1])
        return self.children

    def leaves(self) -> "Iterator[CaseNode]":
        """The cases without children, in preorder."""
        stack = [self]
        while stack:
            node = stack.pop()
            if node.children is None:
                yield node
            else:
                stack += node.children[::-1]


class Forest:
    """A tree of cases for every goal on a system.

    Parameters
    ----------
    goals
        Forms over the system's basis.
    stop
        Cases whose bound exceeds this (>= 0) are not split.
    over
        Says whether time is over.
    """

    def __init__(
        self, relaxation: SystemRelaxation, goals: AffineForm, stop: float,
        over: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self.relaxation = relaxation
        self.goals = goals.widen(len(relaxation.system.low))
        self.specifications = relaxation.specifications(goals)
        self.stop = stop
        self.over = over
        self.roots = [CaseNode(g, copied(relaxation.start)) for g in range(len(goals.offset))]
        self._free = int(np.sum(relaxation.start.phases == 0))

    def prove(self, numbers: NDArray[np.int32], limit: int | None = None) -> tuple[Claims, Floats]:
        """Grow the trees; claims about the goals, and their proven bounds.

        Parameters
        ----------
        numbers
            The goals' numbers in the certificate.
        limit
            Nodes per goal; None: until every case is closed.

        Raises
        ------
        UnprovenError
            Time is over; without a limit of nodes: a case cannot be closed.
        """
        self._grow(limit)
        return self.claims(numbers)

    def closed(self, most: int) -> float:
        """Return the share of its cases that close as they are, of so many that are looked at.

        1 where the trees have no more cases than that: growing them takes no longer.
        """
        leaves = [leaf for root in self.roots for leaf in root.leaves()]
        if len(leaves) <= most:
            return 1.0
        seen = leaves[:: len(leaves) // most]
        return 1.0 - len(self._refused(seen)) / len(seen)

    def _grow(self, limit: int | None) -> None:
        used = np.zeros(len(self.roots), np.int64)
        nodes = [leaf for root in self.roots for leaf in root.leaves()]
        if len(nodes) > len(self.roots):
            # A tree that is known: most of its cases close as they are.
            nodes = self._refused(nodes)
            nodes = [node for node in nodes if not (self._deep(node, 1) and self._program(node))]
        heap: list[tuple[float, int, CaseNode]] = [(-np.inf, i, x) for i, x in enumerate(nodes)]
        count = len(heap)
        left: list[CaseNode] = []
        waiting: list[CaseNode] = []
        while heap or waiting:
            if self.over():
                raise UnprovenError("time is over")
            if not heap or len(waiting) >= CHUNK:
                for node in self._refused(waiting):
                    count += 1
                    heapq.heappush(heap, (0.0, count, node))
                waiting = []
                continue
            node = heapq.heappop(heap)[2]
            used[node.goal] += 1
            full = limit is not None and used[node.goal] >= limit
            split = self._bound(node, ROOT_STEPS if node.depth == 0 else STEPS, branch=not full)
            if split is None:
                waiting.append(node)
            elif full or (split.neuron < 0 and limit is not None):
                left.append(node)
            elif limit is None and self._programmed(node, split):
                pass
            else:
                # Neurons may be free that the relaxation is not wrong about where it is least.
                neuron = self._widest(node) if split.neuron < 0 else split.neuron
                estimates = split.active, split.inactive
                for child, estimate in zip(node.divide(neuron), estimates, strict=True):
                    count += 1
                    heapq.heappush(heap, (estimate, count, child))
        self._refused(left)

    def _bound(self, node: CaseNode, steps: int, *, branch: bool = True) -> kernels.Split | None:
        """Bound a node, in place; None where it is closed, else its best split if one is asked."""
        own = self.relaxation
        stop = self.stop + node.surplus
        found = kernels.optimise(
            own.relaxation, self.specifications[node.goal], 0.0, node.parameters,
            AscentSettings(steps, RATE, stop), own.workspace,
        )  # fmt: skip
        node.surplus = max(found.value - self.stop, 0.0)
        if found.value > stop:
            return None
        if not branch:
            return kernels.Split(-1, 0.0, 0.0)
        return kernels.strong_branching(
            own.relaxation, node.parameters, own.workspace, found.value, stop, CANDIDATES
        )

    def _refused(self, nodes: Sequence[CaseNode]) -> list[CaseNode]:
        """Fix the multipliers of leaves; those that the checker's inequality does not close."""
        refused = []
        for start in range(0, len(nodes), CHUNK):
            part = nodes[start : start + CHUNK]
            goals = self.goals.take(np.array([n.goal for n in part], np.intp))
            multipliers, planes = self.relaxation.multipliers(goals, [n.parameters for n in part])
            for i, node in enumerate(part):
                node.multipliers = multipliers[i]
                node.planes = None if planes is None else planes[i]
            for node, value in zip(part, self._values(part).tolist(), strict=True):
                if not value > 0.0:
                    node.surplus += max(-value, 0.0)
                    refused.append(node)
        return refused

    def _values(self, nodes: Sequence[CaseNode]) -> Floats:
        """Evaluate leaves by the checker's inequality."""
        goals = self.goals.take(np.array([n.goal for n in nodes], np.intp))
        phases = np.stack([n.parameters.phases for n in nodes])
        return lower_bounds(self.relaxation.system, goals, phases, *_entries(nodes))

    def _program(self, node: CaseNode) -> bool:
        """Close a case by the best parameters there are, those of a linear program."""
        best = relax(
            self.relaxation.relaxation, self.specifications[node.goal], node.parameters,
            monotonic() + SECONDS,
        )  # fmt: skip
        if best is None or not best.bound > self.stop + node.surplus:
            return False
        trial = CaseNode(node.goal, best.parameters)
        if self._refused([trial]):
            return False
        node.parameters = trial.parameters
        node.multipliers, node.planes = trial.multipliers, trial.planes
        return True

    def _deep(self, node: CaseNode, every: int) -> bool:
        """Return True where a linear program is worth its time: in a ball, of rows, it is not."""
        if not self.relaxation.system.points.norm.boxed:
            return False
        least = max(1.0, PROGRAM_FROM * self._free)
        return node.depth >= least and node.depth % every == 0

    def _programmed(self, node: CaseNode, split: kernels.Split) -> bool:
        """Close a case by linear programs, where they are worth their time or no split helps."""
        deep = self._deep(node, PROGRAM_EVERY) and self._program(node)
        return deep or (split.neuron < 0 and self._last(node))

    def _widest(self, node: CaseNode) -> int:
        """The free neuron with the most room on both sides of 0."""
        system = self.relaxation.system
        room = np.minimum(-system.lower, system.upper)
        room[node.parameters.phases != 0] = -np.inf
        if not np.any(room > 0.0):
            raise UnprovenError("a case without a neuron left to split")
        return int(np.argmax(room))

    def _last(self, node: CaseNode) -> bool:
        """Close a case that no split helps: by a linear program, or a long ascent."""
        if self._program(node):
            return True
        return self._bound(node, LAST_STEPS, branch=False) is None and not self._refused([node])

    def claims(self, numbers: NDArray[np.int32]) -> tuple[Claims, Floats]:
        """Return the claims that the leaves make, and the goals' proven bounds."""
        trees: list[int] = []
        stack = self.roots[::-1]
        while stack:
            node = stack.pop()
            trees.append(node.split)
            stack += () if node.children is None else node.children[::-1]
        leaves = [leaf for root in self.roots for leaf in root.leaves()]
        values = np.full(len(self.roots), np.inf)
        np.minimum.at(values, [n.goal for n in leaves], self._values(leaves))
        whole = len(leaves) == len(self.roots)
        multipliers, planes = _entries(leaves)
        tree = None if whole else np.array(trees, np.int32)
        return Claims(numbers, multipliers, tree, planes), values


def _entries(leaves: Sequence[CaseNode]) -> tuple[Singles, Singles | None]:
    """Return the multipliers (leaves, width) and, if there are any, (leaves, planes)."""
    multipliers = np.stack([n.multipliers for n in leaves if n.multipliers is not None])
    planes = [n.planes for n in leaves if n.planes is not None]
    return multipliers, np.stack(planes) if planes else None
