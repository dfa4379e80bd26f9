"""A certificate's proof for one anchor and radius.

On the ball of the radius: bounds layer by layer with CROWN's slopes; margins with the slopes that
the search recorded, or optimised ones; for every target still open bounds that hold where it wins,
in rounds; then a tree of cases, the search's own where it has one. The checker's reading of the
model, its systems and its inequality are used throughout, and bounds are searched by the search's
kernels, so that what is written is what will be verified.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from time import monotonic
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.certificate.claims import claims_of, part_of, phases_of, signed
from graphprune.backends.certificate.forest import Forest, UnboundedError, UnprovenError
from graphprune.backends.certificate.guide import Guide
from graphprune.backends.certificate.question import BallQuery
from graphprune.backends.certificate.systems import Floats, SystemRelaxation
from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.arrays import copied
from graphprune.backends.relaxation.kernels import AscentSettings, Parameters
from graphprune.backends.relaxation.subproblem import RATE, ROOT_STEPS
from graphprune.backends.relaxation.tighten import upper_loss
from graphprune.backends.trace import Trace
from graphprune.check.bound import System, cut_box, linear_bounds, lower_bounds, stack
from graphprune.check.container import Claims, Margins, Scope
from graphprune.check.forms import AffineForm, Propagation, ReluPhases
from graphprune.check.verify import condense, margin_form
from graphprune.progress import Progress, quiet

# Bounds are stated this much looser than proven: other machines add in other orders.
SLACK = 1e-11
# Neurons of the first scope bounded at a time: their multipliers are a dense matrix.
NEURONS = 256
# So many cases of a trace's tree are looked at; where less than this share of them closes as they
# are, the search had bounds where its class wins.
SAMPLE, CLOSED = 64, 0.5
# The least share that a cut of the box must gain, and a claim of its neuron's width.
CUT, WORTH = 0.01, 1e-3
# Neurons of a late layer, whose bounds are worth small trees, and the nodes of these.
LATE, LATE_NODES = 64, 24
# Variable neurons up to which these trees are worth their time, and from which on the trace's tree
# is tried before rounds.
MOST, WIDE = 1024, 256
# Nodes of the tree before bounds are tightened, and after each round; how much larger than the
# trace's it may become before.
EARLY, GROWN = 16, 4
STEPS = 16
ASSUMED = 0.5


class _Rounds(NamedTuple):
    """Rounds of bounds under the assumption that a target wins.

    Attributes
    ----------
    number
        At most so many.
    gain
        The share of their width by which a round must gain for another one.
    neurons
        So many are bounded, those that cost the margin's bound most.
    """

    number: int
    gain: float
    neurons: int = 1 << 30


# Rounds of systems with so few neurons, with more, and before a tree that needs them.
FEW, ROUNDS_FEW = 64, _Rounds(8, 0.02)
ROUNDS_MANY, ROUNDS_HEAVY = _Rounds(4, 0.05), _Rounds(2, 0.0, 128)


@dataclass(frozen=True, eq=False)
class _OpenScope:
    """A scope under construction: its number, bounds and system."""

    number: int
    target: int
    phase: NDArray[np.int8]
    system: System
    logits: AffineForm
    empty: bool = False

    @cached_property
    def relaxation(self) -> SystemRelaxation:
        """The system for the kernels."""
        return SystemRelaxation(self.system)

    @property
    def spread(self) -> float:
        """Sum of the widths of its bounds."""
        return float(np.sum(self.system.upper - self.system.lower))


def prove_ball(
    question: BallQuery, trace: Trace | None = None, *, deadline: float = np.inf,
    progress: Progress = quiet,
) -> tuple[tuple[Scope, ...], tuple[Margins, ...]]:  # fmt: skip
    """Scopes and margins of a proof.

    Parameters
    ----------
    trace
        The trace of a search that proved this ball, or a slightly larger one.

    Raises
    ------
    UnprovenError
        The time is over, or a case cannot be closed.
    UnboundedError
        The time is over before all neurons have bounds: the ball is too large for it.
    """
    return _Prover(question, trace or Trace(), deadline, progress).run()


class _Prover:
    def __init__(
        self, question: BallQuery, trace: Trace, deadline: float, progress: Progress
    ) -> None:
        self.question = question
        self.trace = trace
        self.model = question.asked.model
        self.deadline = deadline
        self.progress = progress
        self.scopes: list[Scope] = []
        self.margins: list[Margins] = []
        self.starts = np.cumsum([0, *self.model.relus])

    def over(self) -> bool:
        return monotonic() > self.deadline

    def _look_at_the_clock(self) -> None:
        if self.over():
            raise UnprovenError("time is over")

    def run(self) -> tuple[tuple[Scope, ...], tuple[Margins, ...]]:
        try:
            first = self._first()
        except UnprovenError as reason:
            raise UnboundedError(str(reason)) from None
        targets = np.array(sorted(self.question.asked.counting), np.intp)
        still_open = self._close(first, targets)
        if len(still_open) and first.system.width <= MOST:
            late = self._late(first)
            still_open = still_open if late is first else self._close(late, still_open)
            first = late
        for target in still_open:
            self._target(first, int(target))
        return tuple(self.scopes), tuple(self.margins)

    # -- the first scope ---------------------------------------------------------------------

    def _first(self) -> _OpenScope:
        model = self.model
        ball = self.question.asked.ball(self.question.radius)
        layers: list[tuple[AffineForm, Floats, Floats]] = []
        claims: list[Claims] = []
        phases: list[NDArray[np.int8]] = []

        def decide(node: int, form: AffineForm) -> ReluPhases:
            system = stack(ball, layers)
            lower, upper = ball.intervals(form, system.low, system.high)
            # Without a variable neuron below, intervals of an affine form are exact.
            # Those in a ball are so up to its multipliers.
            loose = np.flatnonzero((lower < 0) & (upper > 0)) if system.width else np.zeros(0, int)
            self.progress(f"certificate: layer {node + 1} of {len(model.relus)}, bounds")
            own = self._crown(system, form, loose, lower, upper, self.starts[node])
            claims.append(own)
            phase = ((lower >= 0).astype(np.int8) - (upper <= 0)).astype(np.int8)
            phase[(lower >= 0) & (upper <= 0)] = -1
            phases.append(phase)
            variable = np.flatnonzero(phase == 0)
            bounds = lower[variable] - SLACK, upper[variable] + SLACK
            layers.append((form.take(variable), *bounds))
            return ReluPhases(phase, bounds[1])

        made = Propagation(model, *ball.ends, decide)
        system = stack(ball, layers)
        phase = np.concatenate([np.zeros(0, np.int8), *phases])
        self.scopes.append(Scope(-1, -1, phase, system.lower, system.upper, tuple(claims)))
        return _OpenScope(0, -1, phase, system, made.logits)

    def _crown(
        self, system: System, form: AffineForm, which: NDArray[np.intp], lower: Floats,
        upper: Floats, offset: int,
    ) -> Claims:  # fmt: skip
        """Bounds of some neurons with default slopes; tightens lower and upper in scope."""
        relaxation = SystemRelaxation(system)
        numbers, multipliers = [np.zeros(0, np.int32)], [np.zeros((0, system.width), np.float32)]
        for start in range(0, len(which), NEURONS):
            self._look_at_the_clock()
            part = which[start : start + NEURONS]
            goals, count = signed(form, part), len(part)
            parameters = [relaxation.start] * (2 * count)
            m, _ = relaxation.multipliers(goals, parameters)
            bounds = lower_bounds(system, goals, phases_of(parameters, system), m)
            low, high = bounds[:count] - SLACK, -bounds[count:] + SLACK
            better = np.concatenate([low > lower[part], high < upper[part]])
            lower[part] = np.maximum(lower[part], low)
            upper[part] = np.minimum(upper[part], high)
            own = np.concatenate([part + offset, -1 - part - offset]).astype(np.int32)
            numbers.append(own[better])
            multipliers.append(m[better])
        return Claims(np.concatenate(numbers), np.concatenate(multipliers))

    # -- margins and rounds ------------------------------------------------------------------

    def _stop(self, form: AffineForm) -> float:
        """Least bound of a closed leaf: float32 multipliers cost about so much."""
        return 1e-7 * float(np.max(np.abs(form.offset), initial=1.0))

    def _close(self, scope: _OpenScope, targets: NDArray[np.intp]) -> NDArray[np.intp]:
        """Exclude the targets whose margins slopes alone prove positive; the others."""
        form = margin_form(scope.system, scope.logits, self.question.label, targets)
        forest = Forest(scope.relaxation, form, self._stop(form))
        for root, target in zip(forest.roots, targets.tolist(), strict=True):
            known = self.trace.targets.get(target)
            if known is not None and [case.path for case in known.cases] == [None]:
                Guide(known, scope.phase).grow(root, scope.relaxation)
        claims, values = forest.prove(targets.astype(np.int32), 1)
        done = values > 0.0
        if np.any(done):
            self.margins.append(
                Margins(scope.number, Claims(claims.goals[done], claims.multipliers[done]))
            )
        left: NDArray[np.intp] = targets[~done]
        return left

    def _target(self, scope: _OpenScope, target: int) -> None:
        """Exclude one target."""
        known = self.trace.targets.get(target)
        if known is None:
            tight, guide = self._rounds(scope, target, early=True), None
        else:
            guide = Guide(known, scope.phase)
            small = known.planes is None and len(known.cases) <= EARLY
            if scope.system.width > WIDE:
                # The trace's tree mostly closes on the bounds that all targets share: the search
                # had no others, or planes make up for them, and rounds take longer than a tree.
                kept = len(self.scopes)
                planed = self._planes(scope, target, guide)
                if self._forest(planed, target, guide).closed(SAMPLE) < CLOSED:
                    del self.scopes[kept:]
                    heavy = self._rounds(scope, target, early=False, asked=ROUNDS_HEAVY)
                    if heavy is None:
                        return
                    scope = heavy
                    planed = self._planes(scope, target, guide)
                if self._tree(planed, target, guide, GROWN * len(known.cases) + EARLY):
                    return
            tight = self._rounds(scope, target, early=small)
            if tight is not None:
                planed = self._planes(tight, target, guide)
                few = tight.system.width <= FEW and planed is not tight
                tight = self._rounds(planed, target, early=False) if few else planed
        if tight is not None:
            self.progress(f"certificate: class {target}, {tight.system.width} neurons, cases")
            if not self._tree(tight, target, guide):
                raise UnprovenError(f"class {target}: its cases close within rounding only")

    def _rounds(
        self, scope: _OpenScope, target: int, *, early: bool, asked: _Rounds | None = None
    ) -> _OpenScope | None:
        """Rounds of bounds and box cuts where `target` wins; None: they exclude it.

        `early`: with a small tree after each.
        """
        rounds = asked or (ROUNDS_FEW if scope.system.width <= FEW else ROUNDS_MANY)
        root = self._root(scope, target)
        for number in range(rounds.number):
            if root is None:
                return None
            self._look_at_the_clock()
            self.progress(f"certificate: class {target}, bounds, round {number + 1}")
            width = scope.spread
            claims, parameters = root
            cut = self._cut(scope, target, claims)
            scope = self._constrained(cut, target, parameters, rounds.neurons)
            if scope.empty:
                return None
            root = self._root(scope, target)
            if root is not None and early and self._tree(scope, target, nodes=EARLY):
                return None
            if scope.spread > (1.0 - rounds.gain) * width:
                break
        return None if root is None else scope

    def _root(self, scope: _OpenScope, target: int) -> tuple[Claims, Parameters] | None:
        """The margin's bound without splits, and its slopes; None: it is positive, and claimed."""
        own, margin = scope.relaxation, self._margin(scope, target)
        parameters = copied(own.start)
        kernels.optimise(
            own.relaxation, own.specifications(margin)[0], 0.0, parameters,
            AscentSettings(ROOT_STEPS, RATE, self._stop(margin)), own.workspace,
        )  # fmt: skip
        claims, values = claims_of(own, margin, np.array([target], np.int32), [parameters])
        if values[0] > 0.0:
            self.margins.append(Margins(scope.number, claims))
            return None
        return claims, parameters

    def _margin(self, scope: _OpenScope, target: int) -> AffineForm:
        return margin_form(
            scope.system, scope.logits, self.question.label, np.array([target])
        )  # fmt: skip

    def _cut(self, scope: _OpenScope, target: int, claim: Claims) -> _OpenScope:
        """A scope whose box is cut by the margin's bound, where that gains anything."""
        system, n = scope.system, self.model.inputs
        margin = self._margin(scope, target)
        states = np.zeros((1, system.width), np.int8)
        c, rest = linear_bounds(system, margin, states, claim.multipliers, claim.planes)
        low, high = cut_box(system, c[0], float(rest[0]))
        if np.sum(high - low) > (1.0 - CUT) * np.sum(system.high[:n] - system.low[:n]):
            return scope
        self.scopes.append(
            Scope(scope.number, target, scope.phase, system.lower, system.upper, (), cut=claim)
        )
        system = system.within(system.points.within(low, high), system.lower, system.upper)
        return replace(scope, number=len(self.scopes) - 1, target=target, system=system)

    def _tree(
        self, scope: _OpenScope, target: int, guide: Guide | None = None, nodes: int | None = None
    ) -> bool:
        forest = self._forest(scope, target, guide)
        claims, values = forest.prove(np.array([target], np.int32), nodes)
        if values[0] > 0.0:
            self.margins.append(Margins(scope.number, claims))
            return True
        return False

    def _forest(self, scope: _OpenScope, target: int, guide: Guide | None) -> Forest:
        """The margin's tree, as the search left it."""
        form = self._margin(scope, target)
        forest = Forest(scope.relaxation, form, self._stop(form), self.over)
        if guide is not None:
            guide.grow(forest.roots[0], scope.relaxation)
        return forest

    def _planes(self, scope: _OpenScope, target: int, guide: Guide) -> _OpenScope:
        """A scope with the search's planes."""
        system = scope.system
        planes = guide.planes(system)
        if planes is None:
            return scope
        rows = planes.form.rows
        self.scopes.append(
            Scope(
                scope.number, target, scope.phase, system.lower, system.upper, (),
                plane_neurons=planes.neurons.astype(np.int32),
                plane_starts=rows.indptr.astype(np.int32),
                plane_columns=rows.indices.astype(np.int32),
                plane_values=rows.data.astype(np.float32), plane_offsets=planes.form.offset,
                plane_below=planes.below, plane_above=planes.above,
            )
        )  # fmt: skip
        system = replace(system, planes=planes)
        return replace(scope, number=len(self.scopes) - 1, target=target, system=system)

    def _constrained(
        self, scope: _OpenScope, target: int, root: Parameters, most: int
    ) -> _OpenScope:
        """Bounds of the heaviest variable neurons where `target` wins, layer by layer.

        `root`: the margin's own slopes, to start from.
        """
        heavy = self._heaviest(scope, target, root, most)
        for _, layer in self._layers(scope):
            which = layer[heavy[layer]]
            if not len(which):
                continue
            self._look_at_the_clock()
            margin, goals = self._margin(scope, target), signed(scope.system.form, which)
            own = SystemRelaxation(scope.system, margin)
            fixed = own.start.phases
            slopes = np.where(fixed == root.phases, root.slopes, 0.0)
            parameters = Parameters(fixed, slopes, root.cut_weights)
            chosen, found, assumed = [], [], []
            for i, specification in enumerate(own.specifications(goals)):
                if fixed[which[i % len(which)]] != 0:
                    continue
                self._look_at_the_clock()
                trial = copied(parameters)
                net = own.relaxation, specification
                kernels.optimise(*net, 0.0, trial, AscentSettings(0, RATE, np.inf), own.workspace)
                # Where the margin is <= 0 at the point that attains a bound, assuming it cannot
                # help.
                if own.assumed.row @ own.workspace.point + own.assumed.offset <= 0.0:
                    continue
                best = kernels.optimise(
                    *net, ASSUMED, trial, AscentSettings(STEPS, RATE, np.inf), own.workspace
                )
                chosen.append(i)
                found.append(trial)
                assumed.append(best.multiplier)
            if not chosen:
                continue
            claims, values = claims_of(
                own, goals.take(np.array(chosen)), self._numbers(scope, which)[chosen], found,
                np.array(assumed, np.float32),
            )  # fmt: skip
            scope = self._tightened(scope, target, claims, values)
            if scope.empty:
                break
        return scope

    def _heaviest(
        self, scope: _OpenScope, target: int, root: Parameters, most: int
    ) -> NDArray[np.bool_]:
        """Tell the variable neurons whose upper lines cost the margin's bound most."""
        system, own = scope.system, scope.relaxation
        (goal,) = own.specifications(self._margin(scope, target))
        kernels.linear_bound(own.relaxation, goal, 0.0, root, own.workspace)
        loss = upper_loss(system.lower, system.upper, own.workspace.coefficients[system.inputs :])
        loss[root.phases != 0] = 0.0
        heavy = np.zeros(system.width, bool)
        heavy[np.argsort(-loss, kind="stable")[:most]] = True
        return heavy

    def _layers(self, scope: _OpenScope) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """The model's ReLU nodes with variable neurons, and these by their scope in the system."""
        variable = np.flatnonzero(scope.phase == 0)
        for node, (start, end) in enumerate(pairwise(self.starts)):
            which = np.flatnonzero((variable >= start) & (variable < end))
            if len(which):
                yield node, which

    def _late(self, scope: _OpenScope) -> _OpenScope:
        """Bounds of late layers by small trees, layer by layer, for all targets."""
        for node in range(2, len(self.model.relus)):
            which = dict(self._layers(scope)).get(node, np.zeros(0, np.intp))
            if not 0 < len(which) <= LATE:
                continue
            self.progress(f"certificate: layer {node}")
            goals = signed(scope.system.form, which)
            forest = Forest(scope.relaxation, goals, 0.0, self.over)
            claims, values = forest.prove(self._numbers(scope, which), LATE_NODES)
            scope = self._tightened(scope, -1, claims, values)
        return scope

    def _numbers(self, scope: _OpenScope, which: NDArray[np.intp]) -> NDArray[np.int32]:
        own = np.flatnonzero(scope.phase == 0)[which]
        return np.concatenate([own, -1 - own]).astype(np.int32)

    def _tightened(
        self, scope: _OpenScope, target: int, claims: Claims, values: Floats
    ) -> _OpenScope:
        """A child scope with the bounds of claims."""
        model, system = self.model, scope.system
        variable = np.flatnonzero(scope.phase == 0)
        lower, upper = np.zeros(model.neurons), np.zeros(model.neurons)
        lower[variable], upper[variable] = system.lower, system.upper
        above = claims.goals < 0
        which = np.where(above, -1 - claims.goals, claims.goals)
        gain = values - np.where(above, -upper[which], lower[which])
        useful = gain > WORTH * (upper - lower)[which]
        if not np.any(useful):
            return scope
        claims, values, which, above = (
            part_of(claims, useful),
            values[useful],
            which[useful],
            above[useful],
        )
        np.maximum.at(lower, which[~above], values[~above] - SLACK)
        np.minimum.at(upper, which[above], SLACK - values[above])
        phase = scope.phase.copy()
        if target < 0:
            phase[variable[upper[variable] <= 0]] = -1
            phase[variable[lower[variable] >= 0]] = 1
        # Bounds that hold where a target wins are no reason to drop the neuron's equation: that
        # they have one sign says more than its phase.
        kept = phase == 0
        low, high = np.minimum(lower, upper)[kept], np.maximum(lower, upper)[kept]
        ball = system.points
        if np.array_equal(phase, scope.phase):
            made, logits = system.within(ball, low, high), scope.logits
        else:
            made, logits = condense(model, ball, phase, low, high)
        self.scopes.append(Scope(scope.number, target, phase, low, high, (claims,)))
        empty = target >= 0 and bool(np.any(lower > upper))
        return _OpenScope(len(self.scopes) - 1, target, phase, made, logits, empty)
