"""Exact backends by name: a registry, and `auto`, which takes the search first and SCIP after it.

Other distributions add theirs by the entry points ``graphprune.solvers``.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from graphprune.backends.branching import BRANCHING
from graphprune.backends.protocol import Backend, DistanceInterval
from graphprune.backends.race import Race
from graphprune.errors import GraphpruneError, UnsupportedError, check_known
from graphprune.ir.network import Network, jumps, operator
from graphprune.plugins import Registry
from graphprune.runtime.resources import Resources

log = logging.getLogger("graphprune")

# Functions that make each backend; heavy ones are imported only when they are asked for.
_SOLVERS: Registry[Callable[[], Backend]] = Registry("solver", "graphprune.solvers")


def register_solver(name: str, make: Callable[[], Backend]) -> None:
    """Make an exact backend known by a name.

    Raises
    ------
    PluginError
        Another backend has the name.
    """
    _SOLVERS.add(name, make)


def solvers() -> tuple[str, ...]:
    """The names of every exact backend, third-party ones last."""
    # The first rule is the search's own, and that of `search`.
    _, *rules = BRANCHING.known()
    return (*_SOLVERS.known(), *(f"search:{rule}" for rule in rules))


def backend(solver: str) -> Backend:
    """The backend of a name.

    Raises
    ------
    GraphpruneError
        There is none; the message names the nearest one.
    """
    check_known("solver", solver, solvers())
    name, _, rule = solver.partition(":")
    return _search_with(rule) if name == "search" and rule else _SOLVERS[solver]()


class AutoSolver:
    """The search; SCIP goes on where the search raises or ends early, and the reverse.

    Where there are several workers, SCIP is one of them for questions that are hard and small.

    The interval survives a backend that fails: its interval stays valid and the next one starts
    from it.
    """

    name = "auto"

    def run(self, interval: DistanceInterval, resources: Resources) -> None:
        """Run the backends until the interval is closed or a limit is reached."""
        if not interval.problem.network.piecewise_linear:
            refused = []
            for solver in ("search", "scip"):
                if not interval.closed and not resources.over:
                    try:
                        attempt(solver, interval, resources)
                    except UnsupportedError as error:
                        refused.append(str(error))
            if len(refused) == 2:
                log.warning(
                    "the interval is that of attack and certificate: %s", "; ".join(refused)
                )
            return
        if _by_halving(interval):
            attempt("search", interval, resources)
            return
        with Race(interval, resources) as race:
            attempt("search", interval, resources)
            race.wait()
            if race.finished:
                return
        if not interval.closed and not resources.over:
            attempt("scip", interval, resources)


class BranchAndBound:
    """The search over phases of neurons of ReLU networks; of others over boxes of the input where
    few of these may change, and over ranges of pre-activations elsewhere."""

    name = "search"

    def run(self, interval: DistanceInterval, resources: Resources) -> None:
        """Run the search that knows the network."""
        if _by_halving(interval):
            from graphprune.backends.boxes import BoxSearch

            _say_of_jumps(interval.problem.network)
            BoxSearch().run(interval, resources)
        elif interval.problem.network.piecewise_linear:
            from graphprune.backends.search import Search

            Search().run(interval, resources)
        else:
            from graphprune.backends.ranges import RangeSearch

            _say_of_jumps(interval.problem.network)
            RangeSearch().run(interval, resources)


def _say_of_jumps(network: Network) -> None:
    """Warn where a distance is an infimum."""
    node = next((a for a in network.activations if jumps(operator(a))), None)
    if node is not None:
        log.warning(
            "node '%s' (%s) jumps: a distance is an infimum, the points at it need not be"
            " adversarial", node.name, type(operator(node)).__name__,
        )  # fmt: skip


def _by_halving(interval: DistanceInterval) -> bool:
    if interval.problem.network.piecewise_linear and interval.problem.network.source.entry is None:
        return False  # the box search is imported only where it may be needed
    from graphprune.backends.boxes import by_halving

    return by_halving(interval.problem.query)


def _search_with(rule: str) -> Backend:
    from graphprune.backends.search import Search
    from graphprune.backends.search.settings import DEFAULT

    return Search(replace(DEFAULT, tree=replace(DEFAULT.tree, rule=BRANCHING[rule]())))


def _scip() -> Backend:
    from graphprune.backends.scip import Scip

    return Scip()


register_solver("auto", AutoSolver)
register_solver("scip", _scip)
register_solver("search", BranchAndBound)


def attempt(solver: str, interval: DistanceInterval, resources: Resources) -> None:
    """Run a backend; where it fails in its middle, what the interval holds by then stays."""
    survive(solver, partial(backend(solver).run, interval, resources))


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
