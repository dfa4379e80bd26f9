"""Backends by name, and `auto`: the search first, SCIP where it fails or cannot finish."""

import logging
from typing import Literal, get_args

from graphprune.backends.protocol import Backend, Ledger, Limits
from graphprune.errors import GraphpruneError, UnsupportedError

Solver = Literal["auto", "scip", "search"]
SOLVERS: tuple[Solver, ...] = get_args(Solver)

log = logging.getLogger("graphprune")


def backend(solver: Solver) -> Backend:
    """The backend of a name; imported only when it is asked for."""
    if solver == "search":
        from graphprune.backends.search import Search

        return Search()
    if solver == "scip":
        from graphprune.backends.scip import Scip

        return Scip()
    return Auto()


class Auto:
    """The search; SCIP goes on where the search raises or ends early, and the reverse.

    The ledger survives a backend that fails: its interval stays valid and the next one starts
    from it.
    """

    name = "auto"

    def run(self, ledger: Ledger, limits: Limits) -> None:
        """Run the backends in order until the ledger is closed or a limit is reached."""
        linear = ledger.problem.network.piecewise_linear
        order: tuple[Solver, ...] = ("search", "scip") if linear else ("scip",)
        for solver in order:
            if limits.over or (ledger.closed and solver != order[0]):
                return
            try:
                backend(solver).run(ledger, limits)
            except UnsupportedError:
                raise
            except (GraphpruneError, RuntimeError, MemoryError, ArithmeticError) as error:
                log.warning("backend %s failed: %s", solver, error)
