"""The reference backend: one MILP per target on SCIP."""

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.condensed import Condensed, bounds_of, condense
from graphprune.backends.protocol import Ledger, Limits
from graphprune.backends.scip.layered import Layered, layer
from graphprune.backends.scip.solve import TargetResult, solve_target
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


class Scip:
    """Epsilon-form MILPs, the targets that bounds do not exclude one after the other."""

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
        self.condensed: Condensed | Layered | None = None

    def run(self) -> None:
        ledger, limits = self.ledger, self.limits
        if ledger.closed or limits.over:
            return
        open_targets = self._open_targets()
        lowers = [ledger.lower] * len(open_targets)
        waiting = list(range(len(open_targets)))
        # Targets stopped by their share of the time get what the others left over, once.
        for last in (False, True):
            stopped = []
            for place, index in enumerate(waiting):
                remaining = limits.remaining()
                if remaining < 0.05 or (last and remaining < 2.0):
                    continue
                alone = last or place + 1 == len(waiting)
                share = remaining * (1.0 if alone else SHARE)
                result = self._solve(open_targets[index], share, ledger.cutoff)
                linear = ledger.problem.network.piecewise_linear
                if linear and result.finished and result.lower < ledger.cutoff:
                    # Its point did not convince the network: it only touches the boundary. One
                    # with the margin a little below 0, in a ball just beyond the optimum, does.
                    radius = min(ledger.cutoff, result.lower * BEYOND)
                    self._solve(open_targets[index], share, radius, STRICT)
                lowers[index] = max(lowers[index], result.lower)
                if not result.finished:
                    stopped.append(index)
            waiting = stopped
        lower = min([ledger.cutoff, *lowers])
        # Without an open target the bounds alone have proven it.
        ledger.raise_lower(lower, certified=not open_targets)

    def _solve(
        self, row: Floats, seconds: float, radius: float, strict: float = 0.0
    ) -> TargetResult:
        ledger = self.ledger
        before = self.limits.remaining()
        if self.condensed is None or radius < self.ball.radius:
            problem = ledger.problem
            self.ball = Ball(self.anchor, radius, problem.domain)
            layers = pre_activation_bounds(problem.network, Boxes.of(self.ball))
            if problem.network.piecewise_linear:
                self.condensed = condense(problem.network, bounds_of(layers), self.ball)
            else:
                self.condensed = layer(problem.network, layers)
        used = before - self.limits.remaining() if np.isfinite(before) else 0.0
        result = solve_target(
            self.condensed, self.ball, row,
            lower=ledger.lower, strict=strict, time_limit=seconds - used, progress=ledger.progress,
        )  # fmt: skip
        ledger.nodes += result.nodes
        if result.point is not None:
            ledger.offer(result.point, deadline=self.limits.deadline)
        return result

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
