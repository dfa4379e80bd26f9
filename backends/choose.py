"""Backends by name, and `auto`: the search first, SCIP beside it or where it cannot finish."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

from graphprune.backends.protocol import Backend, Ledger, Limits
from graphprune.backends.race import Race
from graphprune.errors import GraphpruneError, UnsupportedError, check_known

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
    check_known("solver", solver, SOLVERS)
    return Auto()


class Auto:
    """The search; SCIP goes on where the search raises or ends early, and the reverse.

    Where there are several workers, SCIP is one of them for questions that are hard and small.

    The ledger survives a backend that fails: its interval stays valid and the next one starts
    from it.
    """

    name = "auto"

    def run(self, ledger: Ledger, limits: Limits) -> None:
        """Run the backends until the ledger is closed or a limit is reached."""
        if not ledger.problem.network.piecewise_linear:
            attempt("scip", ledger, limits)
            return
        with Race(ledger, limits) as race:
            attempt("search", ledger, limits)
            race.wait()
            if race.finished:
                return
        if not ledger.closed and not limits.over:
            attempt("scip", ledger, limits)


def attempt(solver: Solver, ledger: Ledger, limits: Limits) -> None:
    """Run a backend; where it fails in its middle, what the ledger holds by then stays."""
    survive(solver, partial(backend(solver).run, ledger, limits))


def survive(name: str, run: Callable[[], None]) -> None:
    """Run a part of a backend that may fail in its middle.

    Raises
    ------
    UnsupportedError
        The backend does not know this kind of network.
    """
    try:
        run()
    except UnsupportedError:
        raise
    except (GraphpruneError, RuntimeError, MemoryError, ArithmeticError) as error:
        reason = f"{type(error).__name__}: {error}"
        log.warning("backend %s failed (%s); the interval stays what is proven", name, reason)
