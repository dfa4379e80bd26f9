"""Trees of cases, grown until every leaf's bound is positive or a number of nodes is used."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.certificate.program import best_multipliers
from graphprune.backends.certificate.relaxation import Batch, Floats, Relaxation, States
from graphprune.check.bound import lower_bounds
from graphprune.check.container import Claims
from graphprune.check.forms import AffineForm

Singles = NDArray[np.float32]
NOTHING = np.float32(0.0)
# Nodes bounded at once; of a tree that is known.
BATCH, CHUNK = 32, 256
# Ascent steps at a root, at other nodes, and where no split is left.
ROOT_STEPS, STEPS, LAST_STEPS = 30, 10, 400
# The ascent is slow in cases that hold few or no points: linear programs at every fourth depth from
# where this share of the neurons is split.
PROGRAM_EVERY, PROGRAM_FROM = 4, 0.125
# Neurons per node whose two cases are bounded before one is split.
CANDIDATES = 16


class UnprovenError(Exception):
    """A case cannot be closed, or time is over."""


@dataclass(eq=False)
class CaseNode:
    """A case of a goal.

    Attributes
    ----------
    state, theta, mix, assumed
        One row of a batch.
    split, children
        The neuron that is split, and the cases z >= 0 and z <= 0; -1 and None: a leaf.
    multipliers, planes, stored_assumed
        What the certificate says of a leaf.
    """

    goal: int
    state: States
    theta: Floats
    mix: Floats
    assumed: float = 0.0
    split: int = -1
    children: "tuple[CaseNode, CaseNode] | None" = None
    multipliers: Singles | None = None
    planes: Singles | None = None
    stored_assumed: np.float32 = NOTHING

    def divide(self, split: int) -> "tuple[CaseNode, CaseNode]":
        """Split a neuron; the two cases, with multiplier 0 for it."""
        both = []
        for phase in (1, -1):
            state, theta = self.state.copy(), self.theta.copy()
            state[split], theta[split] = phase, 0.0
            both.append(CaseNode(self.goal, state, theta, self.mix, self.assumed))
        self.split, self.children = split, (both[0], both[1])
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


def prove(
    relaxation: Relaxation,
    goals: AffineForm,
    numbers: NDArray[np.int32],
    *,
    stop: float,
    assumption: AffineForm | None = None,
    root: CaseNode | None = None,
    nodes: int | None = None,
    over: Callable[[], bool] = lambda: False,
) -> tuple[Claims, Floats]:
    """Claims about `goals`, and their proven bounds.

    Parameters
    ----------
    goals
        Forms over the system's basis.
    numbers
        What the certificate calls them.
    stop
        Cases whose bound exceeds this (>= 0) are not split.
    assumption
        The form that is known to be <= 0, if the relaxation has one.
    root
        A tree to start from, for a single goal.
    nodes
        Limit of nodes per goal; None: until every case is closed.
    over
        Says whether time is over.

    Raises
    ------
    UnprovenError
        Time is over; without a limit of nodes: a case cannot be closed.
    """
    forest = _Forest(relaxation, goals, stop, assumption, over)
    roots = [root] if root is not None else forest.roots()
    forest.grow(roots, nodes)
    return forest.claims(roots, numbers)


class _Forest:
    def __init__(
        self, relaxation: Relaxation, goals: AffineForm, stop: float, assumption: AffineForm | None,
        over: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.relaxation = relaxation
        self.goals = goals.widen(len(relaxation.system.low))
        self.rows = self.goals.rows.toarray()
        planes = relaxation.system.planes
        self.planes = np.zeros(0, np.intp) if planes is None else planes.neurons
        self.stop = stop
        self.assumption = assumption
        self.over = over

    def roots(self) -> list[CaseNode]:
        """Unsplit cases with default slopes."""
        start = self.relaxation.batch(self.goals)
        parts = zip(start.states, start.theta, start.mix, strict=True)
        return [CaseNode(g, *part) for g, part in enumerate(parts)]

    def grow(self, roots: list[CaseNode], limit: int | None) -> None:
        used = np.zeros(len(roots), np.int64)
        nodes = [leaf for root in roots for leaf in root.leaves()]
        if len(nodes) > len(roots):
            # A tree that is known: most of its cases close as they are.
            parts = [nodes[i : i + CHUNK] for i in range(0, len(nodes), CHUNK)]
            nodes = [node for part in parts for node in self._bound(part, 0)[0]]
            nodes = [node for node in nodes if not (self._deep(node, 1) and self._program(node))]
        heap: list[tuple[float, int, CaseNode]] = [
            (-np.inf, i, node) for i, node in enumerate(nodes)
        ]
        count = len(heap)
        left: list[CaseNode] = []
        while heap:
            if self.over():
                raise UnprovenError("time is over")
            nodes = [heapq.heappop(heap)[2] for _ in range(min(BATCH, len(heap)))]
            for node in nodes:
                used[node.goal] += 1
            open_nodes, batch, _ = self._bound(nodes, ROOT_STEPS if count <= BATCH else STEPS)
            if limit is not None:
                spare = np.array([used[n.goal] < limit for n in open_nodes], bool)
                left += [n for n, s in zip(open_nodes, spare, strict=True) if not s]
                open_nodes = [n for n, s in zip(open_nodes, spare, strict=True) if s]
                batch = batch.take(spare)
            if not open_nodes:
                continue
            if limit is None:
                still = np.array(
                    [not (self._deep(n, PROGRAM_EVERY) and self._program(n)) for n in open_nodes],
                    bool,
                )
                open_nodes = [n for n, s in zip(open_nodes, still, strict=True) if s]
                batch = batch.take(still)
                if not open_nodes:
                    continue
            for node, split, estimates in self._branch(open_nodes, batch):
                if split < 0:
                    if limit is not None:
                        left.append(node)
                    elif not self._last(node):
                        raise UnprovenError("a case without a neuron left to split")
                    continue
                for child, estimate in zip(node.divide(split), estimates, strict=True):
                    count += 1
                    heapq.heappush(heap, (estimate, count, child))
        if left:
            self._store(left)

    def _batch(self, nodes: list[CaseNode]) -> Batch:
        which = [n.goal for n in nodes]
        return Batch(
            self.rows[which], self.goals.offset[which], np.stack([n.state for n in nodes]),
            np.stack([n.theta for n in nodes]).astype(np.float64),
            np.stack([n.mix for n in nodes]).astype(np.float64),
            np.array([n.assumed for n in nodes]),
        )  # fmt: skip

    def _bound(self, nodes: list[CaseNode], steps: int) -> tuple[list[CaseNode], Batch, Floats]:
        """Bound nodes; those that stay open, with their batch and bounds."""
        batch = self._batch(nodes)
        bounds = self.relaxation.ascend(batch, steps, stop=self.stop)
        for i, node in enumerate(nodes):
            node.theta, node.mix = batch.theta[i], batch.mix[i]
            node.assumed = float(batch.assumed[i])
        closed = np.flatnonzero(bounds > self.stop)
        is_open = np.ones(len(nodes), bool)
        if len(closed):
            proven = self._store([nodes[i] for i in closed])
            is_open[closed[proven > 0.0]] = False
        rest = [node for node, o in zip(nodes, is_open, strict=True) if o]
        return rest, batch.take(is_open), bounds[is_open]

    def _store(self, nodes: list[CaseNode]) -> Floats:
        """Fix the multipliers of leaves; their bounds by the checker's inequality."""
        batch = self._batch(nodes)
        assumed = batch.assumed.astype(np.float32)
        batch.assumed = assumed.astype(np.float64)
        done = self.relaxation.backward(batch, stored=True)
        multipliers = done.multipliers.astype(np.float32)
        planes = done.planes[:, self.planes].astype(np.float32)
        for node, *own in zip(nodes, multipliers, planes, assumed, strict=True):
            node.multipliers, node.planes, node.stored_assumed = own
        return self._values(nodes)

    def _values(self, nodes: list[CaseNode]) -> Floats:
        goals = self.goals.take(np.array([n.goal for n in nodes], np.intp))
        states = np.stack([n.state for n in nodes])
        multipliers, planes = _stored(nodes)
        assumed = np.array([n.stored_assumed for n in nodes])
        assumption = None if self.assumption is None else (assumed, self.assumption)
        return lower_bounds(self.relaxation.system, goals, states, multipliers, planes, assumption)

    def _program(self, node: CaseNode) -> bool:
        """Close a case by the best multipliers there are."""
        goal = self.goals.take(np.array([node.goal]))
        state = np.where(node.state != 0, node.state, self.relaxation.fixed)
        found = best_multipliers(self.relaxation.system, goal, state)
        if found is None:
            return False
        node.multipliers, node.planes = (x.astype(np.float32) for x in found)
        return bool(self._values([node])[0] > 0.0)

    def _deep(self, node: CaseNode, every: int) -> bool:
        """Whether a linear program is worth its time."""
        depth = int(np.count_nonzero(node.state))
        least = PROGRAM_FROM * int(np.sum(self.relaxation.fixed == 0))
        return self.assumption is None and depth >= max(1.0, least) and depth % every == 0

    def _last(self, node: CaseNode) -> bool:
        """No split helps: what is left is a linear program, or a long ascent."""
        found = self.assumption is None and self._program(node)
        return found or not self._bound([node], LAST_STEPS)[0]

    def _branch(
        self, nodes: list[CaseNode], batch: Batch
    ) -> list[tuple[CaseNode, int, tuple[float, float]]]:
        """Filtered strong branching: for each node its split and the bounds of both cases."""
        relaxation, n = self.relaxation, self.relaxation.system.inputs
        system = relaxation.system
        done = relaxation.backward(batch)
        at = relaxation.forward(batch, done)
        c = done.coefficients[:, n:] - done.planes
        loss = np.abs(c * (at.v[:, n:] - np.maximum(at.z, 0.0)))
        area = np.abs(c) * relaxation.chord * -system.lower
        score = loss + np.where(c < 0, 0.3, 0.05) * area
        score[relaxation.state(batch) != 0] = 0.0
        most = min(CANDIDATES, score.shape[1])
        if most == 0:
            return [(node, -1, (0.0, 0.0)) for node in nodes]
        order = np.argsort(-score, axis=1)[:, :most]
        useful = np.take_along_axis(score, order, axis=1) > 0.0
        owner, place = np.nonzero(useful)
        neuron = order[owner, place]
        trial = batch.take(np.concatenate([owner, owner]))
        place = np.arange(len(trial))
        both = np.concatenate([neuron, neuron])
        trial.states[place, both] = np.repeat(np.array([1, -1], np.int8), len(owner))
        trial.theta[place, both] = 0.0
        value = relaxation.backward(trial).value if len(trial) else np.zeros(0)
        first, second = value[: len(owner)], value[len(owner) :]
        total = np.minimum(first - self.stop, 0.0) + np.minimum(second - self.stop, 0.0)
        result = []
        for i, node in enumerate(nodes):
            mine = np.flatnonzero(owner == i)
            if not len(mine):
                result.append((node, -1, (0.0, 0.0)))
                continue
            best = mine[int(np.argmax(total[mine]))]
            result.append((node, int(neuron[best]), (float(first[best]), float(second[best]))))
        return result

    def claims(self, roots: list[CaseNode], numbers: NDArray[np.int32]) -> tuple[Claims, Floats]:
        trees: list[int] = []
        stack = roots[::-1]
        while stack:
            node = stack.pop()
            trees.append(node.split)
            stack += () if node.children is None else node.children[::-1]
        leaves = [leaf for root in roots for leaf in root.leaves()]
        values = np.full(len(roots), np.inf)
        np.minimum.at(values, [n.goal for n in leaves], self._values(leaves))
        multipliers, planes = _stored(leaves)
        assumed = np.array([n.stored_assumed for n in leaves], np.float32)
        return Claims(
            numbers, multipliers, None if len(leaves) == len(roots) else np.array(trees, np.int32),
            planes, assumed if self.assumption is not None else None,
        ), values  # fmt: skip


def _stored(leaves: list[CaseNode]) -> tuple[Singles, Singles | None]:
    """The multipliers (leaves, width) and, if there are any, (leaves, planes)."""
    multipliers = np.stack([n.multipliers for n in leaves if n.multipliers is not None])
    planes = np.stack([n.planes for n in leaves if n.planes is not None])
    return multipliers, planes if planes.shape[1] else None
