"""Neuron splitting: branch and bound over the phases of unstable ReLUs, on a fixed box.

The search for exact distances (:mod:`graphprune.backends.search`) does the work: its condensed
network, compiled alpha-beta-CROWN bounds, filtered strong branching and root tightening, with a
constraint of the unsafe set in the place of a margin. A polytope is excluded with one of its
constraints, the one whose bound at the root is best.
"""

import heapq
from dataclasses import dataclass, field
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.protocol import Limits
from graphprune.backends.relaxation import kernels, tighten
from graphprune.backends.relaxation.condensed import Condensed, condense
from graphprune.backends.relaxation.cuts import add_planes
from graphprune.backends.relaxation.node_lp import Leaf, solve_leaf
from graphprune.backends.relaxation.specification import (
    CANDIDATES,
    NODE_STEPS,
    RATE,
    Bounds,
    Target,
)
from graphprune.backends.verify.attack import attack_from
from graphprune.backends.verify.network_rows import UNIT
from graphprune.backends.verify.query import Counterexample, RegionResult, VerificationQuery
from graphprune.backends.verify.specifications import boxes_of
from graphprune.bounds import pre_activation_bounds
from graphprune.progress import Progress, quiet
from graphprune.region import Ball, Domain

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

# Nodes per open constraint before its last layers get output-constrained bounds.
FIRST_NODES = 16
# After them: rounds of cuts folded into planes, then so many nodes per open constraint. A tree
# begins anew with every stage: the planes make it smaller by more than what was grown.
STAGES = ((0, 100.0), (3, 1000.0), (8, np.inf))
# Entries of the rows up to which the cuts' linear programs stay small enough, and the share of
# the time left that they may take together.
MOST_ENTRIES, CUT_SHARE = 2_000_000, 0.3
# So many neurons get them, layer by layer from the last one down (the last one whole), in at most
# so many rounds, while the widths fall by this share.
TIGHTENED, ROUNDS, GAIN = 200, 4, 0.02
# Neurons between two looks at the clock.
BLOCK = 32
# Where an eighth of the neurons is split, every fourth split is followed by a linear program:
# few steps of ascent miss that a deep case is empty.
LEAF_EVERY, LEAF_SHARE = 4, 8
# Nodes between two attacks from the nodes' minimisers, at first, and how many of them start.
FIRST_ATTACK, STARTS = 32, 16


@dataclass(frozen=True, eq=False)
class _Box(Ball):
    """A ball whose box is given element by element."""

    low: Floats = field(kw_only=True)
    high: Floats = field(kw_only=True)

    @classmethod
    def of(cls, query: VerificationQuery) -> "_Box":
        shape = query.network.input_shape
        low, high = query.lower.reshape(shape), query.upper.reshape(shape)
        center = low + 0.5 * (high - low)
        radius = float(np.max(np.maximum(high - center, center - low), initial=0.0))
        return cls(center, radius, Domain(-np.inf, np.inf), low=low, high=high)

    @property
    def lower(self) -> Floats:
        return self.low

    @property
    def upper(self) -> Floats:
        return self.high


@dataclass(eq=False)
class _Constraint(Target):
    """``row . logits - limit`` in the place of a margin."""

    limit: float = 0.0

    def rebuild(self, condensed: Condensed | None = None) -> None:
        super().rebuild(condensed)
        lost = 4.0 * UNIT * (abs(self.goal.offset) + abs(self.limit))
        self.goal = self.goal._replace(
            offset=self.goal.offset - self.limit, error=self.goal.error + lost
        )


@dataclass(frozen=True, eq=False)
class _Node:
    """Some neurons of a constraint's network split."""

    target: Target
    bound: float
    state: NDArray[np.int8]
    theta: Singles
    mix: Singles


def split_neurons(query: VerificationQuery, progress: Progress = quiet) -> RegionResult:
    """Decide a region by splitting neurons.

    Neither `unsat` nor a point: the deadline has passed, or a case is undecided within rounding.

    Raises
    ------
    UnsupportedError
        The network has activations other than ReLU.
    """
    return _NeuronSearch(query, progress).run()


class _NeuronSearch:
    """The open cases, and what was found."""

    def __init__(self, query: VerificationQuery, progress: Progress) -> None:
        self.query = query
        self.progress = progress
        self.limits = Limits(query.deadline)
        self.nodes = 0
        self.undecided = False
        self.point: Counterexample | None = None
        self._starts: list[tuple[float, Floats]] = []
        self._next_attack = FIRST_ATTACK

    def run(self) -> RegionResult:
        targets = self._targets()
        targets = self._grow(targets, FIRST_NODES)
        targets = [target for target in targets if self._tighten(target)]
        for cuts, nodes in STAGES:
            if cuts:
                targets = self._cut(targets, cuts)
            targets = self._grow(targets, nodes)
        unsat = not targets and not self.undecided and self.point is None
        ended = not unsat and self.point is None and self.query.in_time
        reason = "some cases are undecided within rounding" if ended else ""
        return RegionResult(unsat, self.point, self.nodes, reason)

    def _targets(self) -> list[Target]:
        """Per open polytope the constraint that its root excludes best."""
        query = self.query
        ball = _Box.of(query)
        layers = pre_activation_bounds(query.network, boxes_of(query))
        bounds: Bounds = [
            (layer.lower[0].astype(np.float64), layer.upper[0].astype(np.float64))
            for layer in layers
        ]
        condensed = condense(query.network, bounds, ball)
        chosen: list[Target] = []
        for p in range(query.polytopes):
            best: _Constraint | None = None
            for r in range(query.first[p], query.first[p + 1]):
                self.progress(f"bounding constraint {r + 1} of {len(query.limits)}")
                target = _Constraint(
                    query.network, query.weights[r], ball, bounds, condensed,
                    limit=float(query.limits[r]),
                )  # fmt: skip
                target.optimise()
                if best is None or target.bound > best.bound:
                    best = target
                if best.bound > 0.0 or not query.in_time:
                    break
            if best is not None and not best.bound > 0.0:
                chosen.append(best)
        return chosen

    def _tighten(self, target: Target) -> bool:
        """Output-constrained bounds of the last layers (Kotha et al. 2023); False: excluded.

        They hold where the constraint does, which is all that the target's tree asks about.
        """
        for _ in range(ROUNDS):
            before = target.width
            target.cut_box(target.state, target.theta, target.mix)
            for start in range(_first_tightened(target), target.neurons, BLOCK):
                if self.limits.over:
                    break
                self.progress(f"bounding neuron {start} of {target.neurons}")
                if not kernels.tighten(
                    target.rows, target.planes, target.region, target.goal,
                    tighten.MULTIPLIER, start, min(start + BLOCK, target.neurons), target.state,
                    target.theta, target.mix, tighten.CONSTRAINED_STEPS, RATE,
                ):  # fmt: skip
                    return False
            after = target.width
            # Kept as split rows: that the constraint fixes their signs is knowledge of its own.
            target.stabilise(target.state, target.theta)
            if target.optimise() > 0.0:
                return False
            if self.limits.over or after > (1.0 - GAIN) * before:
                break
        return True

    def _cut(self, targets: list[Target], rounds: int) -> list[Target]:
        """Planes from cuts (:mod:`graphprune.backends.relaxation.cuts`), where there is time."""
        for number, target in enumerate(targets):
            if len(target.rows.values) <= MOST_ENTRIES:
                self.progress(f"cutting, constraint {number + 1} of {len(targets)}")
                share = CUT_SHARE / len(targets) * self.limits.remaining()
                add_planes(target, Limits(monotonic() + share), rounds)
        return [target for target in targets if not target.bound > 0.0]

    def _grow(self, targets: list[Target], each: float) -> list[Target]:
        """Expand nodes, worst bound first; the constraints still open after `each` per target."""
        budget = each * len(targets)
        heap: list[tuple[float, int, _Node]] = []
        for number, target in enumerate(targets):
            state = target.state.copy()
            theta, mix = target.theta.astype(np.float32), target.mix.astype(np.float32)
            heap.append((target.bound, number, _Node(target, target.bound, state, theta, mix)))
        heapq.heapify(heap)
        made, start = len(heap), self.nodes
        while heap and self.point is None:
            if self.nodes - start >= budget or not self.query.in_time:
                left = {id(node.target.row) for _, _, node in heap}
                return [target for target in targets if id(target.row) in left]
            node = heapq.heappop(heap)[2]
            for child, estimate in self._expand(node):
                heapq.heappush(heap, (estimate, made, child))
                made += 1
            if self.nodes >= self._next_attack:
                self._attack()
            self.progress(f"neuron splitting: {self.nodes} cases bounded, {len(heap)} open")
        return []

    def _expand(self, node: _Node) -> list[tuple[_Node, float]]:
        """Bound one case; its open children with estimates of their bounds."""
        target = node.target
        self.nodes += 1
        state = node.state.copy()
        theta, mix = node.theta.astype(np.float64), node.mix.astype(np.float64)
        splits = int(np.count_nonzero(state))
        if splits % LEAF_EVERY == 0 and LEAF_SHARE * splits >= target.neurons:
            leaf = self._leaf(target, state)
            if leaf.closed or self.point is not None:
                return []
            theta, mix = leaf.proof.theta.copy(), leaf.proof.mix.copy()
        v = np.empty(target.condensed.basis)
        bound, _, neuron, active, active_closed, inactive, inactive_closed, value = kernels.expand(
            target.rows, target.planes, target.region, target.goal, 0.0, state, theta, mix,
            NODE_STEPS, RATE, 0.0, CANDIDATES, target.starts, v,
        )  # fmt: skip
        if bound > 0.0:
            return []
        x = v[: target.condensed.inputs].copy()
        self._starts.append((value, x))
        if value <= target.goal.error:
            self.point = self.query.confirm(x[None])
        children = [
            (kernels.ACTIVE, active, active_closed),
            (kernels.INACTIVE, inactive, inactive_closed),
        ]
        if neuron < 0:
            leaf = self._leaf(target, state)
            if leaf.closed:
                return []
            if leaf.neuron is None:
                self.undecided = True
                return []
            neuron = leaf.neuron
            children = [(phase, bound, False) for phase in (kernels.ACTIVE, kernels.INACTIVE)]
        made = []
        for phase, estimate, closed in children:
            if not closed:
                own, slopes = state.copy(), theta.astype(np.float32)
                own[neuron], slopes[neuron] = phase, 0.0
                child = _Node(target, bound, own, slopes, mix.astype(np.float32))
                made.append((child, estimate))
        return made

    def _leaf(self, target: Target, state: NDArray[np.int8]) -> Leaf:
        """Solve a case's linear program; its points may be counterexamples."""
        leaf = solve_leaf(target, state, self.query.deadline)
        points = [x for x in (leaf.inner, leaf.point) if x is not None]
        if points and self.point is None:
            self.point = self.query.confirm(np.array(points))
        return leaf

    def _attack(self) -> None:
        """Descend from the most promising minimisers since the last attack."""
        self._next_attack = int(1.5 * self.nodes) + 1
        self._starts.sort(key=lambda start: start[0])
        points = np.array([x for _, x in self._starts[:STARTS]])
        self._starts.clear()
        if len(points):
            self.point = self.point or attack_from(self.query, points)


def _first_tightened(target: Target) -> int:
    """The first neuron of the layers that get output-constrained bounds."""
    starts = [int(start) for start in target.starts]
    chosen = starts[-2]
    for start in reversed(starts[:-2]):
        if target.neurons - start > TIGHTENED:
            break
        chosen = start
    return chosen
