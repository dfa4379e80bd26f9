"""A certificate's proof for one anchor and radius.

On the ball of the radius: bounds layer by layer with CROWN's slopes; margins with optimised slopes;
for every target still open bounds that hold where it wins, in rounds; then a tree of cases.
The checker's own reading of the model, systems and inequality are used throughout, so that what is
written is what will be verified.
"""

from dataclasses import dataclass, replace
from time import monotonic

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.backends.certificate.forest import UnprovenError, prove
from graphprune.backends.certificate.guide import Guide
from graphprune.backends.certificate.relaxation import Batch, Floats, Relaxation
from graphprune.backends.trace import Trace
from graphprune.check.bound import System, lower_bounds, stack
from graphprune.check.container import Claims, Margins, Scope
from graphprune.check.forms import Form, Layer, Propagation, csr, intervals
from graphprune.check.model import Model
from graphprune.check.verify import box, condense, margin_form
from graphprune.progress import Progress, quiet

# Bounds are stated this much looser than proven: other machines add in other orders.
SLACK = 1e-11
# Rounds of bounds under the assumption that a target wins, and the share of the width by which
# a round must gain for another one.
ROUNDS, GAIN = 4, 0.05
# Neurons of a late layer, whose bounds are worth small trees, and the nodes of these.
LATE, LATE_NODES = 64, 40
# Nodes of the tree before bounds are tightened, and after each round.
EARLY = 16
STEPS = 20
ASSUMED = 0.5


@dataclass(frozen=True, eq=False)
class _Place:
    """A scope under construction: its number, bounds and system."""

    number: int
    target: int
    phase: NDArray[np.int8]
    system: System
    logits: Form
    empty: bool = False


@dataclass(frozen=True, eq=False)
class Question:
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
    question: Question, trace: Trace | None = None, *, deadline: float = np.inf,
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
        self, question: Question, trace: Trace, deadline: float, progress: Progress
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
        if len(still_open) and (late := self._late(first)) is not None:
            first = late
            still_open = self._close(first, still_open)
        for target in still_open:
            self._target(first, int(target))
        return tuple(self.scopes), tuple(self.margins)

    # -- the first scope ---------------------------------------------------------------------

    def _first(self) -> _Place:
        question, model = self.question, self.model
        ball = box(question.anchor, question.radius, question.low, question.high)
        layers: list[tuple[Form, Floats, Floats]] = []
        claims: list[Claims] = []
        phases: list[NDArray[np.int8]] = []

        def decide(node: int, form: Form) -> Layer:
            system = stack(ball, layers)
            lower, upper = intervals(form, system.low, system.high)
            # Without a variable neuron below, intervals of an affine form are exact.
            loose = np.flatnonzero((lower < 0) & (upper > 0)) if system.width else np.zeros(0, int)
            own = self._crown(system, form, loose, lower, upper, model.inputs + self.starts[node])
            claims.append(own)
            phase = ((lower >= 0).astype(np.int8) - (upper <= 0)).astype(np.int8)
            phase[(lower >= 0) & (upper <= 0)] = -1
            phases.append(phase)
            variable = np.flatnonzero(phase == 0)
            bounds = lower[variable] - SLACK, upper[variable] + SLACK
            layers.append((form.take(variable), *bounds))
            return Layer(phase, bounds[1])

        made = Propagation(model, *ball, decide)
        system = stack(ball, layers)
        phase = np.concatenate([np.zeros(0, np.int8), *phases])
        self.scopes.append(Scope(-1, -1, phase, system.lower, system.upper, tuple(claims)))
        return _Place(0, -1, phase, system, made.logits)

    def _crown(
        self, system: System, form: Form, which: NDArray[np.intp], lower: Floats, upper: Floats,
        offset: int,
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

    def _stop(self, form: Form) -> float:
        """What a leaf's bound must exceed before it counts as closed: float32 multipliers."""
        return 1e-7 * float(np.max(np.abs(form.offset), initial=1.0))

    def _close(self, place: _Place, targets: NDArray[np.intp]) -> NDArray[np.intp]:
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

    def _target(self, place: _Place, target: int) -> None:
        """Exclude one target."""
        outline = self.trace.outlines.get(target)
        for number in range(ROUNDS):
            if self.over():
                raise UnprovenError("time is over")
            self.progress(f"certificate: class {target}, bounds, round {number + 1}")
            width = float(np.sum(place.system.upper - place.system.lower))
            place = self._constrained(place, target)
            if place.empty or not len(self._close(place, np.array([target]))):
                return
            small = outline is None or (outline.planes is None and len(outline.cases) <= EARLY)
            if small and self._tree(place, target, nodes=EARLY):
                return
            if float(np.sum(place.system.upper - place.system.lower)) > (1.0 - GAIN) * width:
                break
        self.progress(f"certificate: class {target}, {place.system.width} neurons, cases")
        guide = None if outline is None else Guide(outline, place.phase)
        if guide is not None:
            place = self._planes(place, target, guide)
        self._tree(place, target, guide)

    def _tree(
        self, place: _Place, target: int, guide: Guide | None = None, nodes: int | None = None
    ) -> bool:
        targets = np.array([target])
        form = margin_form(place.system, place.logits, self.question.label, targets)
        relaxation = Relaxation(place.system)
        claims, values = prove(
            relaxation, form, targets.astype(np.int32), stop=self._stop(form),
            root=None if guide is None else guide.root(relaxation, form),
            nodes=nodes, over=self.over,
        )  # fmt: skip
        if values[0] > 0.0:
            self.margins.append(Margins(place.number, claims))
            return True
        return False

    def _planes(self, place: _Place, target: int, guide: Guide) -> _Place:
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

    def _constrained(self, place: _Place, target: int) -> _Place:
        """Bounds of all variable neurons where `target` wins."""
        system = place.system
        assumption = margin_form(
            system, place.logits, self.question.label, np.array([target])
        ).widen(len(system.low))  # fmt: skip
        row = assumption.rows.toarray()[0], float(assumption.offset[0])
        relaxation = Relaxation(system, row)
        which = np.flatnonzero(relaxation.fixed == 0)
        goals = _signed(system.form, which)
        batch = relaxation.batch(goals)
        batch.assumed[:] = ASSUMED
        relaxation.ascend(batch, STEPS)
        numbers = self._numbers(place, which)
        return self._tightened(
            place, target, *_stored(relaxation, goals, numbers, batch, assumption)
        )

    def _late(self, place: _Place) -> _Place | None:
        """Bounds of late layers by small trees, for all targets."""
        system = place.system
        variable = np.flatnonzero(place.phase == 0)
        late: list[NDArray[np.intp]] = []
        for node in range(2, len(self.model.relus)):
            inside = (variable >= self.starts[node]) & (variable < self.starts[node + 1])
            if 0 < inside.sum() <= LATE:
                late.append(np.flatnonzero(inside))
        if not late:
            return None
        self.progress("certificate: late layers")
        which = np.concatenate(late)
        goals = _signed(system.form, which)
        numbers = self._numbers(place, which)
        claims, values = prove(
            Relaxation(system), goals, numbers, stop=0.0, nodes=LATE_NODES, over=self.over
        )
        return self._tightened(place, -1, claims, values)

    def _numbers(self, place: _Place, which: NDArray[np.intp]) -> NDArray[np.int32]:
        own = self.model.inputs + np.flatnonzero(place.phase == 0)[which]
        return np.concatenate([own, -1 - own]).astype(np.int32)

    def _tightened(self, place: _Place, target: int, claims: Claims, values: Floats) -> _Place:
        """A child scope with the bounds of claims."""
        model, system = self.model, place.system
        variable = np.flatnonzero(place.phase == 0)
        lower, upper = np.zeros(model.neurons), np.zeros(model.neurons)
        lower[variable], upper[variable] = system.lower, system.upper
        above = claims.goals < 0
        which = np.where(above, -1 - claims.goals, claims.goals) - model.inputs
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
        n = model.inputs
        made, logits = condense(model, (system.low[:n], system.high[:n]), phase, low, high)
        self.scopes.append(Scope(place.number, target, phase, low, high, (claims,)))
        empty = target >= 0 and bool(np.any(lower > upper))
        return _Place(len(self.scopes) - 1, target, phase, made, logits, empty)


def _signed(form: Form, which: NDArray[np.intp]) -> Form:
    """The forms `which`, then their negatives: lower bounds of both are both bounds."""
    own = form.take(which)
    return Form(
        csr(sparse.vstack([own.rows, -own.rows], format="csr")),
        np.concatenate([own.offset, -own.offset]), np.concatenate([own.error, own.error]),
    )  # fmt: skip


def _stored(
    relaxation: Relaxation, goals: Form, numbers: NDArray[np.int32], batch: Batch, assumption: Form
) -> tuple[Claims, Floats]:
    """Unsplit claims with a batch's parameters."""
    assumed = batch.assumed.astype(np.float32)
    batch.assumed = assumed.astype(np.float64)
    m = relaxation.backward(batch, stored=True).multipliers.astype(np.float32)
    values = lower_bounds(
        relaxation.system, goals, batch.states, m, assumption=(assumed, assumption)
    )
    return Claims(numbers, m, None, None, assumed), values


__all__ = ["Question", "UnprovenError", "prove_ball"]
