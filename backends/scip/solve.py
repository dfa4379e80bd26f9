"""One target's program on SCIP."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.condensed import Condensed
from graphprune.backends.scip import process
from graphprune.backends.scip.formulate import Layered, formulate
from graphprune.backends.scip.process import Listener, ScipOptions, SolveStatus
from graphprune.backends.scip.program import Encoding, MixedIntegerProgram
from graphprune.backends.scip.scaling import TOLERANCE, scaled
from graphprune.region import Ball
from graphprune.runtime.resources import Resources

Floats = NDArray[np.float64]

# SCIP's parameters. Its tolerances bound how far its answers are from the program's.
OPTIONS: ScipOptions = {
    "timing/clocktype": 2,
    "numerics/feastol": TOLERANCE,
    "numerics/dualfeastol": TOLERANCE,
    "limits/gap": 2e-5,
    "misc/catchctrlc": False,
}
# Guided solves with up to so many binaries add these. The attack has found the solution or nearly,
# and bounds are tight: heuristics, presolving and rounds of cuts cost more than the nodes they
# save. With more binaries each of SCIP's defaults pays.
FEW_BINARIES = 64
GUIDED = {"Heuristics": "OFF", "Presolve": "FAST", "Separating": "FAST"}
# So few are solved to the last digits.
FEWEST = 12
PULSE = 0.5


@dataclass(frozen=True, eq=False)
class TargetResult:
    """SCIP's answer about one target.

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
        SCIP's own word; ``excluded`` where it was not asked; ``failed`` where its process
        ended without one.
    failure
        The cause of that; `lower` is what it had proven by then.
    """

    lower: float
    finished: bool
    point: Floats | None
    nodes: int
    status: str
    failure: str = ""


def solve_target(
    problem: Condensed | Layered,
    ball: Ball,
    row: Floats,
    *,
    lower: float,
    resources: Resources,
    exact: Sequence[NDArray[np.bool_]] | None = None,
    encoding: Encoding = "auto",
) -> TargetResult:
    """Solve the program of one target (see :func:`formulate`) below the ball's radius.

    Parameters
    ----------
    problem
        The network over `ball`: condensed, or layered.
    ball
        Its radius is the cutoff: a closer point is sought.
    resources
        Deadline (building the model counts), SCIP's memory, progress.

    Raises
    ------
    KeyboardInterrupt
        Passed on after SCIP was stopped.
    """
    if resources.over:
        return TargetResult(lower, False, None, 0, "timelimit")
    program = formulate(problem, ball, row, lower=lower, exact=exact, encoding=encoding)
    told = monotonic()

    def hear(heard: SolveStatus) -> bool:
        nonlocal told
        if monotonic() - told > PULSE:
            told = monotonic()
            resources.progress(f"SCIP lower {max(heard.dual, lower):.5f}, {heard.nodes} nodes")
        return True

    return solve_program(
        program, lower=lower, cutoff=ball.radius, deadline=resources.deadline,
        memory=resources.memory, hear=hear,
    )  # fmt: skip


def solve_program(
    program: MixedIntegerProgram,
    *,
    lower: float,
    cutoff: float,
    deadline: float,
    memory: int,
    hear: Listener,
    guided: bool = False,
) -> TargetResult:
    """Solve a program whose optimum is between `lower` and `cutoff`, or that has none.

    Parameters
    ----------
    hear
        Told how far SCIP is; whether it is to go on.
    guided
        SCIP is set to prove: a close solution is known.
    """
    remaining = deadline - monotonic()
    if remaining <= 0:
        return TargetResult(lower, False, None, 0, "timelimit")
    options = OPTIONS | {"limits/time": min(remaining, 1e20)}
    if guided:
        if len(program.binaries) <= FEW_BINARIES:
            options["emphasis"] = GUIDED
        if len(program.binaries) <= FEWEST:
            options["limits/gap"] = 0.0
    heard = process.solve(scaled(program), options, deadline=deadline, memory=memory, hear=hear)
    point = None if heard.point is None else heard.point[1:]
    if heard.status == "infeasible":
        return TargetResult(cutoff, True, None, heard.nodes, heard.status)
    finished = heard.status in ("optimal", "gaplimit")
    bound = float(np.clip(heard.dual, lower, cutoff))
    return TargetResult(bound, finished, point, heard.nodes, heard.status, heard.failure)
