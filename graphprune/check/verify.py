"""Verify a certificate against a model: scopes, margins and points, line by line."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.check.asked import Asked
from graphprune.check.bound import (
    System,
    UpperPlanes,
    cut_box,
    linear_bounds,
    lower_bounds,
    plane_slack,
    stack,
)
from graphprune.check.container import Claims, Margins, Proof, ProofFile, Refused, Scope, Singles
from graphprune.check.forms import (
    MORE,
    UNIT,
    AffineForm,
    Floats,
    Propagation,
    ReluPhases,
    csr,
)
from graphprune.check.point import check_point
from graphprune.check.points import Points
from graphprune.check.steps import Model

States = NDArray[np.int8]
Report = Callable[[str], None]


@dataclass(frozen=True)
class Verified:
    """One anchor whose proof holds.

    Attributes
    ----------
    index, label
        As the certificate names them.
    lower
        Proven: no point of the domain within this distance is adversarial.
    upper, target
        Distance and class of the adversarial point; None without one.
    moving
        Number of elements that may change; None: all.
    about
        Norm, front and classes in words; empty: L-infinity, the inputs, all classes.
    leaves, claims
        Number of inequalities and of goals verified.
    seconds
        Wall time.
    """

    index: int
    label: int
    lower: float
    upper: float | None
    target: int | None
    leaves: int
    claims: int
    seconds: float
    moving: int | None = None
    about: str = ""

    @property
    def exact(self) -> bool:
        """The interval is as narrow as what `distance` calls exact."""
        return self.upper is not None and self.upper - self.lower <= max(1e-6, 1e-4 * self.upper)

    def __str__(self) -> str:
        if self.upper is None:
            proven = f"distance > {self.lower:.9g}"
        else:
            status = "exact" if self.exact else "interval"
            proven = f"{self.lower:.9g} <= distance <= {self.upper:.9g} ({status})"
            proven += f", class {self.target} wins"
        if self.moving is not None:
            proven += f", where only {self.moving} elements may change"
        proven += f", {self.about}" if self.about else ""
        return (
            f"anchor {self.index}, label {self.label}: {proven};"
            f" {self.leaves} bounds of {self.claims} claims, {self.seconds:.2f} s"
        )


def verify(file: ProofFile, model: Model, report: Report = lambda text: None) -> list[Verified]:
    """Verify every proof of a certificate against a model.

    Raises
    ------
    Refused
        Something does not hold; the message says what.
    """
    if file.model != model.sha256:
        raise Refused(f"it is about another model: sha256 {file.model}, not {model.sha256}")
    if not file.low < file.high:
        raise Refused("its domain is empty")
    results = []
    for number, proof in enumerate(file.proofs):
        report(f"anchor {proof.index} ({number + 1}/{len(file.proofs)})")
        try:
            results.append(_AnchorChecker(file, model, proof).run())
        except Refused as reason:
            raise Refused(f"anchor {proof.index}: {reason}") from None
    return results


def cases(trees: NDArray[np.int32] | None, count: int, width: int, leaves: int) -> tuple[
    States, NDArray[np.intp]
]:  # fmt: skip
    """States (leaves, width) of all leaves of `count` trees in preorder, and each leaf's tree.

    Every inner node is followed by both of its cases, so a well-formed list leaves no case out.
    """
    states = np.zeros((leaves, width), np.int8)
    owner = np.zeros(leaves, np.intp)
    if trees is None:
        if leaves != count:
            raise Refused(f"{leaves} leaves for {count} goals without trees")
        return states, np.arange(count)
    at = done = 0
    for tree in range(count):
        open_cases = [np.zeros(width, np.int8)]
        while open_cases:
            state = open_cases.pop()
            if at == len(trees):
                raise Refused("a tree of cases is incomplete")
            j = int(trees[at])
            at += 1
            if j == -1:
                if done == leaves:
                    raise Refused("a leaf has no multipliers")
                states[done], owner[done] = state, tree
                done += 1
            elif 0 <= j < width and state[j] == 0:
                for phase in (-1, 1):
                    child = state.copy()
                    child[j] = phase
                    open_cases.append(child)
            else:
                raise Refused(f"a tree of cases splits neuron {j}, which is not open")
    if at != len(trees) or done != leaves:
        raise Refused("a tree of cases has more entries than cases")
    return states, owner


def condense(
    model: Model, ball: Points, phase: States, lower: Floats, upper: Floats
) -> tuple[System, AffineForm]:
    """The system, and the logits over it, of the neurons with phase 0 and their bounds."""
    starts = np.cumsum([0, *model.relus])
    layers: list[tuple[AffineForm, Floats, Floats]] = []

    def decide(node: int, form: AffineForm) -> ReluPhases:
        part = slice(starts[node], starts[node + 1])
        own = _part(phase, lower, upper, part)
        layers.append((form.take(np.flatnonzero(phase[part] == 0)), *own))
        return ReluPhases(phase[part], own[1])

    logits = Propagation(model, *ball.ends, decide).logits
    return stack(ball, layers), logits


def _part(phase: States, lower: Floats, upper: Floats, part: slice) -> tuple[Floats, Floats]:
    """Bounds of the variable neurons of one layer."""
    first = int(np.sum(phase[: part.start] == 0))
    count = int(np.sum(phase[part] == 0))
    return lower[first : first + count], upper[first : first + count]


def margin_form(
    system: System, logits: AffineForm, label: int, targets: NDArray[np.intp]
) -> AffineForm:
    """f_label - f_target for each target."""
    first, second = logits.take(np.full(len(targets), label)), logits.take(targets)
    rounding = 4.0 * UNIT * (first.magnitude(system.extent) + second.magnitude(system.extent))
    return AffineForm(
        csr(first.rows - second.rows), first.offset - second.offset,
        MORE * (first.error + second.error + rounding),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _VerifiedScope:
    """A verified scope: bounds of all neurons, and the system they make."""

    target: int
    phase: NDArray[np.int8]
    lower: Floats
    upper: Floats
    system: System
    logits: AffineForm
    empty: bool = False

    @property
    def variable(self) -> NDArray[np.intp]:
        return np.flatnonzero(self.phase == 0)


class _AnchorChecker:
    """Verifies one anchor's proof."""

    def __init__(self, file: ProofFile, model: Model, proof: Proof) -> None:
        self.proof = proof
        self.asked = Asked.of(model, proof, file.low, file.high)
        self.model = self.asked.model
        self.leaves = self.claims = 0
        self.starts = np.concatenate([[0], np.cumsum(self.model.relus)]).astype(np.intp)

    def run(self) -> Verified:
        start = monotonic()
        proof = self.proof
        if proof.lower < 0.0:
            raise Refused("its radius is negative")
        if proof.lower > 0.0:
            self._ball()
        check_point(self.asked)
        target = None if proof.upper is None else proof.target
        return Verified(
            proof.index, proof.label, proof.lower, proof.upper, target, self.leaves, self.claims,
            monotonic() - start, self.asked.moving, self.asked.about,
        )  # fmt: skip

    def _ball(self) -> None:
        """No point of the ball is adversarial: the scopes hold, and every margin is positive."""
        known: list[_VerifiedScope] = []
        for number, scope in enumerate(self.proof.scopes):
            try:
                if not -1 <= scope.parent < number or not -1 <= scope.target < self.model.classes:
                    raise Refused("its parent or target does not exist")
                if len(scope.phase) != self.model.neurons or np.any(np.abs(scope.phase) > 1):
                    raise Refused("its phases are not those of the model's neurons")
                if not len(scope.lower) == len(scope.upper) == np.sum(scope.phase == 0):
                    raise Refused("its bounds are not those of its variable neurons")
                if np.any(scope.lower > scope.upper):
                    raise Refused("a lower bound exceeds its upper bound")
                one = self._first(scope) if scope.parent < 0 else self._child(scope, known)
                known.append(self._with_planes(scope, one))
            except Refused as reason:
                raise Refused(f"scope {number}: {reason}") from None
        # Where bounds cross that hold if a target wins, it does not.
        proven = {self.proof.label, *(one.target for one in known if one.empty)}
        for margins in self.proof.margins:
            proven.update(self._margins(margins, known))
        missing = self.asked.counting - proven
        if missing:
            raise Refused(f"class {min(missing)} is not excluded")

    def _first(self, scope: Scope) -> _VerifiedScope:
        """Bounds layer by layer: of each layer by intervals and claims on the layers below."""
        if scope.target != -1 or len(scope.claims) != len(self.model.relus):
            raise Refused("the first scope has no target, and claims for every layer")
        if scope.cut is not None:
            raise Refused("the first scope's box is the ball")
        ball = self.asked.ball(self.proof.lower)
        layers: list[tuple[AffineForm, Floats, Floats]] = []

        def decide(node: int, form: AffineForm) -> ReluPhases:
            system = stack(ball, layers)
            lower, upper = ball.intervals(form, system.low, system.high)
            offset = self.starts[node]

            def goal(which: NDArray[np.intp]) -> AffineForm:
                which = which - offset
                if np.any(which < 0) or np.any(which >= len(lower)):
                    raise Refused(f"claims of layer {node} are about another layer")
                return form.take(which)

            self._bounds(scope.claims[node], system, goal, None, lower, upper, offset)
            part = slice(self.starts[node], self.starts[node + 1])
            own = _part(scope.phase, scope.lower, scope.upper, part)
            self._covered(scope.phase[part], own, lower, upper, node)
            variable = np.flatnonzero(scope.phase[part] == 0)
            layers.append((form.take(variable), *own))
            return ReluPhases(scope.phase[part], own[1])

        made = Propagation(self.model, *ball.ends, decide)
        return self._verified(scope, stack(ball, layers), made.logits)

    def _child(self, scope: Scope, known: list[_VerifiedScope]) -> _VerifiedScope:
        """Bounds that tighten a parent's, proven on the parent's whole system."""
        parent = known[scope.parent]
        if parent.target not in (-1, scope.target):
            raise Refused("its parent holds for another target")
        lower, upper = parent.lower.copy(), parent.upper.copy()
        position = np.full(len(lower), -1)
        position[parent.variable] = np.arange(parent.system.width)

        def goal(which: NDArray[np.intp]) -> AffineForm:
            if np.any(which < 0) or np.any(which >= len(position)) or np.any(position[which] < 0):
                raise Refused("a claim is about a neuron that is not variable in its parent")
            return parent.system.form.take(position[which])

        assumption = None
        if scope.target >= 0:
            assumption = margin_form(
                parent.system, parent.logits, self.proof.label, np.array([scope.target])
            )
        for claims in scope.claims:
            self._bounds(claims, parent.system, goal, assumption, lower, upper, 0)
        fixed = parent.phase != 0
        if np.any(scope.phase[fixed] != parent.phase[fixed]):
            raise Refused("a neuron's phase differs from its parent's")
        own = (scope.lower, scope.upper)
        variable = parent.variable
        self._covered(scope.phase[variable], own, lower[variable], upper[variable], None)
        ball = parent.system.points
        if scope.cut is not None:
            ball = self._cut(scope.cut, parent.system, assumption)
        empty = bool(scope.target >= 0 and (parent.empty or np.any(lower > upper)))
        if np.array_equal(scope.phase, parent.phase):
            # The same system, its planes included.
            system, logits = parent.system.within(ball, *own), parent.logits
        else:
            system, logits = condense(self.model, ball, scope.phase, *own)
        return self._verified(scope, system, logits, empty)

    def _cut(self, cut: Claims, system: System, margin: AffineForm | None) -> Points:
        """The box where the bound of a margin that is <= 0 leaves room."""
        if margin is None or len(cut.goals) != 1 or cut.trees is not None:
            raise Refused("its box is cut by something else than its target's margin")
        _, states, m, pi, assumed = self._leaves(cut, system, 1, None)
        c, rest = linear_bounds(system, margin, states, m, pi, assumed)
        return system.points.within(*cut_box(system, c[0], float(rest[0])))

    def _covered(
        self, phase: NDArray[np.int8], own: tuple[Floats, Floats], lower: Floats, upper: Floats,
        node: int | None,
    ) -> None:  # fmt: skip
        """The bounds that a scope states are no better than the proven ones."""
        variable = phase == 0
        wrong = (
            np.any(lower[phase == 1] < 0)
            or np.any(upper[phase == -1] > 0)
            or np.any(own[0] > lower[variable])
            or np.any(own[1] < upper[variable])
        )
        if wrong:
            place = "" if node is None else f" of layer {node}"
            raise Refused(f"bounds{place} are tighter than what is proven")

    def _verified(
        self, scope: Scope, system: System, logits: AffineForm, empty: bool = False
    ) -> _VerifiedScope:  # fmt: skip
        lower, upper = np.zeros(self.model.neurons), np.zeros(self.model.neurons)
        lower[scope.phase == 0], upper[scope.phase == 0] = scope.lower, scope.upper
        return _VerifiedScope(scope.target, scope.phase, lower, upper, system, logits, empty)

    def _with_planes(self, scope: Scope, known: _VerifiedScope) -> _VerifiedScope:
        neurons, starts, columns = scope.plane_neurons, scope.plane_starts, scope.plane_columns
        values, offsets = scope.plane_values, scope.plane_offsets
        below, above = scope.plane_below, scope.plane_above
        if all(x is None for x in (neurons, starts, columns, values, offsets, below, above)):
            return known
        if (
            neurons is None or starts is None or columns is None or values is None
            or offsets is None or below is None or above is None
        ):  # fmt: skip
            raise Refused("a part of its planes is missing")
        basis, count = len(known.system.low), len(neurons)
        if (
            count == 0 or len(starts) != count + 1 or starts[0] != 0 or np.any(np.diff(starts) < 0)
            or starts[-1] != len(columns) or values.shape != columns.shape
            or np.any(columns < 0) or np.any(columns >= basis)
            or np.any(neurons < 0) or np.any(neurons >= known.system.width)
            or not len(offsets) == len(below) == len(above) == count
        ):  # fmt: skip
            raise Refused("its planes are malformed")
        # Copies: arrays of a file are read-only, and rows whose columns are in disorder are sorted.
        parts = (values.astype(np.float64), columns.copy(), starts.copy())
        rows = csr(sparse.csr_array(parts, shape=(count, basis)))
        rows.sum_duplicates()
        form = AffineForm(rows, offsets, np.zeros(count))
        planes = UpperPlanes(neurons.astype(np.intp), form, below, above)
        if not np.all(plane_slack(known.system, planes) >= 0.0):
            raise Refused("a plane does not lie above its neuron")
        return replace(known, system=replace(known.system, planes=planes))

    def _bounds(
        self,
        claims: Claims,
        system: System,
        goal: Callable[[NDArray[np.intp]], AffineForm],
        assumption: AffineForm | None,
        lower: Floats,
        upper: Floats,
        offset: int,
    ) -> None:
        """Verify claims about neurons; the proven bounds go into lower and upper."""
        goals = claims.goals.astype(np.intp)
        above = goals < 0
        which = np.where(above, -1 - goals, goals)
        form = goal(which)
        sign = np.where(above, -1.0, 1.0)
        signed = AffineForm(
            csr(sparse.diags_array(sign) @ form.rows), sign * form.offset, form.error
        )  # fmt: skip
        values = self._values(claims, system, signed, assumption)
        np.maximum.at(lower, which[~above] - offset, values[~above])
        np.minimum.at(upper, which[above] - offset, -values[above])

    def _values(
        self, claims: Claims, system: System, goals: AffineForm, assumption: AffineForm | None
    ) -> Floats:
        """Proven lower bound of every goal: the smallest over its leaves."""
        count = len(goals.offset)
        if len(np.unique(claims.goals)) != count:
            raise Refused("a goal is claimed twice")
        owner, states, m, pi, assumed = self._leaves(claims, system, count, assumption)
        bounds = lower_bounds(system, goals.take(owner), states, m, pi, assumed)
        values = np.full(count, np.inf)
        np.minimum.at(values, owner, bounds)
        self.claims += count
        if np.any(np.isnan(bounds)):
            raise Refused("a bound is not a number")
        return values

    def _leaves(
        self, claims: Claims, system: System, count: int, assumption: AffineForm | None
    ) -> tuple[
        NDArray[np.intp], States, Singles, Singles | None, tuple[Singles, AffineForm] | None
    ]:  # fmt: skip
        """Goal, case and multipliers of every leaf: m, of the planes, of the assumption."""
        m = claims.multipliers
        if m.ndim != 2 or m.shape[1] != system.width:
            raise Refused(f"multipliers of shape {m.shape} for {system.width} variable neurons")
        states, owner = cases(claims.trees, count, system.width, len(m))
        pi = claims.planes
        if pi is not None and (
            system.planes is None
            or pi.shape != (len(m), len(system.planes.neurons))
            or np.any(pi < 0)
        ):
            raise Refused("multipliers of planes are malformed or negative")
        assumed = None
        if claims.assumption is not None:
            if (
                assumption is None
                or claims.assumption.shape != (len(m),)
                or np.any(claims.assumption < 0)
            ):
                raise Refused("multipliers of the assumption are malformed or negative")
            assumed = (claims.assumption, assumption)
        self.leaves += len(m)
        return owner, states, m, pi, assumed

    def _margins(self, margins: Margins, known: list[_VerifiedScope]) -> set[int]:
        """Targets whose margins are proven positive on a scope."""
        if not 0 <= margins.scope < len(known):
            raise Refused("margins are claimed on a scope that does not exist")
        scope, targets = known[margins.scope], margins.claims.goals.astype(np.intp)
        if np.any(targets < 0) or np.any(targets >= self.model.classes):
            raise Refused("a margin's target is not a class of the model")
        if scope.target >= 0 and np.any(targets != scope.target):
            raise Refused("a margin is claimed on a scope of another target")
        form = margin_form(scope.system, scope.logits, self.proof.label, targets)
        values = self._values(margins.claims, scope.system, form, None)
        wrong = ~(values > 0.0)
        if np.any(wrong):
            target = int(targets[wrong][0])
            raise Refused(f"the margin to class {target} is only proven >= {values[wrong][0]:.3g}")
        return set(targets.tolist())
