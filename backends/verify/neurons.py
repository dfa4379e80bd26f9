"""Neuron splitting: branch and bound over the phases of unstable ReLUs, on a fixed box.

The search for exact distances (:mod:`graphprune.backends.search`) does the work: its tree, its
condensed network, compiled alpha-beta-CROWN bounds, filtered strong branching and root tightening,
with a constraint of the unsafe set in the place of a margin. A polytope of several constraints is
excluded with the combination of them that a linear program finds
(:mod:`graphprune.backends.verify.joint`): at the root, where it is better than each of them, and
anew in every case that has points with the present row <= 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.arrays import copied
from graphprune.backends.relaxation.condensed import bounds_of
from graphprune.backends.relaxation.cuts import with_planes
from graphprune.backends.relaxation.node_lp import solve_node
from graphprune.backends.relaxation.subproblem import CondensedRegion, Subproblem
from graphprune.backends.relaxation.tighten import constrain_root
from graphprune.backends.search.node import TreeNode
from graphprune.backends.search.tree import HeuristicSchedule, Tree
from graphprune.backends.verify.attack import attack_from
from graphprune.backends.verify.joint import Conjunction, JointAnswer, solve_joint
from graphprune.backends.verify.query import Counterexample, RegionResult, VerificationQuery
from graphprune.backends.verify.settings import DEFAULT, NeuronSettings
from graphprune.backends.verify.specifications import boxes_of
from graphprune.bounds import LayerBounds, pre_activation_bounds
from graphprune.progress import Progress, quiet
from graphprune.region import Box
from graphprune.runtime.resources import current

Floats = NDArray[np.float64]


def split_neurons(
    query: VerificationQuery, progress: Progress = quiet, settings: NeuronSettings = DEFAULT,
    layers: Sequence[LayerBounds] | None = None,
) -> RegionResult:  # fmt: skip
    """Decide a region by splitting neurons.

    Neither `unsat` nor a point: the deadline has passed, or a case is undecided within rounding, or
    the memory for open cases (of the current resources) is used up.

    Parameters
    ----------
    layers
        Bounds of all pre-activations on the region's box, where they are known.

    Raises
    ------
    UnsupportedError
        The network has activations other than ReLU.
    """
    return _NeuronSearch(query, progress, settings, layers).run()


@dataclass(eq=False)
class _Confirmation:
    """Takes the points of trees: the original model confirms the first one that is unsafe."""

    query: VerificationQuery
    point: Counterexample | None = None
    # Points shrink nothing: the whole region stays of interest.
    radius: float = inf

    def add_candidate(self, x: Floats) -> None:
        if self.point is None:
            self.point = self.query.confirm(x[None])


class _NeuronSearch:
    """The open cases, and what was found."""

    def __init__(
        self, query: VerificationQuery, progress: Progress, settings: NeuronSettings,
        layers: Sequence[LayerBounds] | None,
    ) -> None:  # fmt: skip
        self.query = query
        self.layers = layers
        self.progress = progress
        self.settings = settings
        self.resources = replace(current(), deadline=query.deadline)
        shape = query.network.input_shape
        self.box = Box(query.lower.reshape(shape), query.upper.reshape(shape))
        self.found = _Confirmation(query)
        self.nodes = 0
        self.undecided = self.full = False
        # The polytope of every row that is to exclude one, by the row's id.
        self._polytope: dict[int, Conjunction] = {}
        self._starts: list[tuple[float, Floats]] = []
        self._next_attack = settings.first_attack

    def run(self) -> RegionResult:
        targets = self._targets()
        for level in self.settings.levels:
            if level.constrained:
                targets = [root for target in targets for root in self._tightened(target)]
            if level.cuts:
                targets = self._cut(targets, level.cuts)
            self.full = False
            targets = self._grow(targets, level.nodes)
        point = self.found.point
        reason = ""
        if self.undecided:
            reason = "some cases are undecided within rounding"
        elif self.full:
            reason = "the open cases took all of the memory that they may"
        unsat = not targets and not reason and point is None
        ended = point is None and self.query.in_time
        return RegionResult(unsat, point, self.nodes, reason if ended else "")

    def _targets(self) -> list[Subproblem]:
        """Per open polytope the row that its root excludes best."""
        query = self.query
        until, layers = query.deadline, self.layers
        if layers is None:
            layers = pre_activation_bounds(query.network, boxes_of(query), until=until)
        region = CondensedRegion.of(query.network, self.box, bounds_of(layers), until)
        chosen: list[Subproblem] = []
        for p in range(query.polytopes):
            best: Subproblem | None = None
            part = slice(query.first[p], query.first[p + 1])
            polytope = Conjunction(query.weights[part], query.limits[part], region.condensed)
            for r in range(part.start, part.stop):
                self.progress(f"bounding constraint {r + 1} of {len(query.limits)}")
                limit = float(query.limits[r])
                target = Subproblem.of(region, query.weights[r], limit=limit).optimised()
                if best is None or target.bound > best.bound:
                    best = target
                if best.bound > 0.0 or not query.in_time:
                    break
            if best is None:
                # Without a constraint every point is in the polytope, so any of them will do.
                self.found.add_candidate((self.box.lower / 2 + self.box.upper / 2).reshape(-1))
                self.undecided |= self.found.point is None
                continue
            if best.bound > 0.0:
                continue
            joint = self._joint(best, polytope, best.parameters.phases)
            if joint is not None:
                best = max(best, joint.case.optimised(), key=lambda root: root.bound)
            if not best.bound > 0.0:
                self._polytope[id(best.row)] = polytope
                chosen.append(best)
        return chosen

    def _joint(
        self, case: Subproblem, polytope: Conjunction, phases: NDArray[np.int8]
    ) -> JointAnswer | None:
        """Return the answer of the program with all constraints; None where there is but one."""
        small = len(case.rows.values) <= self.settings.most_entries
        if len(polytope.limits) == 1 or not small or not self.query.in_time:
            return None
        found = solve_joint(case, polytope, phases, self.query.deadline)
        if found is not None:
            self.found.add_candidate(found.point)
        return found

    def _split_joint(self, node: TreeNode) -> list[Subproblem]:
        """Return what is left of a case whose row does not exclude it.

        Its row is the combination of all constraints then, and one more neuron is split.
        """
        polytope = self._polytope[id(node.case.row)]
        joint = self._joint(node.case, polytope, node.phases)
        if joint is None:
            self.undecided = True
            return []
        answer = solve_node(joint.case, node.phases, self.query.deadline)
        if answer.closed:
            return []
        neuron = answer.neuron if joint.neuron is None else joint.neuron
        if neuron is None:
            self.undecided = True
            return []
        self._polytope[id(joint.case.row)] = polytope
        children = []
        for phase in (kernels.ACTIVE, kernels.INACTIVE):
            parameters = copied(answer.proof.parameters)
            parameters.phases[neuron], parameters.slopes[neuron] = phase, 0.0
            child = replace(joint.case, parameters=parameters, radius=0.0).optimised()
            if not child.bound > 0.0:
                children.append(child)
        return children

    def _tightened(self, target: Subproblem) -> list[Subproblem]:
        """Output-constrained bounds of the last layers (Kotha et al. 2023); nothing: excluded.

        They hold where the constraint does, which is all that the target's tree asks about.
        """
        first = _first_tightened(target, self.settings.tightened)
        if target.neurons - first > self.settings.most_tightened:
            return [target]
        root, excluded = constrain_root(
            target,
            self.resources,
            self.settings.rounds,
            first,
            self.progress,
            self.settings.constrained,
        )
        return [] if excluded else [root]

    def _cut(self, targets: list[Subproblem], rounds: int) -> list[Subproblem]:
        """Planes from cuts (:mod:`graphprune.backends.relaxation.cuts`), where there is time."""
        kept = []
        for number, target in enumerate(targets):
            if len(target.rows.values) <= self.settings.most_entries:
                self.progress(f"cutting, constraint {number + 1} of {len(targets)}")
                share = self.settings.cut_share / len(targets)
                limited = self.resources.within(share * self.resources.remaining())
                target, _ = with_planes(target, limited, rounds)
            if not target.bound > 0.0:
                kept.append(target)
        return kept

    def _grow(self, targets: list[Subproblem], each: float) -> list[Subproblem]:
        """Expand nodes, worst bound first; the constraints still open after `each` per target."""
        tree = Tree(
            self.box, self.resources, schedule=HeuristicSchedule(self.settings.tree.lp_splits),
            settings=self.settings.tree,
        )  # fmt: skip
        tree.add_roots(targets)
        before, budget = self.nodes, each * len(targets)
        while len(tree) and self.found.point is None:
            if tree.nodes >= budget or tree.full or not self.query.in_time:
                break
            seen = tree.expand(self.found)
            self.nodes = before + tree.nodes
            if seen is not None:
                self._starts.append((seen.value, seen.x.copy()))
            if self.nodes >= self._next_attack:
                self._attack()
            self.progress(f"neuron splitting: {self.nodes} cases bounded, {len(tree)} open")
        waiting, resolved = tree.remaining()
        self.full |= tree.full
        left = {id(node.case.row) for node in waiting}
        still = [target for target in targets if id(target.row) in left]
        again = [case for node in resolved for case in self._split_joint(node)]
        return still + self._grow(again, each) if again and self.found.point is None else still

    def _attack(self) -> None:
        """Descend from the most promising minimisers since the last attack."""
        self._next_attack = int(self.settings.attack_growth * self.nodes) + 1
        self._starts.sort(key=lambda start: start[0])
        points = np.array([x for _, x in self._starts[: self.settings.starts]])
        self._starts.clear()
        if len(points) and self.found.point is None:
            self.found.point = attack_from(self.query, points)


def _first_tightened(target: Subproblem, most: int) -> int:
    """The first neuron of the layers that get output-constrained bounds, at most so many."""
    starts = [int(start) for start in target.rows.starts]
    chosen = starts[-2]
    for start in reversed(starts[:-2]):
        if target.neurons - start > most:
            break
        chosen = start
    return chosen
