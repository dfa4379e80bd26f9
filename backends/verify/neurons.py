"""Neuron splitting: branch and bound over the phases of unstable ReLUs, on a fixed box.

The search for exact distances (:mod:`graphprune.backends.search`) does the work: its condensed
network, compiled alpha-beta-CROWN bounds, filtered strong branching and root tightening, with a
constraint of the unsafe set in the place of a margin. A polytope is excluded with one of its
constraints, the one whose bound at the root is best.
"""

import heapq
from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.arrays import copied
from graphprune.backends.relaxation.branching import bound_node
from graphprune.backends.relaxation.condensed import bounds_of
from graphprune.backends.relaxation.cuts import with_planes
from graphprune.backends.relaxation.kernels import AscentSettings, Parameters
from graphprune.backends.relaxation.node_lp import NodeAnswer, solve_node
from graphprune.backends.relaxation.subproblem import RATE, CondensedRegion, Subproblem
from graphprune.backends.relaxation.tighten import constrain_root
from graphprune.backends.search.settings import DEFAULT
from graphprune.backends.verify.attack import attack_from
from graphprune.backends.verify.query import Counterexample, RegionResult, VerificationQuery
from graphprune.backends.verify.specifications import boxes_of
from graphprune.bounds import pre_activation_bounds
from graphprune.progress import Progress, quiet
from graphprune.region import Box
from graphprune.runtime.resources import Resources

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
# so many rounds.
TIGHTENED, ROUNDS = 200, 4
TREE = DEFAULT.tree
# Where an eighth of the neurons is split, every fourth split is followed by a linear program:
# few steps of ascent miss that a deep case is empty.
LEAF_EVERY, LEAF_SHARE = 4, 8
# Nodes between two attacks from the nodes' minimisers, at first, and how many of them start.
FIRST_ATTACK, STARTS = 32, 16


@dataclass(frozen=True, eq=False)
class _Node:
    """Some neurons of a constraint's network split."""

    case: Subproblem
    bound: float
    phases: NDArray[np.int8]
    slopes: Singles
    cut_weights: Singles

    def parameters(self) -> Parameters:
        """Return copies of the parameters, for the kernels."""
        slopes, weights = self.slopes.astype(np.float64), self.cut_weights.astype(np.float64)
        return Parameters(self.phases.copy(), slopes, weights)


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
        self.resources = Resources(query.deadline)
        self.nodes = 0
        self.undecided = False
        self.point: Counterexample | None = None
        self._starts: list[tuple[float, Floats]] = []
        self._next_attack = FIRST_ATTACK

    def run(self) -> RegionResult:
        targets = self._targets()
        targets = self._grow(targets, FIRST_NODES)
        targets = [root for target in targets for root in self._tightened(target)]
        for cuts, nodes in STAGES:
            if cuts:
                targets = self._cut(targets, cuts)
            targets = self._grow(targets, nodes)
        unsat = not targets and not self.undecided and self.point is None
        ended = not unsat and self.point is None and self.query.in_time
        reason = "some cases are undecided within rounding" if ended else ""
        return RegionResult(unsat, self.point, self.nodes, reason)

    def _targets(self) -> list[Subproblem]:
        """Per open polytope the constraint that its root excludes best."""
        query = self.query
        shape = query.network.input_shape
        box = Box(query.lower.reshape(shape), query.upper.reshape(shape))
        layers = pre_activation_bounds(query.network, boxes_of(query))
        region = CondensedRegion.of(query.network, box, bounds_of(layers))
        chosen: list[Subproblem] = []
        for p in range(query.polytopes):
            best: Subproblem | None = None
            for r in range(query.first[p], query.first[p + 1]):
                self.progress(f"bounding constraint {r + 1} of {len(query.limits)}")
                limit = float(query.limits[r])
                target = Subproblem.of(region, query.weights[r], limit=limit).optimised()
                if best is None or target.bound > best.bound:
                    best = target
                if best.bound > 0.0 or not query.in_time:
                    break
            if best is not None and not best.bound > 0.0:
                chosen.append(best)
        return chosen

    def _tightened(self, target: Subproblem) -> list[Subproblem]:
        """Output-constrained bounds of the last layers (Kotha et al. 2023); nothing: excluded.

        They hold where the constraint does, which is all that the target's tree asks about.
        """
        first = _first_tightened(target)
        root, excluded = constrain_root(target, self.resources, ROUNDS, first, self.progress)
        return [] if excluded else [root]

    def _cut(self, targets: list[Subproblem], rounds: int) -> list[Subproblem]:
        """Planes from cuts (:mod:`graphprune.backends.relaxation.cuts`), where there is time."""
        kept = []
        for number, target in enumerate(targets):
            if len(target.rows.values) <= MOST_ENTRIES:
                self.progress(f"cutting, constraint {number + 1} of {len(targets)}")
                share = CUT_SHARE / len(targets) * self.resources.remaining()
                target, _ = with_planes(target, Resources(monotonic() + share), rounds)
            if not target.bound > 0.0:
                kept.append(target)
        return kept

    def _grow(self, targets: list[Subproblem], each: float) -> list[Subproblem]:
        """Expand nodes, worst bound first; the constraints still open after `each` per target."""
        budget = each * len(targets)
        heap: list[tuple[float, int, _Node]] = []
        for number, target in enumerate(targets):
            phases, slopes, weights = target.parameters
            node = _Node(
                target, target.bound, phases.copy(), slopes.astype(np.float32),
                weights.astype(np.float32),
            )  # fmt: skip
            heap.append((target.bound, number, node))
        heapq.heapify(heap)
        made, start = len(heap), self.nodes
        while heap and self.point is None:
            if self.nodes - start >= budget or not self.query.in_time:
                left = {id(node.case.row) for _, _, node in heap}
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
        case = node.case
        self.nodes += 1
        parameters = node.parameters()
        splits = int(np.count_nonzero(parameters.phases))
        if splits % LEAF_EVERY == 0 and LEAF_SHARE * splits >= case.neurons:
            answer = self._solve(case, parameters.phases)
            if answer.closed or self.point is not None:
                return []
            parameters = copied(answer.proof.parameters)
        workspace = kernels.workspace_for(case.rows)
        found = bound_node(
            case.relaxation, case.specification, parameters, AscentSettings(TREE.steps, RATE, 0.0),
            TREE.rule, workspace,
        )  # fmt: skip
        if found.children is None:
            return []
        x = workspace.point[: case.inputs].copy()
        bound, neuron, ends = found.bound, found.neuron, found.children
        self._starts.append((ends.value, x))
        if ends.value <= case.specification.goal.error:
            self.point = self.query.confirm(x[None])
        children = [
            (kernels.ACTIVE, ends.active, ends.active_closed),
            (kernels.INACTIVE, ends.inactive, ends.inactive_closed),
        ]
        if neuron < 0:
            answer = self._solve(case, parameters.phases)
            if answer.closed:
                return []
            if answer.neuron is None:
                self.undecided = True
                return []
            neuron = answer.neuron
            children = [(phase, bound, False) for phase in (kernels.ACTIVE, kernels.INACTIVE)]
        made = []
        for phase, estimate, closed in children:
            if not closed:
                phases, slopes = parameters.phases.copy(), parameters.slopes.astype(np.float32)
                phases[neuron], slopes[neuron] = phase, 0.0
                weights = parameters.cut_weights.astype(np.float32)
                made.append((_Node(case, bound, phases, slopes, weights), estimate))
        return made

    def _solve(self, case: Subproblem, phases: NDArray[np.int8]) -> NodeAnswer:
        """Solve a case's linear program; its points may be counterexamples."""
        answer = solve_node(case, phases, self.query.deadline)
        points = [x for x in (answer.inner, answer.point) if x is not None]
        if points and self.point is None:
            self.point = self.query.confirm(np.array(points))
        return answer

    def _attack(self) -> None:
        """Descend from the most promising minimisers since the last attack."""
        self._next_attack = int(1.5 * self.nodes) + 1
        self._starts.sort(key=lambda start: start[0])
        points = np.array([x for _, x in self._starts[:STARTS]])
        self._starts.clear()
        if len(points):
            self.point = self.point or attack_from(self.query, points)


def _first_tightened(target: Subproblem) -> int:
    """The first neuron of the layers that get output-constrained bounds."""
    starts = [int(start) for start in target.rows.starts]
    chosen = starts[-2]
    for start in reversed(starts[:-2]):
        if target.neurons - start > TIGHTENED:
            break
        chosen = start
    return chosen
