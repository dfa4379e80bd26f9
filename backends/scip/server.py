"""SCIP in a process of its own: a script that solves the programs it reads from stdin.

It imports next to nothing of graphprune, so that it starts in a moment, and takes little of the
machine when it dies: of a bug of SCIP's, or of hunger (it offers itself to the kernel's killer).
Messages are pickles; what arrives is ``("solve", program, options)`` or ``("stop",)``, what leaves

    ("bound", dual bound, nodes)        the bound rose
    ("point", (n,) values)              a better solution
    ("relaxed", (n,) values)            the optimum of a node's relaxation, now and then
    ("done", status, dual bound, nodes, point or None, processor seconds)
    ("failed", message)
"""

import queue
import sys
from contextlib import suppress
from time import process_time
from typing import Any

import numpy as np
from pyscipopt import (  # type: ignore[attr-defined]
    SCIP_EVENTTYPE,
    SCIP_PARAMSETTING,
    Eventhdlr,
    Expr,
    Model,
    exp,
    quicksum,
)
from pyscipopt.scip import Term

from graphprune.runtime.process import Message, Parent

MEBI = 1 << 20
ROOT = 0.7978845608028654  # sqrt(2 / pi), of the Gelu
# Processor seconds between two relaxations whose optimum is told.
PAUSE = 0.25


class ScipWatch(Eventhdlr):
    """Tells every better bound and solution as SCIP finds it, and some relaxations' optima."""

    EVENTS = (
        SCIP_EVENTTYPE.NODESOLVED,
        SCIP_EVENTTYPE.BESTSOLFOUND,
        SCIP_EVENTTYPE.FIRSTLPSOLVED,
    )

    def __init__(self, tell: Any, variables: list[Any]) -> None:
        self.tell = tell
        self.variables = variables
        self.dual = -np.inf
        self.told = process_time()

    def eventinit(self) -> None:
        for event in self.EVENTS:
            self.model.catchEvent(event, self)

    def eventexit(self) -> None:
        for event in self.EVENTS:
            self.model.dropEvent(event, self)

    def eventexec(self, event: Any) -> None:
        kind = event.getType()
        if kind == SCIP_EVENTTYPE.BESTSOLFOUND:
            self.tell("point", values(self.model, self.variables, self.model.getBestSol()))
            return
        if kind == SCIP_EVENTTYPE.FIRSTLPSOLVED:
            if process_time() - self.told >= PAUSE:
                self.told = process_time()
                self.tell("relaxed", values(self.model, self.variables, None))
            return
        self.dual = max(self.dual, float(self.model.getDualbound()))
        self.tell("bound", self.dual, int(self.model.getNNodes()))


def values(model: Any, variables: list[Any], solution: Any) -> Any:
    """The variables in a solution; None: in the present relaxation's."""
    return np.array([model.getSolVal(solution, v) for v in variables])


def build(program: dict[str, Any]) -> tuple[Any, list[Any]]:
    """The model and its variables."""
    model = Model()
    model.hideOutput()
    lower, upper, binary = program["lower"], program["upper"], program["binary"]
    variables = [
        model.addVar(
            f"v{i}", vtype="B" if binary[i] else "C", lb=float(lower[i]), ub=float(upper[i])
        )
        for i in range(len(lower))
    ]
    terms = [Term(v) for v in variables]
    model.setObjective(variables[0], "minimize")
    indptr, indices, data = program["indptr"], program["indices"].tolist(), program["data"].tolist()
    for i, (low, high) in enumerate(zip(program["low"], program["high"], strict=True)):
        part = range(indptr[i], indptr[i + 1])
        row = Expr({terms[indices[k]]: data[k] for k in part})
        switch = int(program["switch"][i])
        if switch >= 0:
            active = bool(program["value"][i])
            model.addConsIndicator(row <= float(high), variables[switch], activeone=active)
        elif low == high:
            model.addCons(row == float(low))
        elif np.isfinite(low):
            model.addCons(row >= float(low))
        else:
            model.addCons(row <= float(high))
    if program["cone"] is not None:
        steps = [variables[i] - float(c) for i, c in zip(*program["cone"], strict=True)]
        squares = quicksum(step * step for step in steps)
        model.addCons(squares - variables[0] * variables[0] <= 0.0)
    for kind, z, h, parameter in program["curves"]:
        curve(model, kind, variables[z], variables[h], parameter)
    priority = program["priority"]
    if priority is not None:
        for variable, first in zip(variables, priority, strict=True):
            if first:
                model.chgVarBranchPriority(variable, int(first))
    if program["start"] is not None:
        start = model.createSol()
        for variable, value in zip(variables, program["start"], strict=True):
            model.setSolVal(start, variable, float(value))
        model.addSol(start)
    return model, variables


def curve(model: Any, kind: str, z: Any, h: Any, parameter: float) -> None:
    """h = sigma(z) of a smooth activation."""
    if kind == "sigmoid":
        model.addCons(h * (1 + exp(-z)) == 1)
    elif kind == "tanh":
        model.addCons((1 + h) * (1 + exp(-2 * z)) == 2)
    elif kind == "softplus":
        model.addCons(exp(h) - exp(z) == 1)
    else:
        s = model.addVar(lb=0.0, ub=1.0)
        model.addCons(s * (1 + exp(-2 * ROOT * (z + parameter * z * z * z))) == 1)
        model.addCons(h - z * s == 0)


class ScipServer:
    def __init__(self) -> None:
        self.parent = Parent()
        self.todo: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.model: Any = None
        self.stopped = False

    def hear(self, kind: str, *rest: Any) -> None:
        """A message of the parent's."""
        if kind == "stop":
            self.stopped = True
            if self.model is not None:
                self.model.interruptSolve()
        else:
            self.stopped = False
            self.todo.put(rest)

    def serve(self) -> None:
        self.parent.listen(self.hear)
        while True:
            program, options = self.todo.get()
            start = process_time()
            try:
                done = self.solve(program, options)
            except BaseException as error:
                self.parent.tell("failed", f"{type(error).__name__}: {error}")
            else:
                self.parent.tell(*done, process_time() - start)
            self.model = None

    def solve(self, program: dict[str, Any], options: dict[str, Any]) -> Message:
        model, variables = build(program)
        for part, setting in options.pop("emphasis", {}).items():
            getattr(model, f"set{part}")(getattr(SCIP_PARAMSETTING, setting))
        for name, value in options.items():
            model.setParam(name, value)
        watch = ScipWatch(self.parent.tell, variables[: program["inputs"] + 1])
        model.includeEventhdlr(watch, "watch", "tells bounds and solutions")
        self.model = model
        if self.stopped:
            return ("done", "userinterrupt", -np.inf, 0, None)
        # Without the GIL, so that "stop" is heard.
        model.optimizeNogil()
        found = model.getNSols() > 0
        point = values(model, watch.variables, model.getBestSol()) if found else None
        dual, nodes = float(model.getDualbound()), int(model.getNNodes())
        return ("done", str(model.getStatus()), dual, nodes, point)


def confine(memory: int) -> None:
    """At most `memory` bytes more than now; and the first to go where the machine has none."""
    with suppress(OSError, ImportError, ValueError), open("/proc/self/oom_score_adj", "w") as f:
        f.write("800")
    with suppress(OSError, ImportError, ValueError):
        import resource

        with open("/proc/self/statm") as f:
            now = int(f.read().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = now + memory
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


if __name__ == "__main__":
    server = ScipServer()
    confine(int(sys.argv[1]))
    server.serve()
