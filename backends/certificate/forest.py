"""Trees of cases, grown until every leaf's bound is positive or a number of nodes is used."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.certificate.program import best_multipliers
from graphprune.backends.certificate.relaxation import Batch, Floats, Relaxation, States
from graphprune.check.bound import lower_bounds
from graphprune.check.container import Claims
from graphprune.check.forms import Form

# Nodes bounded at once, ascent steps at a root, at other nodes, and where no split is left.
BATCH, ROOT_STEPS, STEPS, LAST_STEPS = 32, 30, 10, 400
# The ascent is slow in cases that hold few or no points: linear programs at every fourth depth from
# where this share of the neurons is split.
PROGRAM_EVERY, PROGRAM_FROM = 4, 0.125
# Neurons per node whose two cases are bounded before one is split.
CANDIDATES = 16


class UnprovenError(Exception):
    """A case cannot be closed, or time is over."""


@dataclass(eq=False)
class _Node:
    goal: int
    state: States
    theta: Floats
    assumed: float
    split: int = -1
    # The cases z >= 0 and z <= 0.
    children: "tuple[_Node, _Node] | None" = None
    multipliers: NDArray[np.float32] | None = None
    stored_assumed: np.float32 = field(default_factory=lambda: np.float32(0.0))


def prove(
    relaxation: Relaxation,
    goals: Form,
    numbers: NDArray[np.int32],
    *,
    stop: float,
    assumption: Form | None = None,
    theta: Floats | None = None,
    assumed: float = 0.0,
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
    theta, assumed
        Parameters to start from.
    nodes
        Limit of nodes per goal; None: until every case is closed.
    over
        Says whether time is over.

    Raises
    ------
    UnprovenError
        Without a limit of nodes: a case cannot be closed.
    """
    forest = _Forest(relaxation, goals, stop, assumption, over)
    count = len(goals.offset)
    start = relaxation.slopes(count) if theta is None else theta
    width = relaxation.system.width
    roots = [
        _Node(g, np.zeros(width, np.int8), start[g].copy(), assumed) for g in range(count)
    ]  # fmt: skip
    forest.grow(roots, nodes)
    return forest.claims(roots, numbers)


class _Forest:
    def __init__(
        self, relaxation: Relaxation, goals: Form, stop: float, assumption: Form | None,
        over: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.relaxation = relaxation
        self.goals = goals.widen(len(relaxation.system.low))
        self.rows = self.goals.rows.toarray()
        self.stop = stop
        self.assumption = assumption
        self.over = over

    def grow(self, roots: list[_Node], limit: int | None) -> None:
        used = np.zeros(len(roots), np.int64)
        heap: list[tuple[float, int, _Node]] = [(-np.inf, i, node) for i, node in enumerate(roots)]
        count = len(roots)
        left: list[_Node] = []
        while heap:
            if limit is None and self.over():
                raise UnprovenError("time is over")
            nodes = [heapq.heappop(heap)[2] for _ in range(min(BATCH, len(heap)))]
            for node in nodes:
                used[node.goal] += 1
            open_nodes, batch, bounds = self._bound(nodes, ROOT_STEPS if count <= BATCH else STEPS)
            if limit is not None:
                spare = np.array([used[n.goal] < limit for n in open_nodes], bool)
                left += [n for n, s in zip(open_nodes, spare, strict=True) if not s]
                open_nodes = [n for n, s in zip(open_nodes, spare, strict=True) if s]
                batch, bounds = _take(batch, spare), bounds[spare]
            if not open_nodes:
                continue
            if limit is None:
                still = np.array([not self._program(n) for n in open_nodes], bool)
                open_nodes = [n for n, s in zip(open_nodes, still, strict=True) if s]
                batch, bounds = _take(batch, still), bounds[still]
                if not open_nodes:
                    continue
            for node, split, estimates in self._branch(open_nodes, batch, bounds):
                if split < 0:
                    if limit is not None:
                        left.append(node)
                    elif not self._last(node):
                        raise UnprovenError("a case without a neuron left to split")
                    continue
                node.split = split
                node.children = (self._child(node, split, 1), self._child(node, split, -1))
                for child, estimate in zip(node.children, estimates, strict=True):
                    count += 1
                    heapq.heappush(heap, (estimate, count, child))
        if left:
            self._store(left)

    def _child(self, node: _Node, split: int, phase: int) -> _Node:
        state, theta = node.state.copy(), node.theta.copy()
        state[split], theta[split] = phase, 0.0
        return _Node(node.goal, state, theta, node.assumed)

    def _batch(self, nodes: list[_Node]) -> Batch:
        which = [n.goal for n in nodes]
        return Batch(
            self.rows[which], self.goals.offset[which], np.stack([n.state for n in nodes]),
            np.stack([n.theta for n in nodes]), np.array([n.assumed for n in nodes]),
        )  # fmt: skip

    def _bound(self, nodes: list[_Node], steps: int) -> tuple[list[_Node], Batch, Floats]:
        """Bound nodes; those that stay open, with their batch and bounds."""
        batch = self._batch(nodes)
        bounds = self.relaxation.ascend(batch, steps, stop=self.stop)
        for i, node in enumerate(nodes):
            node.theta, node.assumed = batch.theta[i], float(batch.assumed[i])
        closed = np.flatnonzero(bounds > self.stop)
        is_open = np.ones(len(nodes), bool)
        if len(closed):
            proven = self._store([nodes[i] for i in closed])
            is_open[closed[proven > 0.0]] = False
        rest = [node for node, o in zip(nodes, is_open, strict=True) if o]
        return rest, _take(batch, is_open), bounds[is_open]

    def _store(self, nodes: list[_Node]) -> Floats:
        """Fix the multipliers of leaves; their bounds by the checker's inequality."""
        batch = self._batch(nodes)
        assumed = batch.assumed.astype(np.float32)
        batch.assumed = assumed.astype(np.float64)
        done = self.relaxation.backward(batch, stored=True)
        multipliers = done.multipliers.astype(np.float32)
        for node, row, amount in zip(nodes, multipliers, assumed, strict=True):
            node.multipliers, node.stored_assumed = row, amount
        return self._values(nodes)

    def _values(self, nodes: list[_Node]) -> Floats:
        goals = self.goals.take(np.array([n.goal for n in nodes], np.intp))
        states = np.stack([n.state for n in nodes])
        multipliers = np.stack([n.multipliers for n in nodes if n.multipliers is not None])
        assumed = np.array([n.stored_assumed for n in nodes])
        assumption = None if self.assumption is None else (assumed, self.assumption)
        return lower_bounds(
            self.relaxation.system, goals, states, multipliers, assumption=assumption
        )

    def _program(self, node: _Node, *, always: bool = False) -> bool:
        """Close a deep node by the best multipliers there are."""
        depth = int(np.count_nonzero(node.state))
        shallow = depth == 0 or depth < PROGRAM_FROM * len(node.state)
        if self.assumption is not None or (not always and (shallow or depth % PROGRAM_EVERY)):
            return False
        goal = self.goals.take(np.array([node.goal]))
        found = best_multipliers(self.relaxation.system, goal, node.state)
        if found is None:
            return False
        node.multipliers = found.astype(np.float32)
        return bool(self._values([node])[0] > 0.0)

    def _last(self, node: _Node) -> bool:
        """No split helps: what is left is a linear program, or a long ascent."""
        return self._program(node, always=True) or not self._bound([node], LAST_STEPS)[0]

    def _branch(
        self, nodes: list[_Node], batch: Batch, bounds: Floats
    ) -> list[tuple[_Node, int, tuple[float, float]]]:
        """Filtered strong branching: for each node its split and the bounds of both cases."""
        relaxation, n = self.relaxation, self.relaxation.system.inputs
        system = relaxation.system
        done = relaxation.backward(batch)
        z = relaxation.forward(batch, done)
        c = done.coefficients[:, n:]
        loss = np.abs(c * (relaxation.point[:, n:] - np.maximum(z, 0.0)))
        area = np.abs(c) * system.upper * -system.lower / (system.upper - system.lower)
        score = loss + np.where(c < 0, 0.3, 0.05) * area
        score[batch.states != 0] = 0.0
        most = min(CANDIDATES, score.shape[1])
        if most == 0:
            return [(node, -1, (0.0, 0.0)) for node in nodes]
        order = np.argsort(-score, axis=1)[:, :most]
        useful = np.take_along_axis(score, order, axis=1) > 0.0
        owner, place = np.nonzero(useful)
        neuron = order[owner, place]
        trial = _take(batch, np.concatenate([owner, owner]))
        at = np.arange(len(trial))
        both = np.concatenate([neuron, neuron])
        trial.states[at, both] = np.repeat(np.array([1, -1], np.int8), len(owner))
        trial.theta[at, both] = 0.0
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

    def claims(self, roots: list[_Node], numbers: NDArray[np.int32]) -> tuple[Claims, Floats]:
        trees: list[int] = []
        leaves: list[_Node] = []
        stack = roots[::-1]
        while stack:
            node = stack.pop()
            trees.append(node.split)
            if node.children is None:
                leaves.append(node)
            else:
                stack += [node.children[1], node.children[0]]
        values = np.full(len(roots), np.inf)
        np.minimum.at(values, [n.goal for n in leaves], self._values(leaves))
        multipliers = np.stack([n.multipliers for n in leaves if n.multipliers is not None])
        assumed = np.array([n.stored_assumed for n in leaves], np.float32)
        return Claims(
            numbers, multipliers, None if len(leaves) == len(roots) else np.array(trees, np.int32),
            None, assumed if self.assumption is not None else None,
        ), values  # fmt: skip


def _take(batch: Batch, which: NDArray[np.generic]) -> Batch:
    return Batch(
        batch.rows[which], batch.offset[which], batch.states[which].copy(),
        batch.theta[which].copy(), batch.assumed[which].copy(),
    )  # fmt: skip
