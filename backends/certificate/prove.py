"""A certificate's proof for one anchor and radius.

On the ball of the radius: bounds layer by layer with CROWN's slopes; margins with optimised slopes;
for every target still open bounds that hold where it wins, in rounds; then a tree of cases.
The checker's own reading of the model, systems and inequality are used throughout, so that what is
written is what will be verified.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from time import monotonic

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.backends.certificate.forest import ROOT_STEPS, UnprovenError, prove
from graphprune.backends.certificate.guide import Guide
from graphprune.backends.certificate.relaxation import Batch, Floats, Relaxation
from graphprune.backends.trace import Trace
from graphprune.check.bound import System, cut_box, linear_bounds, lower_bounds, stack
from graphprune.check.container import Claims, Margins, Scope
from graphprune.check.forms import AffineForm, Propagation, ReluPhases, csr, intervals
from graphprune.check.model import Model
from graphprune.check.verify import box, condense, margin_form
from graphprune.progress import Progress, quiet

# Bounds are stated this much looser than proven: other machines add in other orders.
SLACK = 1e-11
# Rounds of bounds under the assumption that a target wins, and the share of their width by which a
# round must gain for another one: of systems with few neurons, and with many.
FEW, ROUNDS_FEW, ROUNDS_MANY = 64, (8, 0.02), (4, 0.05)
# What a cut of the box must gain, and a claim of what its neuron's bounds are apart.
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


@dataclass(frozen=True, eq=False)
class _OpenScope:
    """A scope under construction: its number, bounds and system."""

    number: int
    target: int
    phase: NDArray[np.int8]
    system: System
    logits: AffineForm
    empty: bool = False

    @property
    def spread(self) -> float:
        """Sum of the widths of its bounds."""
        return float(np.sum(self.system.upper - self.system.lower))


@dataclass(frozen=True, eq=False)
class BallQuery:
    """What is to be proven: no point within `radius` of `anchor` is adversarial.

    Attributes
    ----------
    anchor
        In the shape of one sample.
    low, high
        Domain of every input element.
    """

    model: Model
    anchor: NDArray[np.floating]
    label: int
    radius: float
    low: float
    high: float


def prove_ball(
    question: BallQuery, trace: Trace | None = None, *, deadline: float = np.inf,
    progress: Progress = quiet,
) -> tuple[tuple[Scope, ...], tuple[Margins, ...]]:  # fmt: skip
    """Scopes and margins of a proof.

    Parameters
    ----------
    trace
        What a search knew that proved this ball, or a slightly larger one.

    Raises
    ------
    UnprovenError
        The time is over, or a case cannot be closed.
    """
    return _Prover(question, trace or Trace(), deadline, progress).run()


class _Prover:
    def __init__(
        self, question: BallQuery, trace: Trace, deadline: float, progress: Progress
    ) -> None:
        self.question = question
        self.trace = trace
        self.model = question.model
        self.deadline = deadline
        self.progress = progress
        self.scopes: list[Scope] = []
        self.margins: list[Margins] = []
        self.starts = np.cumsum([0, *self.model.relus])

    def over(self) -> bool:
        return monotonic() > self.deadline

    def run(self) -> tuple[tuple[Scope, ...], tuple[Margins, ...]]:
        first = self._first()
        targets = np.delete(np.arange(self.model.classes), self.question.label)
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
        question, model = self.question, self.model
        ball = box(question.anchor, question.radius, question.low, question.high)
        layers: list[tuple[AffineForm, Floats, Floats]] = []
        claims: list[Claims] = []
        phases: list[NDArray[np.int8]] = []

        def decide(node: int, form: AffineForm) -> ReluPhases:
            system = stack(ball, layers)
            lower, upper = intervals(form, system.low, system.high)
            # Without a variable neuron below, intervals of an affine form are exact.
            loose = np.flatnonzero((lower < 0) & (upper > 0)) if system.width else np.zeros(0, int)
            own = self._crown(system, form, loose, lower, upper, self.starts[node])
            claims.append(own)
            phase = ((lower >= 0).astype(np.int8) - (upper <= 0)).astype(np.int8)
            phase[(lower >= 0) & (upper <= 0)] = -1
            phases.append(phase)
            variable = np.flatnonzero(phase == 0)
            bounds = lower[variable] - SLACK, upper[variable] + SLACK
            layers.append((form.take(variable), *bounds))
            return ReluPhases(phase, bounds[1])

        made = Propagation(model, *ball, decide)
        system = stack(ball, layers)
        phase = np.concatenate([np.zeros(0, np.int8), *phases])
        self.scopes.append(Scope(-1, -1, phase, system.lower, system.upper, tuple(claims)))
        return _OpenScope(0, -1, phase, system, made.logits)

    def _crown(
        self, system: System, form: AffineForm, which: NDArray[np.intp], lower: Floats,
        upper: Floats, offset: int,
    ) -> Claims:  # fmt: skip
        """Bounds of some neurons with default slopes; tightens lower and upper in place."""
        relaxation = Relaxation(system)
        goals = _signed(form, which)
        batch = relaxation.batch(goals)
        m = relaxation.backward(batch, stored=True).multipliers.astype(np.float32)
        bounds = lower_bounds(system, goals, batch.states, m)
        count = len(which)
        numbers = np.concatenate([which + offset, -1 - which - offset]).astype(np.int32)
        low, high = bounds[:count] - SLACK, -bounds[count:] + SLACK
        better = np.concatenate([low > lower[which], high < upper[which]])
        lower[which] = np.maximum(lower[which], low)
        upper[which] = np.minimum(upper[which], high)
        return Claims(numbers[better], m[better])

    # -- margins and rounds ------------------------------------------------------------------

    def _stop(self, form: AffineForm) -> float:
        """What a leaf's bound must exceed before it counts as closed: float32 multipliers."""
        return 1e-7 * float(np.max(np.abs(form.offset), initial=1.0))

    def _close(self, place: _OpenScope, targets: NDArray[np.intp]) -> NDArray[np.intp]:
        """Exclude the targets whose margins slopes alone prove positive; the others."""
        form = margin_form(place.system, place.logits, self.question.label, targets)
        claims, values = prove(
            Relaxation(place.system), form, targets.astype(np.int32), stop=self._stop(form), nodes=1
        )
        done = values > 0.0
        if np.any(done):
            self.margins.append(
                Margins(place.number, Claims(claims.goals[done], claims.multipliers[done]))
            )
        left: NDArray[np.intp] = targets[~done]
        return left

    def _target(self, place: _OpenScope, target: int) -> None:
        """Exclude one target."""
        outline = self.trace.targets.get(target)
        if outline is None:
            tight, guide = self._rounds(place, target, early=True), None
        else:
            guide = Guide(outline, place.phase)
            small = outline.planes is None and len(outline.cases) <= EARLY
            if place.system.width > WIDE:
                # The trace's tree mostly closes on the bounds that all targets share: the search
                # had no others, or planes make up for them, and rounds take longer than a tree.
                planed = self._planes(place, target, guide)
                if self._tree(planed, target, guide, GROWN * len(outline.cases) + EARLY):
                    return
            tight = self._rounds(place, target, early=small)
            if tight is not None:
                planed = self._planes(tight, target, guide)
                few = tight.system.width <= FEW and planed is not tight
                tight = self._rounds(planed, target, early=False) if few else planed
        if tight is not None:
            self.progress(f"certificate: class {target}, {tight.system.width} neurons, cases")
            if not self._tree(tight, target, guide):
                raise UnprovenError(f"class {target}: its cases close within rounding only")

    def _rounds(self, place: _OpenScope, target: int, *, early: bool) -> _OpenScope | None:
        """Rounds of bounds and box cuts where `target` wins; None: they exclude it.

        `early`: with a small tree after each.
        """
        rounds, gain = ROUNDS_FEW if place.system.width <= FEW else ROUNDS_MANY
        root = self._root(place, target)
        for number in range(rounds):
            if root is None:
                return None
            if self.over():
                raise UnprovenError("time is over")
            self.progress(f"certificate: class {target}, bounds, round {number + 1}")
            width = place.spread
            claims, batch = root
            place = self._constrained(self._cut(place, target, claims), target, batch)
            if place.empty:
                return None
            root = self._root(place, target)
            if root is not None and early and self._tree(place, target, nodes=EARLY):
                return None
            if place.spread > (1.0 - gain) * width:
                break
        return None if root is None else place

    def _root(self, place: _OpenScope, target: int) -> tuple[Claims, Batch] | None:
        """The margin's bound without splits, and its slopes; None: it is positive, and claimed."""
        relaxation, margin = Relaxation(place.system), self._margin(place, target)
        batch = relaxation.batch(margin)
        relaxation.ascend(batch, ROOT_STEPS, stop=self._stop(margin))
        claims, values = _stored(relaxation, margin, np.array([target], np.int32), batch)
        if values[0] > 0.0:
            self.margins.append(Margins(place.number, claims))
            return None
        return claims, batch

    def _margin(self, place: _OpenScope, target: int) -> AffineForm:
        return margin_form(
            place.system, place.logits, self.question.label, np.array([target])
        )  # fmt: skip

    def _cut(self, place: _OpenScope, target: int, claim: Claims) -> _OpenScope:
        """A scope whose box is cut by the margin's bound, where that gains anything."""
        system, n = place.system, self.model.inputs
        margin = self._margin(place, target)
        states = np.zeros((1, system.width), np.int8)
        c, rest = linear_bounds(system, margin, states, claim.multipliers, claim.planes)
        low, high = cut_box(system, c[0], float(rest[0]))
        if np.sum(high - low) > (1.0 - CUT) * np.sum(system.high[:n] - system.low[:n]):
            return place
        self.scopes.append(
            Scope(place.number, target, place.phase, system.lower, system.upper, (), cut=claim)
        )
        system = system.within((low, high), system.lower, system.upper)
        return replace(place, number=len(self.scopes) - 1, target=target, system=system)

    def _tree(
        self, place: _OpenScope, target: int, guide: Guide | None = None, nodes: int | None = None
    ) -> bool:
        relaxation, form = Relaxation(place.system), self._margin(place, target)
        claims, values = prove(
            relaxation, form, np.array([target], np.int32), stop=self._stop(form),
            root=None if guide is None else guide.root(relaxation, form),
            nodes=nodes, over=self.over,
        )  # fmt: skip
        if values[0] > 0.0:
            self.margins.append(Margins(place.number, claims))
            return True
        return False

    def _planes(self, place: _OpenScope, target: int, guide: Guide) -> _OpenScope:
        """A scope with the search's planes."""
        system = place.system
        planes = guide.planes(system)
        if planes is None:
            return place
        rows = planes.form.rows
        self.scopes.append(
            Scope(
                place.number, target, place.phase, system.lower, system.upper, (),
                plane_neurons=planes.neurons.astype(np.int32),
                plane_starts=rows.indptr.astype(np.int32),
                plane_columns=rows.indices.astype(np.int32),
                plane_values=rows.data.astype(np.float32), plane_offsets=planes.form.offset,
                plane_below=planes.below, plane_above=planes.above,
            )
        )  # fmt: skip
        system = replace(system, planes=planes)
        return replace(place, number=len(self.scopes) - 1, target=target, system=system)

    def _constrained(self, place: _OpenScope, target: int, root: Batch) -> _OpenScope:
        """Bounds of all variable neurons where `target` wins, layer by layer.

        `root`: the margin's own slopes, to start from.
        """
        for _, which in self._layers(place):
            system = place.system
            margin = self._margin(place, target).widen(len(system.low))
            row = margin.rows.toarray()[0], float(margin.offset[0])
            relaxation = Relaxation(system, row)
            numbers = self._numbers(place, which)
            goals = _signed(system.form, which)
            batch = relaxation.batch(goals)
            batch.theta[:], batch.mix[:] = root.theta, root.mix
            # Where the margin is <= 0 at the point that attains a bound, assuming it cannot help.
            at = relaxation.forward(batch, relaxation.backward(batch))
            helped = np.tile(relaxation.fixed[which] == 0, 2) & (at.v @ row[0] + row[1] > 0.0)
            if not np.any(helped):
                continue
            goals, numbers = goals.take(np.flatnonzero(helped)), numbers[helped]
            batch = batch.take(helped)
            batch.assumed[:] = ASSUMED
            relaxation.ascend(batch, STEPS)
            place = self._tightened(
                place, target, *_stored(relaxation, goals, numbers, batch, margin)
            )  # fmt: skip
            if place.empty:
                break
        return place

    def _layers(self, place: _OpenScope) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """The model's ReLU nodes with variable neurons, and these by their place in the system."""
        variable = np.flatnonzero(place.phase == 0)
        for node, (start, end) in enumerate(pairwise(self.starts)):
            which = np.flatnonzero((variable >= start) & (variable < end))
            if len(which):
                yield node, which

    def _late(self, place: _OpenScope) -> _OpenScope:
        """Bounds of late layers by small trees, layer by layer, for all targets."""
        for node in range(2, len(self.model.relus)):
            which = dict(self._layers(place)).get(node, np.zeros(0, np.intp))
            if not 0 < len(which) <= LATE:
                continue
            self.progress(f"certificate: layer {node}")
            claims, values = prove(
                Relaxation(place.system), _signed(place.system.form, which),
                self._numbers(place, which), stop=0.0, nodes=LATE_NODES, over=self.over,
            )  # fmt: skip
            place = self._tightened(place, -1, claims, values)
        return place

    def _numbers(self, place: _OpenScope, which: NDArray[np.intp]) -> NDArray[np.int32]:
        own = np.flatnonzero(place.phase == 0)[which]
        return np.concatenate([own, -1 - own]).astype(np.int32)

    def _tightened(
        self, place: _OpenScope, target: int, claims: Claims, values: Floats
    ) -> _OpenScope:
        """A child scope with the bounds of claims."""
        model, system = self.model, place.system
        variable = np.flatnonzero(place.phase == 0)
        lower, upper = np.zeros(model.neurons), np.zeros(model.neurons)
        lower[variable], upper[variable] = system.lower, system.upper
        above = claims.goals < 0
        which = np.where(above, -1 - claims.goals, claims.goals)
        gain = values - np.where(above, -upper[which], lower[which])
        useful = gain > WORTH * (upper - lower)[which]
        if not np.any(useful):
            return place
        claims, values, which, above = (
            _part(claims, useful),
            values[useful],
            which[useful],
            above[useful],
        )
        np.maximum.at(lower, which[~above], values[~above] - SLACK)
        np.minimum.at(upper, which[above], SLACK - values[above])
        phase = place.phase.copy()
        if target < 0:
            phase[variable[upper[variable] <= 0]] = -1
            phase[variable[lower[variable] >= 0]] = 1
        # What holds where a target wins is no reason to drop the neuron's equation: that its
        # bounds have one sign says more than its phase.
        kept = phase == 0
        low, high = np.minimum(lower, upper)[kept], np.maximum(lower, upper)[kept]
        ball = system.low[: model.inputs], system.high[: model.inputs]
        if np.array_equal(phase, place.phase):
            made, logits = system.within(ball, low, high), place.logits
        else:
            made, logits = condense(model, ball, phase, low, high)
        self.scopes.append(Scope(place.number, target, phase, low, high, (claims,)))
        empty = target >= 0 and bool(np.any(lower > upper))
        return _OpenScope(len(self.scopes) - 1, target, phase, made, logits, empty)


def _signed(form: AffineForm, which: NDArray[np.intp]) -> AffineForm:
    """The forms `which`, then their negatives: lower bounds of both are both bounds."""
    own = form.take(which)
    return AffineForm(
        csr(sparse.vstack([own.rows, -own.rows], format="csr")),
        np.concatenate([own.offset, -own.offset]), np.concatenate([own.error, own.error]),
    )  # fmt: skip


def _stored(
    relaxation: Relaxation, goals: AffineForm, numbers: NDArray[np.int32], batch: Batch,
    assumption: AffineForm | None = None,
) -> tuple[Claims, Floats]:  # fmt: skip
    """Unsplit claims with a batch's parameters."""
    assumed = batch.assumed.astype(np.float32)
    batch.assumed = assumed.astype(np.float64)
    done = relaxation.backward(batch, stored=True)
    m = done.multipliers.astype(np.float32)
    planes = relaxation.system.planes
    pi = None if planes is None else done.planes[:, planes.neurons].astype(np.float32)
    known = None if assumption is None else (assumed, assumption)
    values = lower_bounds(relaxation.system, goals, batch.states, m, pi, known)
    return Claims(numbers, m, None, pi, None if known is None else assumed), values


def _part(claims: Claims, goals: NDArray[np.bool_]) -> Claims:
    """The claims on some of the goals."""
    leaves, trees = goals, None
    if claims.trees is not None:
        # Every tree has one leaf more than splits: the count falls to a new low where one ends.
        total = np.concatenate([[0], np.cumsum(np.where(claims.trees < 0, -1, 1))])
        kept = goals[-np.minimum.accumulate(total)[:-1]]
        trees, leaves = claims.trees[kept], kept[claims.trees < 0]
    return Claims(
        claims.goals[goals], claims.multipliers[leaves], trees,
        None if claims.planes is None else claims.planes[leaves],
        None if claims.assumption is None else claims.assumption[leaves],
    )  # fmt: skip


__all__ = ["BallQuery", "UnprovenError", "prove_ball"]
