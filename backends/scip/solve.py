"""The epsilon-form MILP of one target: min radius such that f_t(x) >= f_y(x).

Tjeng et al. 2019 (MIPVerify), with the radius itself as the objective: x within [x0 - e, x0 + e]
and the box, one binary per unstable neuron, big-M from certified bounds.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.condensed import Condensed
from graphprune.backends.scip.layered import Layered, constrain
from graphprune.ir import Ball
from graphprune.progress import Progress, quiet

Floats = NDArray[np.float64]

# Rows keep entries above this share of their largest one times the box: solver noise below it.
DROP = 1e-13


@dataclass(frozen=True, eq=False)
class TargetResult:
    """What SCIP says about one target.

    Attributes
    ----------
    lower
        Dual bound on the distance to this target; rests on SCIP's numerics.
    finished
        SCIP proved `lower` to be the optimum, or that no better point than the cutoff exists.
    point
        The best point found (flat input), or None.
    nodes
        Branch-and-bound nodes.
    status
        SCIP's own word.
    """

    lower: float
    finished: bool
    point: Floats | None
    nodes: int
    status: str


def solve_target(
    problem: Condensed | Layered,
    ball: Ball,
    row: Floats,
    *,
    lower: float,
    time_limit: float,
    strict: float = 0.0,
    exact: Sequence[NDArray[np.bool_]] | None = None,
    progress: Progress = quiet,
) -> TargetResult:
    """Minimise the radius at which the margin `row` . logits can reach 0, below the ball's radius.

    Parameters
    ----------
    problem
        The network over `ball`: condensed, or layered where it has smooth activations.
    ball
        Its radius is the cutoff: a closer point is sought.
    row
        (classes,) e_y - e_t.
    lower
        A proven lower bound of the distance.
    strict
        The margin must reach minus this.
    time_limit
        Seconds, building the model included.
    exact
        Per layer of a condensed problem, the neurons whose ReLU is modelled; the others keep the
        triangle between their bounds, so the result is a lower bound. None: all of them.

    Raises
    ------
    KeyboardInterrupt
        Passed on after SCIP was told to stop.
    """
    deadline = monotonic() + time_limit
    if time_limit <= 0:
        return TargetResult(lower, False, None, 0, "timelimit")
    model, variables = _build(problem, ball, row, lower, strict, exact)
    remaining = deadline - monotonic()
    if remaining <= 0:
        return TargetResult(lower, False, None, 0, "timelimit")
    model.setParam("limits/time", min(remaining, 1e20))
    dual = _run(model, deadline, lower, progress)
    status = str(model.getStatus())
    nodes = int(model.getNNodes())
    solution = model.getBestSol() if model.getNSols() else None
    point = None
    if solution is not None:
        point = np.array([model.getSolVal(solution, v) for v in variables])
    if status == "infeasible":
        return TargetResult(ball.radius, True, None, nodes, status)
    finished = status in ("optimal", "gaplimit")
    bound = float(model.getDualbound()) if finished else max(dual, float(model.getDualbound()))
    return TargetResult(float(np.clip(bound, lower, ball.radius)), finished, point, nodes, status)


def _run(model: Any, deadline: float, lower: float, progress: Progress) -> float:
    """Solve in a thread without the GIL, so that Ctrl-C and the clock are heard; the dual bound."""
    from pyscipopt import SCIP_EVENTTYPE, Eventhdlr  # type: ignore[attr-defined]

    best = {"dual": lower, "nodes": 0}

    class Watch(Eventhdlr):
        def eventinit(self) -> None:
            self.model.catchEvent(SCIP_EVENTTYPE.NODESOLVED, self)

        def eventexit(self) -> None:
            self.model.dropEvent(SCIP_EVENTTYPE.NODESOLVED, self)

        def eventexec(self, event: Any) -> None:
            best["nodes"] += 1
            best["dual"] = max(best["dual"], float(self.model.getDualbound()))

    model.includeEventhdlr(Watch(), "watch", "records the dual bound")
    failure: list[BaseException] = []

    def solve() -> None:
        try:
            model.optimizeNogil()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=solve, daemon=True)
    thread.start()
    told = monotonic()
    try:
        while thread.is_alive():
            thread.join(0.05)
            now = monotonic()
            if now > deadline + 0.5:
                model.interruptSolve()
            if now - told > 0.5:
                told = now
                progress(f"SCIP lower {best['dual']:.5f}, {best['nodes']} nodes")
    except KeyboardInterrupt:
        model.interruptSolve()
        thread.join(1.0)
        raise
    if failure:
        raise RuntimeError(f"SCIP failed: {failure[0]}") from failure[0]
    return float(best["dual"])


def _build(
    problem: Condensed | Layered, ball: Ball, row: Floats, lower: float, strict: float,
    exact: Sequence[NDArray[np.bool_]] | None,
) -> tuple[Any, list[Any]]:  # fmt: skip
    """The model and its input variables."""
    from pyscipopt import Model

    model = Model()
    model.hideOutput()
    model.setParam("timing/clocktype", 2)
    model.setParam("numerics/feastol", 1e-7)
    model.setParam("numerics/dualfeastol", 1e-7)
    model.setParam("limits/gap", 2e-5)
    model.setParam("misc/catchctrlc", False)
    center, low, high = (a.reshape(-1) for a in (ball.center, ball.lower, ball.upper))
    radius = model.addVar("radius", lb=lower, ub=ball.radius)
    model.setObjective(radius, "minimize")
    x = [model.addVar(f"x{i}", lb=low[i], ub=high[i]) for i in range(len(center))]
    for i, v in enumerate(x):
        # The radius only matters where the box leaves room for it.
        if high[i] > center[i]:
            model.addCons(v - radius <= center[i])
        if low[i] < center[i]:
            model.addCons(v + radius >= center[i])
    if isinstance(problem, Layered):
        constrain(model, x, row, problem)
    else:
        _condensed(model, x, row, problem, strict, exact)
    return model, x


def _condensed(
    model: Any, x: list[Any], row: Floats, condensed: Condensed, strict: float,
    exact: Sequence[NDArray[np.bool_]] | None,
) -> None:  # fmt: skip
    """The condensed ReLU network over the variables `x`, and that `row` . logits is at most 0."""
    from pyscipopt import Expr
    from pyscipopt.scip import Term

    basis = list(x)

    def affine(columns: NDArray[np.integer], weights: Floats) -> Any:
        keep = np.flatnonzero(np.abs(weights) > DROP * np.max(np.abs(weights), initial=0.0))
        return Expr({Term(basis[columns[k]]): float(weights[k]) for k in keep})

    for number, layer in enumerate(condensed.layers):
        new = []
        for i in range(len(layer.offset)):
            name = f"{number}_{i}"
            low_z, high_z = float(layer.lower[i]), float(layer.upper[i])
            z = model.addVar(f"z{name}", lb=low_z, ub=high_z)
            h = model.addVar(f"h{name}", lb=0.0, ub=high_z)
            whole = exact is None or exact[number][i]
            a = model.addVar(f"a{name}", vtype="B" if whole else "C", lb=0.0, ub=1.0)
            part = slice(layer.rows.indptr[i], layer.rows.indptr[i + 1])
            terms = affine(layer.rows.indices[part], layer.rows.data[part])
            model.addCons(terms - z == -float(layer.offset[i]))
            model.addCons(h - z >= 0)
            model.addCons(h - z - low_z * a <= -low_z)
            model.addCons(h - high_z * a <= 0)
            new.append(h)
        basis += new
    margin = affine(np.arange(condensed.basis), row @ condensed.logits)
    model.addCons(margin <= -float(row @ condensed.offset) - strict)
