"""The reference backend: one MILP per target on SCIP."""

import logging
from dataclasses import dataclass, replace
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.primal_heuristic import search_near
from graphprune.backends.protocol import ABSOLUTE, DistanceInterval, is_exact
from graphprune.backends.relaxation.condensed import Condensed, bounds_of, condense
from graphprune.backends.scip.formulate import (
    Layered,
    ProgramForm,
    formulate,
    layer,
    prefers_layers,
)
from graphprune.backends.scip.influence import priorities
from graphprune.backends.scip.process import SolveStatus
from graphprune.backends.scip.program import Encoding, MixedIntegerProgram
from graphprune.backends.scip.scaling import TRUSTED, believed, spread
from graphprune.backends.scip.solve import FEWEST, TargetResult, solve_program
from graphprune.backends.scip.tighten import root_bound, tighten
from graphprune.bounds import Boxes, linear_bounds, optimised_bounds, pre_activation_bounds
from graphprune.bounds.certify import margin_rows
from graphprune.errors import GraphpruneError
from graphprune.region import Ball
from graphprune.runtime.reference import forward64
from graphprune.runtime.resources import Resources

Floats = NDArray[np.float64]

# The share of the time that is left which a target may use while others wait.
SHARE = 0.6
# The ball of a second look, as a multiple of the optimum found.
BEYOND = 1.01
# The margin asked for then.
STRICT = 3e-6
# A cutoff smaller by this share is worth new bounds on its ball.
SMALLER = 0.02
# Bounds are optimised up to so many unstable neurons: with more SCIP proves nothing anyway.
OPTIMISED = 512
# Linear programs before SCIP begins: up to `TOO_MANY` unstable neurons, in this share of the time
# and in so many seconds.
TOO_MANY, TIGHTEN, LINEAR = 256, 0.2, 10.0
# From so many on tightening bounds pays; rounds of it go on while they raise the proven radius by
# this share of the cutoff.
MANY, GAIN, ROUNDS = 48, 0.02, 3
# A relaxation's optimum is followed to the network's boundary after a rest of so many times what
# the last one took.
REST = 9.0
# Seconds below which a solve is not begun, or begun again.
WORTH, WORTH_AGAIN = 0.05, 2.0

log = logging.getLogger("graphprune")


@dataclass(frozen=True)
class Scip:
    """Epsilon-form MILPs, the targets that bounds do not exclude one after the other.

    Linear programs come first: they exclude most targets and tighten the others' bounds, and what
    their duals prove is certified. SCIP runs in a process of its own. Where that fails on a target,
    is killed, or reaches its memory limit, what it had proven by then stays, and the other targets
    are solved.

    Parameters
    ----------
    encoding
        Form of unstable neurons: ``big-m``, ``indicator``, or ``auto`` by the size of M.
    form
        ``condensed``, ``layered``, or ``auto`` by a cost model.
    """

    encoding: Encoding = "auto"
    form: ProgramForm = "auto"

    name = "scip"

    def run(self, interval: DistanceInterval, resources: Resources) -> None:
        """Solve target after target; what one finds cuts the next."""
        _TargetSearch(self, interval, resources).run()


@dataclass(eq=False)
class _OpenTarget:
    """An excluded class: its margin's row, and how far it is at least."""

    row: Floats
    lower: float
    proven: float

    @property
    def label(self) -> int:
        return int(np.argmin(self.row))


class _TargetSearch:
    def __init__(self, options: Scip, interval: DistanceInterval, resources: Resources) -> None:
        self.options = options
        self.interval = interval
        self.resources = resources
        self.ball = interval.problem.query.ball(np.inf)
        self.condensed: Condensed | None = None
        self.layered: Layered | None = None
        self.targets: list[_OpenTarget] = []
        x = interval.problem.anchor.center.reshape(1, *interval.problem.network.input_shape)
        self.logits = forward64(interval.problem.network, x)[0].reshape(-1)
        self.said: set[str] = set()

    def run(self) -> None:
        interval, resources = self.interval, self.resources
        if interval.closed or resources.over:
            return
        self._prepare(interval.cutoff)
        self.targets = self._open_targets()
        waiting = self._by_relaxation(self.targets)
        # Targets stopped by their share of the time get what the others left over, once.
        for last in (False, True):
            stopped = []
            for place, target in enumerate(waiting):
                remaining = resources.remaining()
                if remaining < (WORTH_AGAIN if last else WORTH):
                    continue
                alone = last or place + 1 == len(waiting)
                share = remaining * (1.0 if alone else SHARE)
                result = self._solve(target, share, interval.cutoff)
                self._convince(target, share, result)
                if result.status == "timelimit":
                    stopped.append(target)
            waiting = stopped
        self._raise()

    def _convince(self, target: _OpenTarget, seconds: float, result: TargetResult) -> None:
        """Another look where a target's optimum did not convince the network.

        It only touches the boundary, to the solver's tolerances. A point with the margin a little
        below 0, in a ball just beyond the optimum, does convince; where pre-activations are large,
        the tolerances are as well.
        """
        interval, condensed = self.interval, self.condensed
        if condensed is None or not result.finished:
            return
        ends = [
            max(part.upper.max(), -part.lower.min())
            for part in condensed.layers
            if len(part.offset)
        ]
        outputs = np.concatenate([np.zeros(0), *(part.upper for part in condensed.layers)])
        terms = np.abs(target.row @ condensed.logits)[condensed.inputs :] * outputs
        sizes = {1.0, max([1.0, *ends]), max([1.0, *terms])}
        for strict in sorted(STRICT * size for size in sizes):
            missing = interval.cutoff - result.lower
            few = condensed.unstable <= FEWEST
            if missing <= ABSOLUTE or (not few and is_exact(result.lower, interval.cutoff)):
                return
            self._solve(target, seconds, min(interval.cutoff, result.lower * BEYOND), strict)

    def _raise(self) -> None:
        """The interval's lower end is that of the nearest target."""
        interval = self.interval
        for target in self.targets:
            if interval.refuted(target.lower, target.label):
                target.lower = target.proven
        # Without an open target the bounds alone have proven it.
        interval.raise_lower(
            min([interval.cutoff, *(t.proven for t in self.targets)]), certified=True
        )
        interval.raise_lower(
            min([interval.cutoff, *(t.lower for t in self.targets)]), certified=False
        )

    def _prove(self, target: _OpenTarget, radius: float) -> bool:
        """Write down a certified radius of a target; True: it excludes the target."""
        target.proven = max(target.proven, radius)
        target.lower = max(target.lower, radius)
        self._raise()
        return target.proven >= self.interval.cutoff

    def _open_targets(self) -> list[_OpenTarget]:
        """The targets that CROWN does not exclude, the most endangered first."""
        problem, interval = self.interval.problem, self.interval
        rows = margin_rows(problem.network, problem.anchor.label, problem.target)
        try:
            margins = linear_bounds(problem.network, Boxes.of(self.ball), self.bounds, rows)[0]
        except GraphpruneError:
            margins = np.zeros(len(rows))
        # Written so that NaN excludes nothing.
        order = [i for i in np.argsort(margins) if not margins[i] > 0]
        return [_OpenTarget(rows[i], interval.lower, interval.proven) for i in order]

    def _by_relaxation(self, targets: list[_OpenTarget]) -> list[_OpenTarget]:
        """The targets that linear relaxations do not exclude, the nearest first."""
        if self.condensed is None or self.condensed.unstable > TOO_MANY:
            return targets
        waiting = []
        until = monotonic() + min(TIGHTEN * self.resources.remaining(), LINEAR)
        for target in targets:
            self.interval.report(f"linear program for class {target.label}")
            radius = root_bound(self.condensed, self.ball, target.row, until)
            if not self._prove(target, radius):
                waiting.append(target)
        return sorted(waiting, key=lambda t: t.proven)

    def _solve(
        self, target: _OpenTarget, seconds: float, radius: float, strict: float = 0.0
    ) -> TargetResult:
        """Solve a target; bounds and points are written down as SCIP finds them.

        A much closer point ends the program: that of its ball has fewer unstable neurons.
        """
        deadline = min(monotonic() + seconds, self.resources.deadline)
        result = self._attempt(target, deadline, radius, strict)
        while result.status == "userinterrupt" and deadline - monotonic() > WORTH:
            result = self._attempt(target, deadline, self.interval.cutoff, strict)
        return result

    def _attempt(
        self, target: _OpenTarget, deadline: float, radius: float, strict: float
    ) -> TargetResult:
        """One program, to its end or until a much closer point is known."""
        interval, resources = self.interval, self.resources
        start = monotonic()
        if self._much_closer(radius):
            self._prepare(radius)
        ball = self.ball.shrunk(radius)
        condensed = self.condensed
        if condensed is not None and not strict:
            until = start + min(TIGHTEN * (deadline - start), LINEAR)
            condensed = self._tighten(target, condensed, ball, until)
            if condensed is None:
                return TargetResult(ball.radius, True, None, 0, "excluded")
        program = self._program(target, ball, condensed, strict)
        ratio = spread(program, float(target.row @ self.logits))
        nodes, point, relaxed, rested = interval.nodes, None, None, monotonic()

        def hear(heard: SolveStatus) -> bool:
            nonlocal point, relaxed, rested
            interval.nodes = nodes + heard.nodes
            if heard.point is not None and heard.point is not point:
                point = heard.point
                interval.add_candidate(point[1:], deadline=resources.deadline)
            if not strict:
                self._believe(target, min(heard.dual, ball.radius), ratio, program.ball.order)
            if heard.relaxed is not None and heard.relaxed is not relaxed:
                relaxed, now = heard.relaxed, monotonic()
                if not strict and now >= rested:
                    search_near(interval, target.label, relaxed[1:], resources.deadline)
                    rested = monotonic() + REST * (monotonic() - now)
            interval.report(f"SCIP, class {target.label}")
            return bool(strict) or not self._much_closer(interval.cutoff)

        result = solve_program(
            program, lower=float(program.lower[0]), cutoff=ball.radius, deadline=deadline,
            memory=resources.memory, hear=hear, guided=condensed is not None,
        )  # fmt: skip
        interval.nodes = nodes + result.nodes
        if not strict:
            asked = result.status == "infeasible" and ball.radius >= interval.problem.cutoff
            if asked and ratio <= TRUSTED:
                target.lower = max(target.lower, ball.radius)
            self._believe(target, result.lower, ratio, program.ball.order)
        if result.failure:
            self._warn(f"SCIP failed: {result.failure}; the interval stays what is proven")
        elif result.status == "memlimit":
            self._warn(f"SCIP stopped at its memory limit of {resources.memory >> 20} MiB")
        return result

    def _believe(self, target: _OpenTarget, bound: float, ratio: float, order: int) -> None:
        """Write down a bound of SCIP's, as far as it is good for; it is not certified."""
        worth = believed(bound, ratio, order)
        if worth > target.lower:
            target.lower = worth
            self._raise()

    def _much_closer(self, radius: float) -> bool:
        """True where new bounds on a smaller ball pay."""
        return radius < (1.0 - SMALLER) * self.ball.radius

    def _warn(self, text: str) -> None:
        """Once, however many targets it happens to."""
        if text not in self.said:
            self.said.add(text)
            log.warning(text)

    def _tighten(
        self, target: _OpenTarget, condensed: Condensed, ball: Ball, until: float
    ) -> Condensed | None:
        """Bounds by linear programs while they gain; None where they exclude the target."""
        if not MANY <= condensed.unstable <= TOO_MANY:
            return condensed
        for _ in range(ROUNDS):
            before = target.proven
            self.interval.report(f"tightening for class {target.label}")
            found = tighten(condensed, ball, target.row, until)
            if self._prove(target, found.radius):
                return None
            condensed = found.condensed
            if monotonic() > until or target.proven < before + GAIN * ball.radius:
                break
        return condensed

    def _prepare(self, radius: float) -> None:
        """The network over a ball."""
        problem = self.interval.problem
        self.ball = self.ball.shrunk(radius)
        boxes = Boxes.of(self.ball)
        self.bounds = pre_activation_bounds(problem.network, boxes)
        if sum(int(np.sum(layer.unstable)) for layer in self.bounds) <= OPTIMISED:
            self.bounds = optimised_bounds(problem.network, boxes, self.bounds)
        if not problem.network.piecewise_linear:
            self.layered = layer(problem.network, self.bounds)
            return
        self.condensed = condense(problem.network, bounds_of(self.bounds), self.ball)
        layered = layer(problem.network, self.bounds)
        form = self.options.form
        sparse = form == "layered" or (form == "auto" and prefers_layers(self.condensed, layered))
        self.layered = layered if sparse else None

    def _program(
        self, target: _OpenTarget, ball: Ball, condensed: Condensed | None, strict: float
    ) -> MixedIntegerProgram:
        """A target's program; guided by the neurons' influence and the witness where ReLU only."""
        chosen = self.layered or condensed
        assert chosen is not None
        lower = 0.0 if strict else min(target.lower, ball.radius)
        program = formulate(
            chosen, ball, target.row, lower=lower, strict=strict, encoding=self.options.encoding
        )
        if condensed is None or self.condensed is None:
            return program
        first = np.zeros(len(program.lower), np.intp)
        first[program.binaries] = priorities(self.condensed, target.row)
        start, witness = None, self.interval.witness
        mine = witness is not None and witness.target == target.label
        if witness is not None and mine and not strict and witness.distance <= ball.radius:
            x = witness.x.astype(np.float64).reshape(-1)
            start = program.solution(x, witness.distance)
        return replace(program, priority=first, start=start)
