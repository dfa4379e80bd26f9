"""The reference backend: one MILP per target on SCIP."""

import logging
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.condensed import Condensed, bounds_of, condense
from graphprune.backends.protocol import Ledger, Limits
from graphprune.backends.scip.formulate import Layered, formulate, layer
from graphprune.backends.scip.process import Heard
from graphprune.backends.scip.solve import TargetResult, solve_program
from graphprune.errors import GraphpruneError
from graphprune.ir import Ball
from graphprune.passes.analysis.bounds import Boxes, linear_bounds, pre_activation_bounds
from graphprune.passes.analysis.certify import margin_rows

Floats = NDArray[np.float64]

# The share of the time that is left which a target may use while others wait.
SHARE = 0.6
# The ball of a second look, as a multiple of the optimum found.
BEYOND = 1.01
# The margin asked for then.
STRICT = 3e-6
# Seconds below which a solve is not begun, or begun again.
WORTH, WORTH_AGAIN = 0.05, 2.0

log = logging.getLogger("graphprune")


class Scip:
    """Epsilon-form MILPs, the targets that bounds do not exclude one after the other.

    SCIP runs in a process of its own. Where that fails on a target, is killed, or reaches its
    memory limit, what it had proven by then stays, and the other targets are solved.
    """

    name = "scip"

    def run(self, ledger: Ledger, limits: Limits) -> None:
        """Solve target after target; what one finds cuts the next."""
        _Targets(ledger, limits).run()


class _Targets:
    def __init__(self, ledger: Ledger, limits: Limits) -> None:
        self.ledger = ledger
        self.limits = limits
        self.anchor = ledger.problem.anchor.x.astype(np.float64)
        self.ball = Ball(self.anchor, np.inf, ledger.problem.domain)
        self.network: Condensed | Layered | None = None
        self.rows: list[Floats] = []
        self.lowers: list[float] = []
        self.said: set[str] = set()

    def run(self) -> None:
        ledger, limits = self.ledger, self.limits
        if ledger.closed or limits.over:
            return
        self.rows = self._open_targets()
        self.lowers = [ledger.lower] * len(self.rows)
        waiting = list(range(len(self.rows)))
        # Targets stopped by their share of the time get what the others left over, once.
        for last in (False, True):
            stopped = []
            for place, index in enumerate(waiting):
                remaining = limits.remaining()
                if remaining < (WORTH_AGAIN if last else WORTH):
                    continue
                alone = last or place + 1 == len(waiting)
                share = remaining * (1.0 if alone else SHARE)
                result = self._solve(index, share, ledger.cutoff)
                linear = ledger.problem.network.piecewise_linear
                if linear and result.finished and result.lower < ledger.cutoff:
                    # Its point did not convince the network: it only touches the boundary. One
                    # with the margin a little below 0, in a ball just beyond the optimum, does.
                    radius = min(ledger.cutoff, result.lower * BEYOND)
                    self._solve(index, share, radius, STRICT)
                if result.status == "timelimit":
                    stopped.append(index)
            waiting = stopped
        self._raise()

    def _raise(self) -> None:
        """The interval's lower end is that of the nearest target."""
        # Without an open target the bounds alone have proven it.
        lower = min([self.ledger.cutoff, *self.lowers])
        self.ledger.raise_lower(lower, certified=not self.rows)

    def _solve(
        self, index: int, seconds: float, radius: float, strict: float = 0.0
    ) -> TargetResult:
        """Solve a target; bounds and points are written down as SCIP finds them."""
        ledger, limits = self.ledger, self.limits
        deadline = min(monotonic() + seconds, limits.deadline)
        if self.network is None or radius < self.ball.radius:
            self._prepare(radius)
        assert self.network is not None
        lower = ledger.lower
        program = formulate(self.network, self.ball, self.rows[index], lower=lower, strict=strict)
        nodes, point = ledger.nodes, None

        def hear(heard: Heard) -> None:
            nonlocal point
            ledger.nodes = nodes + heard.nodes
            if heard.point is not None and heard.point is not point:
                point = heard.point
                ledger.offer(point[1:], deadline=limits.deadline)
            if not strict and heard.dual > self.lowers[index]:
                self.lowers[index] = min(heard.dual, self.ball.radius)
                self._raise()
            ledger.tell(f"SCIP, target {index + 1} of {len(self.rows)}")

        result = solve_program(
            program, lower=lower, cutoff=self.ball.radius, deadline=deadline,
            memory=limits.memory, hear=hear,
        )  # fmt: skip
        ledger.nodes = nodes + result.nodes
        if not strict:
            self.lowers[index] = max(self.lowers[index], result.lower)
        if result.failure:
            self._warn(f"SCIP failed: {result.failure}; the interval stays what is proven")
        elif result.status == "memlimit":
            self._warn(f"SCIP stopped at its memory limit of {limits.memory >> 20} MiB")
        return result

    def _warn(self, text: str) -> None:
        """Once, however many targets it happens to."""
        if text not in self.said:
            self.said.add(text)
            log.warning(text)

    def _prepare(self, radius: float) -> None:
        """The network over a ball."""
        problem = self.ledger.problem
        self.ball = Ball(self.anchor, radius, problem.domain)
        layers = pre_activation_bounds(problem.network, Boxes.of(self.ball))
        if problem.network.piecewise_linear:
            self.network = condense(problem.network, bounds_of(layers), self.ball)
        else:
            self.network = layer(problem.network, layers)

    def _open_targets(self) -> list[Floats]:
        """Margin rows of the targets that CROWN does not exclude, the most endangered first."""
        problem = self.ledger.problem
        rows = margin_rows(problem.network, problem.anchor.label)
        boxes = Boxes.of(Ball(self.anchor, self.ledger.cutoff, problem.domain))
        try:
            layers = pre_activation_bounds(problem.network, boxes)
            margins = linear_bounds(problem.network, boxes, layers, rows)[0]
        except GraphpruneError:
            return list(rows)
        return [rows[i] for i in np.argsort(margins) if margins[i] <= 0]
