"""Branch and bound over the phases of unstable neurons, several subproblems in one tree."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.protocol import Limits
from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.arrays import box_of
from graphprune.backends.relaxation.branching import BranchingRule, bound_node
from graphprune.backends.relaxation.kernels import AscentSettings, Parameters
from graphprune.backends.relaxation.node_lp import relax, solve_node
from graphprune.backends.relaxation.subproblem import RATE, Subproblem, fix_stable
from graphprune.backends.relaxation.tighten import constrained
from graphprune.backends.search.branching import StrongBranching
from graphprune.backends.search.node import Singles, TreeNode
from graphprune.backends.trace import Path
from graphprune.region import Region

Floats = NDArray[np.float64]

# A better point is looked for at the first node, and whenever the tree has grown by this factor.
PURSUIT = 4

# The share of the memory limit from which on a tree goes depth first.
DEEP = 0.9

DEFAULT_RULE = StrongBranching()
# Optimiser steps at a node.
NODE_STEPS = 8
# Splits after which a case's bounds and box are computed anew, per 32 neurons: the cost of that
# grows with their square, a node's with their number. Never with more neurons than `REFRESHED`:
# a round costs as much as hundreds of nodes there, and closes few.
REFRESH, REFRESHED = 4, 128


@dataclass
class Pace:
    """How often a tree does what is dear.

    Attributes
    ----------
    pursuit
        Nodes until a point is pursued.
    program
        Splits after which a case gets a linear program.
    """

    pursuit: int = 1
    program: int = 4


class Points(Protocol):
    """Where a tree brings points, and learns what is still of interest."""

    @property
    def radius(self) -> float:
        """Of the ball that is still of interest: better points shrink it."""
        ...

    def offer(self, x: Floats) -> None:
        """A point (flat) whose margin is 0 or less, up to rounding."""
        ...

    def pursue(self, target: int, x: Floats) -> None:
        """A point (flat) near which the boundary to class `target` may be."""
        ...


class Recorder(Protocol):
    """Is told of closed cases (see :class:`graphprune.backends.trace.Trace`)."""

    def note(
        self,
        target: int,
        path: Path,
        slopes: NDArray[np.floating],
        cut_weights: NDArray[np.floating],
    ) -> None: ...


class Tree:
    """Cases still open: every point with margin <= 0 nearer than the ball's radius is in one.

    Nodes are taken with the least proven radius first (as far as the parent's bound and the
    strong branching tell), over all targets together. When most of the memory limit is used, it
    goes on depth first: one case is finished before another one is begun, which takes as many
    nodes more as it is deep. That is what the rest of the memory is for.

    Cases can be lent: others expand them and bring back what is left. They stay open here until
    then.

    Attributes
    ----------
    bytes
        Memory of all open cases.
    """

    def __init__(
        self,
        ball: Region,
        limits: Limits,
        trace: Recorder | None = None,
        pace: Pace | None = None,
        rule: BranchingRule = DEFAULT_RULE,
    ) -> None:
        self.ball = ball
        self._box = box_of(ball)
        self.rule = rule
        self.limits = limits
        self.trace = trace
        self.nodes = 0
        self.bytes = 0
        self.pace = pace or Pace()
        self._heap: list[tuple[float, int, TreeNode]] = []
        # Taken before those of the heap.
        self._stack: list[TreeNode] = []
        # Cases that hold an adversarial point which is as near as they allow.
        self._settled: list[TreeNode] = []
        self._lent: dict[int, list[TreeNode]] = {}
        # Open cases of every subproblem.
        self._users: dict[int, int] = {}
        self._count = 0

    def add(self, nodes: Sequence[TreeNode], settled: Sequence[TreeNode] = ()) -> None:
        """Add open cases, and such as hold an adversarial point."""
        for node in nodes:
            self._push(node)
        for node in settled:
            self._account(node)
            self._settled.append(node)

    def lend(self, count: int) -> tuple[int, list[TreeNode]]:
        """Give up to `count` cases, the most urgent ones, away; a ticket to return them with."""
        self._count += 1
        nodes = [self._pop() for _ in range(min(count, self.waiting))]
        self._lent[self._count] = nodes
        return self._count, nodes

    def give_back(self, ticket: int) -> list[TreeNode]:
        """The cases of a ticket, which are not lent any more: add them, or what is left of them."""
        nodes = self._lent.pop(ticket)
        for node in nodes:
            self._account(node, -1)
        return nodes

    def __len__(self) -> int:
        """Cases to be expanded, here or by others."""
        return self.waiting + sum(map(len, self._lent.values()))

    @property
    def waiting(self) -> int:
        """Cases to be expanded here."""
        return len(self._heap) + len(self._stack)

    @property
    def deep(self) -> bool:
        """Memory is short: depth first."""
        return self.bytes > DEEP * self.limits.memory

    @property
    def full(self) -> bool:
        """The memory limit is reached."""
        return self.bytes > self.limits.memory

    @property
    def cases(self) -> tuple[list[TreeNode], list[TreeNode]]:
        """Those to be expanded here, and those that hold an adversarial point."""
        return [*(node for _, _, node in self._heap), *self._stack], self._settled

    def open_nodes(self) -> Iterator[TreeNode]:
        yield from self._unsettled()
        yield from (node for node in self._settled if node.radius < self.ball.radius)

    def _unsettled(self) -> Iterator[TreeNode]:
        yield from (node for _, _, node in self._heap)
        yield from self._stack
        yield from chain.from_iterable(self._lent.values())

    @property
    def radius(self) -> float:
        """Proven by the open cases: nothing adversarial is nearer."""
        # Cases may be closed on this ball only: what is open proves nothing beyond it.
        return min([self.ball.radius, *(n.radius for n in self.open_nodes())])

    def open_targets(self) -> set[int]:
        """The classes of open cases."""
        return {node.case.label for node in self.open_nodes()}

    def shrink(self, radius: float) -> None:
        """Go on on a smaller ball (a better point was found); everything proven stays so."""
        if radius < self.ball.radius:
            self.ball = self.ball.shrunk(radius)
            self._box = box_of(self.ball)

    def step(self, points: Points) -> None:
        """Expand one node."""
        self.shrink(points.radius)
        node = self._pop()
        self._account(node, -1)
        self.nodes += 1
        parameters = node.parameters()
        case = node.case.shrunk(self.ball, self._box)
        few = case.neurons <= REFRESHED
        if few and node.since_bounds >= REFRESH * max(1, case.neurons // 32):
            tightened = constrained(case, parameters, self.limits)
            if tightened is None:
                self._note(node, parameters)
                return
            case = tightened
            fix_stable(case.rows, parameters)
            node.case, node.since_bounds = case, 0
        workspace = kernels.workspace_for(case.rows)
        found = bound_node(
            case.relaxation, case.specification, parameters, AscentSettings(NODE_STEPS, RATE, 0.0),
            self.rule, workspace,
        )  # fmt: skip
        if found.children is None:
            self._note(node, parameters)
            return
        x = workspace.point[: case.inputs]
        if found.children.value <= case.specification.goal.error:
            points.offer(x)
        elif self.nodes >= self.pace.pursuit:
            self.pace.pursuit = PURSUIT * self.nodes
            points.pursue(case.label, x)
        # Written so that NaN proves nothing.
        radius = found.radius if found.radius > node.radius else node.radius
        if found.neuron < 0:
            self._solve(node, case, parameters, found.bound, radius, points)
            return
        bound, best = found.bound, parameters
        if self._due(node, parameters):
            start = case.parameters._replace(phases=parameters.phases)
            proof = relax(case.relaxation, case.specification, start, self.limits.deadline)
            closed = proof is not None and proof.bound > 0.0
            every = self.pace.program
            self.pace.program = max(1, every // 2) if closed else min(64, 2 * every)
            node.since_lp = 0
            if proof is not None and closed:
                self._note(node, proof.parameters)
                return
            if proof is not None and proof.bound > bound:
                bound, radius = proof.bound, max(radius, proof.radius)
                best = proof.parameters
        # The children's, who share the weights.
        singles = node.singles(best)
        children = found.children
        for phase, estimate, closed in (
            (kernels.ACTIVE, children.active, children.active_closed),
            (kernels.INACTIVE, children.inactive, children.inactive_closed),
        ):
            if closed:
                self._note(node, parameters, (found.neuron, phase))
            else:
                estimate = max(estimate, bound)
                self._child(
                    node, parameters, *singles, found.neuron, phase, bound, estimate, radius
                )

    def _due(self, node: TreeNode, parameters: Parameters) -> bool:
        """Whether a node gets a linear program: the more of them close cases, the more get one."""
        splits = int(np.count_nonzero(parameters.phases))
        return node.since_lp >= self.pace.program and 8 * splits >= len(parameters.phases)

    def _note(
        self, node: TreeNode, parameters: Parameters, split: tuple[int, int] | None = None
    ) -> None:
        """Tell the trace of a closed case, or of one more split of it (with multiplier 0)."""
        if self.trace is None:
            return
        path, slopes = node.path, parameters.slopes
        if split is not None:
            path, slopes = (path, *split), slopes.copy()
            slopes[split[0]] = 0.0
        self.trace.note(node.case.label, path, slopes, parameters.cut_weights)

    def note_open(self, trace: Recorder) -> None:
        """Tell a trace of all cases that are still open."""
        for node in (*self._unsettled(), *self._settled):
            trace.note(node.case.label, node.path, node.slopes, node.cut_weights)

    def _child(
        self,
        parent: TreeNode,
        parameters: Parameters,
        slopes: Singles,
        weights: Singles,
        neuron: int,
        phase: int,
        bound: float,
        estimate: float,
        radius: float,
    ) -> None:
        phases, own = parameters.phases.copy(), slopes.copy()
        phases[neuron], own[neuron] = phase, 0.0
        # Along the line from (radius, 0) to (ball, bound): what the child's bound suggests.
        share = min(max(estimate / bound, 0.0), 1.0) if bound < 0.0 else 0.0
        guess = self.ball.radius - (self.ball.radius - radius) * share
        path = (parent.path, neuron, phase)
        self._push(
            TreeNode(
                parent.case, estimate, radius, guess, phases, own, weights,
                parent.since_bounds + 1, path, parent.since_lp + 1,
            )
        )  # fmt: skip

    def _solve(
        self,
        node: TreeNode,
        case: Subproblem,
        parameters: Parameters,
        bound: float,
        radius: float,
        points: Points,
    ) -> None:
        """Decide a node that no split would help, by linear programs."""
        answer = solve_node(case, parameters.phases, self.limits.deadline)
        if answer.closed:
            self._note(node, answer.proof.parameters)
            return
        for x in (answer.inner, answer.point):
            if x is not None:
                points.offer(x)
        if answer.stopped:
            self._push(replace(node, bound=bound, radius=radius))
        elif answer.neuron is not None:
            for phase in (kernels.ACTIVE, kernels.INACTIVE):
                self._child(
                    node, parameters, node.slopes, node.cut_weights, answer.neuron, phase,
                    bound, bound, radius,
                )  # fmt: skip
        else:
            # A true adversarial point: the case is closed when the ball has shrunk below it.
            radius = max(radius, answer.radius)
            singles = node.singles(answer.proof.parameters)
            own = TreeNode(
                node.case, bound, radius, radius, parameters.phases, *singles, path=node.path
            )
            self.add([], [own])

    def _push(self, node: TreeNode) -> None:
        self._count += 1
        self._account(node)
        if self.deep:
            self._stack.append(node)
        else:
            heapq.heappush(self._heap, (node.estimate, self._count, node))

    def _pop(self) -> TreeNode:
        return self._stack.pop() if self._stack else heapq.heappop(self._heap)[2]

    def _account(self, node: TreeNode, sign: int = 1) -> None:
        """Count the memory of a case; that of a subproblem while it has cases."""
        place = id(node.case)
        before = self._users.get(place, 0)
        after = self._users[place] = before + sign
        if not after:
            del self._users[place]
        self.bytes += sign * node.bytes
        if not before or not after:
            self.bytes += sign * node.case.bytes
