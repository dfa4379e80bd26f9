"""Branch and bound over the phases of unstable neurons, several subproblems in one tree."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from time import monotonic
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.arrays import box_of, copied
from graphprune.backends.relaxation.branching import NodeBound, bound_node
from graphprune.backends.relaxation.kernels import AscentSettings, Parameters
from graphprune.backends.relaxation.node_lp import NodeAnswer, relax, solve_node
from graphprune.backends.relaxation.subproblem import RATE, Subproblem, fix_stable
from graphprune.backends.relaxation.tighten import clipped, constrained
from graphprune.backends.search.node import Singles, TreeNode, root_of
from graphprune.backends.search.settings import DEFAULT, TreeSettings
from graphprune.backends.trace import Path
from graphprune.region import Region
from graphprune.runtime.resources import Resources

Floats = NDArray[np.float64]


@dataclass
class HeuristicSchedule:
    """Times for what is dear in a tree.

    Attributes
    ----------
    splits_per_lp
        Splits after which a node gets a linear program.
    next_primal
        Nodes until the primal heuristic is run.
    refresh_seconds, lp_seconds, node_seconds
        Time so far: for new bounds of neurons, for linear programs that closed nothing, and for
        bounding nodes.
    """

    splits_per_lp: int
    next_primal: int = 1
    refresh_seconds: float = 0.0
    lp_seconds: float = 0.0
    node_seconds: float = 0.0

    def primal_due(self, nodes: int, growth: int) -> bool:
        """Return True where the primal heuristic is due, and put it off."""
        if nodes < self.next_primal:
            return False
        self.next_primal = growth * nodes
        return True

    def lp_done(self, closed: bool, most: int) -> None:
        """Have linear programs more often where they close nodes, and less often elsewhere.

        After `most` splits at the latest.
        """
        if closed:
            self.splits_per_lp = max(1, self.splits_per_lp // 2)
        else:
            self.splits_per_lp = min(most, 2 * self.splits_per_lp)


class CandidateReceiver(Protocol):
    """Takes a tree's points, and tells which ball is still of interest."""

    @property
    def radius(self) -> float:
        """The radius of this ball: better points shrink it."""
        ...

    def add_candidate(self, x: Floats) -> None:
        """Take a point (flat) whose row is 0 or less, up to rounding."""
        ...


class PointReceiver(CandidateReceiver, Protocol):
    """Takes points near which the boundary is to be looked for, too."""

    def search_near(self, target: int, x: Floats) -> None:
        """Look near a point (flat) for the boundary to class `target`."""
        ...


class Recorder(Protocol):
    """Keeps closed nodes (see :class:`graphprune.backends.trace.Trace`)."""

    def note(
        self,
        target: int,
        path: Path,
        slopes: NDArray[np.floating],
        cut_weights: NDArray[np.floating],
    ) -> None: ...


class Minimiser(NamedTuple):
    """Inputs (flat) where a node's bound is least, and its row's own value there.

    Attributes
    ----------
    candidate
        The value is 0 or less, up to rounding: the receiver has been given the point.
    """

    target: int
    x: Floats
    value: float
    candidate: bool


class SplitNode(NamedTuple):
    """A node that was bounded and split: what its children start from."""

    node: TreeNode
    phases: NDArray[np.int8]
    slopes: Singles
    cut_weights: Singles
    bound: float


class Tree:
    """Open nodes: every point with a row <= 0 nearer than the ball's radius is in one.

    Nodes are taken with the least proven radius first, or with the least bound (as far as the
    parent's bound and the branching rule tell), over all roots together. When most of the memory
    limit is used, it goes on depth first: one node is finished before another one is begun, which
    takes as many nodes more as it is deep. That is what the rest of the memory is for.

    Nodes can be lent: others expand them and bring back what is left. They stay open here until
    then.

    Attributes
    ----------
    bytes
        Memory of all open nodes.
    """

    def __init__(
        self, ball: Region, resources: Resources, trace: Recorder | None = None,
        schedule: HeuristicSchedule | None = None, settings: TreeSettings = DEFAULT.tree,
    ) -> None:  # fmt: skip
        self.ball = ball
        self._box = box_of(ball)
        self.settings = settings
        self.resources = resources
        self.trace = trace
        self.nodes = 0
        self.bytes = 0
        first = HeuristicSchedule(settings.lp_splits, settings.primal_growth)
        self.schedule = schedule or first
        self._heap: list[tuple[float, int, TreeNode]] = []
        # Taken before those of the heap.
        self._stack: list[TreeNode] = []
        # Nodes that hold an adversarial point which is as near as they allow.
        self._resolved: list[TreeNode] = []
        self._lent: dict[int, list[TreeNode]] = {}
        # Takes the children of a node while it is split.
        self._children: list[TreeNode] | None = None
        # Open nodes of every subproblem.
        self._users: dict[int, int] = {}
        self._count = 0

    def add(self, nodes: Sequence[TreeNode], resolved: Sequence[TreeNode] = ()) -> None:
        """Add open nodes, and such as hold an adversarial point."""
        for node in nodes:
            self._push(node)
        for node in resolved:
            self._account(node)
            self._resolved.append(node)

    def add_roots(self, cases: Iterable[Subproblem]) -> None:
        """Add the nodes in which nothing is split but what the bounds have fixed."""
        by_bound = self.settings.by_bound
        self.add([root_of(case, case.bound if by_bound else case.radius) for case in cases])

    def lend(self, count: int) -> tuple[int, list[TreeNode]]:
        """Give up to `count` nodes, the most urgent ones, away; a ticket to return them with."""
        self._count += 1
        nodes = [self._pop() for _ in range(min(count, self.waiting))]
        self._lent[self._count] = nodes
        return self._count, nodes

    def give_back(self, ticket: int) -> list[TreeNode]:
        """Return the nodes of a ticket, not lent any more: add them, or what is left of them."""
        nodes = self._lent.pop(ticket)
        for node in nodes:
            self._account(node, -1)
        return nodes

    def __len__(self) -> int:
        """Return the number of nodes to be expanded, here or by others."""
        return self.waiting + sum(map(len, self._lent.values()))

    @property
    def waiting(self) -> int:
        """Number of nodes to be expanded here."""
        return len(self._heap) + len(self._stack)

    @property
    def deep(self) -> bool:
        """Memory is short: depth first."""
        return self.bytes > self.settings.depth_first * self.resources.memory

    @property
    def full(self) -> bool:
        """The memory limit is reached."""
        return self.bytes > self.resources.memory

    def remaining(self) -> tuple[list[TreeNode], list[TreeNode]]:
        """Return the nodes to be expanded here, and those that hold an adversarial point."""
        return [*(node for _, _, node in self._heap), *self._stack], self._resolved

    def open_nodes(self) -> Iterator[TreeNode]:
        yield from self._unresolved()
        yield from (node for node in self._resolved if node.radius < self.ball.radius)

    def all_nodes(self) -> Iterator[TreeNode]:
        """Yield the open nodes, and those that hold an adversarial point at the ball's end."""
        yield from self._unresolved()
        yield from self._resolved

    def _unresolved(self) -> Iterator[TreeNode]:
        yield from (node for _, _, node in self._heap)
        yield from self._stack
        yield from chain.from_iterable(self._lent.values())

    @property
    def radius(self) -> float:
        """Proven by the open nodes: nothing adversarial is nearer."""
        # Nodes may be closed on this ball only: what is open proves nothing beyond it.
        return min([self.ball.radius, *(n.radius for n in self.open_nodes())])

    def open_targets(self) -> set[int]:
        """Return the classes of open nodes."""
        return {node.case.label for node in self.open_nodes()}

    def shrink(self, radius: float) -> None:
        """Go on on a smaller ball (a better point was found); everything proven stays so."""
        if radius < self.ball.radius:
            self.ball = self.ball.shrunk(radius)
            self._box = box_of(self.ball)

    def step(self, points: PointReceiver) -> None:
        """Expand one node, and have its minimiser's neighbourhood searched where that is due."""
        found = self.expand(points)
        if (
            found is not None
            and not found.candidate
            and self.schedule.primal_due(self.nodes, self.settings.primal_growth)
        ):
            points.search_near(found.target, found.x)

    def expand(self, points: CandidateReceiver) -> Minimiser | None:
        """Expand one node; None: it is closed, and has no minimiser of interest."""
        node = self._pop()
        self._account(node, -1)
        return self._expanded(node, points)

    def take(self, count: int, rng: np.random.Generator) -> list[TreeNode]:
        """Take up to so many nodes away by chance: to be split, or added again."""
        waiting = [*(node for _, _, node in self._heap), *self._stack]
        chosen = rng.permutation(len(waiting))[:count].tolist()
        taken, heap = set(chosen), len(self._heap)
        self._heap = [entry for i, entry in enumerate(self._heap) if i not in taken]
        heapq.heapify(self._heap)
        self._stack = [node for i, node in enumerate(self._stack, heap) if i not in taken]
        for i in chosen:
            self._account(waiting[i], -1)
        return [waiting[i] for i in chosen]

    def split(self, node: TreeNode, points: CandidateReceiver) -> list[TreeNode]:
        """Expand a node that was taken; return its open children, to be split or added."""
        children = self._children = []
        self._expanded(node, points)
        self._children = None
        return children

    def _expanded(self, node: TreeNode, points: CandidateReceiver) -> Minimiser | None:
        self.shrink(points.radius)
        self.nodes += 1
        parameters = node.parameters()
        case = self._refreshed(node, parameters)
        if case is not None:
            case = self._clipped(case, parameters)
        if case is None:
            self._note(node, parameters)
            return None
        if self._lp_first(parameters):
            answer = self._solve(node, case, parameters, points)
            if answer.closed:
                return None
            node.radius = max(node.radius, answer.radius)
            parameters = copied(answer.proof.parameters)
        workspace = kernels.workspace_for(case.rows)
        start = monotonic()
        found = bound_node(
            case.relaxation, case.specification, parameters,
            AscentSettings(self.settings.steps, RATE, 0.0), self.settings.rule, workspace,
        )  # fmt: skip
        self.schedule.node_seconds += monotonic() - start
        if found.children is None:
            self._note(node, parameters)
            return None
        value = found.children.value
        candidate = value <= case.specification.goal.error
        seen = Minimiser(case.label, workspace.point[: case.inputs], value, candidate)
        if candidate:
            points.add_candidate(seen.x)
        # Written so that NaN proves nothing.
        node.radius = found.radius if found.radius > node.radius else node.radius
        if found.neuron < 0:
            self._decide(node, case, parameters, found.bound, points)
        else:
            self._split(node, case, parameters, found)
        return seen

    def _split(
        self, node: TreeNode, case: Subproblem, parameters: Parameters, found: NodeBound
    ) -> None:
        """Add a bounded node's open children, unless a linear program closes it."""
        assert found.children is not None
        bound, best = found.bound, parameters
        # In the ball of another norm a program takes a hundred ascents, and does not pay.
        if case.box.ball is None and self._lp_due(node, parameters):
            own, start = case.parameters._replace(phases=parameters.phases), monotonic()
            proof = relax(case.relaxation, case.specification, own, self.resources.deadline)
            closed = proof is not None and proof.bound > 0.0
            self.schedule.lp_seconds += 0.0 if closed else monotonic() - start
            self.schedule.lp_done(closed, self.settings.most_lp_splits)
            node.since_lp = 0
            if proof is not None and closed:
                self._note(node, proof.parameters)
                return
            if proof is not None and proof.bound > bound:
                bound, best = proof.bound, proof.parameters
                node.radius = max(node.radius, proof.radius)
        # The children share slopes and weights.
        parent = SplitNode(node, parameters.phases, *node.singles(best), bound)
        children = found.children
        for phase, estimate, closed in (
            (kernels.ACTIVE, children.active, children.active_closed),
            (kernels.INACTIVE, children.inactive, children.inactive_closed),
        ):
            if closed:
                self._note(node, parameters, (found.neuron, phase))
            else:
                self._push_child(parent, found.neuron, phase, estimate)

    def _refreshed(self, node: TreeNode, parameters: Parameters) -> Subproblem | None:
        """Return a node's subproblem on the present ball, its bounds computed anew where due.

        None where they prove that it holds nothing.
        """
        settings = self.settings
        case = node.case.shrunk(self.ball, self._box)
        every = settings.refresh_splits * max(1, case.neurons // 32)
        most = settings.refresh_share * self.schedule.node_seconds
        if most > 0.0 and case.neurons <= settings.free:
            most = np.inf
        if node.since_bounds < every or self.schedule.refresh_seconds >= most:
            return case
        start = monotonic()
        tightened = constrained(case, parameters, self.resources)
        self.schedule.refresh_seconds += monotonic() - start
        if tightened is not None:
            fix_stable(tightened.rows, parameters)
            node.case, node.since_bounds = tightened, 0
        return tightened

    def _clipped(self, case: Subproblem, parameters: Parameters) -> Subproblem | None:
        """Return a node's subproblem with bounds clipped by its row's own; None: nothing is left.

        Only the signs that they fix are kept for the children, which clip again.
        """
        if case.input_rows is None:
            return case
        tightened = clipped(case, parameters)
        if tightened is not None:
            fix_stable(tightened.rows, parameters)
        return tightened

    def _lp_first(self, parameters: Parameters) -> bool:
        """Return whether a node gets a linear program before its ascent."""
        settings, splits = self.settings, int(np.count_nonzero(parameters.phases))
        due = settings.lp_first and splits % settings.lp_splits == 0
        return due and settings.lp_share * splits >= len(parameters.phases)

    def _lp_due(self, node: TreeNode, parameters: Parameters) -> bool:
        """Return whether a node gets a linear program after its ascent."""
        settings, splits = self.settings, int(np.count_nonzero(parameters.phases))
        if settings.lp_first or node.since_lp < self.schedule.splits_per_lp:
            return False
        many = len(parameters.phases) > settings.free
        if many and self.schedule.lp_seconds >= settings.lp_most * self.schedule.node_seconds:
            return False
        return settings.lp_share * splits >= len(parameters.phases)

    def _note(
        self, node: TreeNode, parameters: Parameters, split: tuple[int, int] | None = None
    ) -> None:
        """Tell the trace of a closed node, or of one more split of it (with multiplier 0)."""
        if self.trace is None:
            return
        path, slopes = node.path, parameters.slopes
        if split is not None:
            path, slopes = (path, *split), slopes.copy()
            slopes[split[0]] = 0.0
        self.trace.note(node.case.label, path, slopes, parameters.cut_weights)

    def note_open(self, trace: Recorder) -> None:
        """Tell a trace of all nodes that are still open."""
        for node in (*self._unresolved(), *self._resolved):
            trace.note(node.case.label, node.path, node.slopes, node.cut_weights)

    def _push_child(self, parent: SplitNode, neuron: int, phase: int, estimate: float) -> None:
        node, bound = parent.node, parent.bound
        phases, slopes = parent.phases.copy(), parent.slopes.copy()
        phases[neuron], slopes[neuron] = phase, 0.0
        # Along the line from (radius, 0) to (ball, bound): what the child's bound suggests.
        share = min(max(estimate / bound, 0.0), 1.0) if bound < 0.0 else 0.0
        guess = self.ball.radius - (self.ball.radius - node.radius) * share
        order = estimate if self.settings.by_bound else guess
        self._push(
            TreeNode(
                node.case, node.radius, order, phases, slopes, parent.cut_weights,
                node.since_bounds + 1, (node.path, neuron, phase), node.since_lp + 1,
            )
        )  # fmt: skip

    def _solve(
        self, node: TreeNode, case: Subproblem, parameters: Parameters, points: CandidateReceiver
    ) -> NodeAnswer:
        """Solve a node's linear programs; their points may be adversarial."""
        answer = solve_node(case, parameters.phases, self.resources.deadline)
        if answer.closed:
            self._note(node, answer.proof.parameters)
            return answer
        for x in (answer.inner, answer.point):
            if x is not None:
                points.add_candidate(x)
        return answer

    def _decide(
        self, node: TreeNode, case: Subproblem, parameters: Parameters, bound: float,
        points: CandidateReceiver,
    ) -> None:  # fmt: skip
        """Decide a node that no split would help, by linear programs."""
        answer = self._solve(node, case, parameters, points)
        if answer.closed:
            return
        if answer.stopped:
            self._push(node)
        elif answer.neuron is not None:
            phases = parameters.phases
            parent = SplitNode(node, phases, node.slopes, node.cut_weights, bound)
            for phase in (kernels.ACTIVE, kernels.INACTIVE):
                self._push_child(parent, answer.neuron, phase, bound)
        else:
            # A true adversarial point: the node is closed when the ball has shrunk below it.
            radius = max(node.radius, answer.radius)
            singles = node.singles(answer.proof.parameters)
            own = TreeNode(node.case, radius, radius, parameters.phases, *singles, path=node.path)
            self.add([], [own])

    def _push(self, node: TreeNode) -> None:
        if self._children is not None:
            self._children.append(node)
            return
        self._count += 1
        self._account(node)
        if self.deep:
            self._stack.append(node)
        else:
            heapq.heappush(self._heap, (node.estimate, self._count, node))

    def _pop(self) -> TreeNode:
        return self._stack.pop() if self._stack else heapq.heappop(self._heap)[2]

    def _account(self, node: TreeNode, sign: int = 1) -> None:
        """Count the memory of a node; that of a subproblem while it has nodes."""
        place = id(node.case)
        before = self._users.get(place, 0)
        after = self._users[place] = before + sign
        if not after:
            del self._users[place]
        self.bytes += sign * node.bytes
        if not before or not after:
            self.bytes += sign * node.case.bytes
