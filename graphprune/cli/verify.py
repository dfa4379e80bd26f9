"""``verify``: decide a VNN-LIB property of a network."""

import os
import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from graphprune.cli.options import JsonLines, Provider, Quiet, Seed, Verbose, be_verbose, positive
from graphprune.cli.progress import Events, Line

if TYPE_CHECKING:
    from graphprune.backends.verify import Counterexample, Verdict

# Seconds past the limit after which the answer is given from outside the computation.
GRACE = 0.5


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def verify(
        model: Annotated[str, typer.Argument(metavar="MODEL", help="ONNX file.")],
        prop: Annotated[
            str, typer.Argument(metavar="PROPERTY", help="VNN-LIB file (.vnnlib, .vnnlib.gz).")
        ],
        time_limit: Annotated[
            float | None, typer.Option("--timeout", "--time-limit", help="Seconds in all.")
        ] = None,
        seed: Seed = 0,
        threads: Annotated[
            int, typer.Option("--threads", min=1, help="Of ONNX Runtime and SCIP.")
        ] = 1,
        provider: Provider = "auto",
        json_lines: JsonLines = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> int:
        """Is there an input of the property's boxes with an unsafe output?

        The first line of stdout is the verdict alone: sat (a counterexample follows, in the
        format of VNN-COMP), unsat (proven), unknown or timeout; the exit code is 0 for each.
        With --json-lines the verdict is the last event instead.
        """
        be_verbose(verbose)
        limit = positive("--timeout", time_limit) or float("inf")
        watch = Events() if json_lines else Line(quiet=quiet, limit=limit)
        watchdog = _Watchdog(limit + GRACE, lambda: _late(watch))
        try:
            with watch:
                verdict = _decide(model, prop, watchdog, watch, seed, threads, provider)
        finally:
            watchdog.disarm()
        if isinstance(watch, Events):
            watch.end(**_record(verdict))
            return 0
        print(verdict.answer)
        if verdict.point is not None:
            print(counterexample(verdict.point))
        if not quiet and (verbose or verdict.reason):
            reason = f": {verdict.reason}" if verdict.reason else ""
            print(
                f"graphprune: {verdict.answer}{reason}"
                f" ({verdict.nodes} nodes, {verdict.seconds:.2f} s)",
                file=sys.stderr,
            )
        return 0


def _decide(
    model: str, prop: str, watchdog: "_Watchdog", watch: Events | Line, seed: int, threads: int,
    provider: str,
) -> "Verdict":  # fmt: skip
    watch.doing("loading")
    from graphprune.backends.verify import answerable
    from graphprune.backends.verify import verify as decide
    from graphprune.canonical import load
    from graphprune.cli.options import one_of
    from graphprune.runtime.resources import Resources, using
    from graphprune.vnnlib import read_property

    one_of("--provider", provider, ("auto", "cpu", "cuda"))
    with using(Resources(provider=provider, threads=threads)):  # type: ignore[arg-type]
        question, network = read_property(prop), load(model)
        if not answerable(network, question):
            network = load(model, whole=True)
        return decide(network, question, time_limit=watchdog.left, seed=seed, progress=watch.doing)


def _late(watch: Events | Line) -> None:
    """The answer when the limit has passed and nobody heard it."""
    watch.close()
    if isinstance(watch, Events):
        watch.end(verdict="timeout", x=None, y=None, nodes=None, seconds=None, reason="")
    else:
        print("timeout", flush=True)


def _record(verdict: "Verdict") -> dict[str, object]:
    """The event of a verdict."""
    point = verdict.point
    return {
        "verdict": verdict.answer,
        "x": None if point is None else point.x.tolist(),
        "y": None if point is None else point.y.tolist(),
        "nodes": verdict.nodes,
        "seconds": verdict.seconds,
        "reason": verdict.reason,
    }


def counterexample(point: "Counterexample") -> str:
    """The format of VNN-COMP: ``((X_0 0.5) ... (Y_0 1.25))``, one variable a line."""
    pairs = [f"(X_{i} {float(v)!r})" for i, v in enumerate(point.x)]
    pairs += [f"(Y_{j} {float(v)!r})" for j, v in enumerate(point.y)]
    return "(" + "\n ".join(pairs) + ")"


class _Watchdog:
    """Gives the answer `late` and ends the process when the computation does not hear the clock.

    Loading, compiling and single calls of libraries cannot be interrupted from inside.
    """

    def __init__(self, seconds: float, late: Callable[[], None]) -> None:
        self._late = late
        self._deadline = monotonic() + seconds - GRACE
        self._lock = threading.Lock()
        self._over = False
        self._timer: threading.Timer | None = None
        if seconds < threading.TIMEOUT_MAX:
            self._timer = threading.Timer(seconds, self._bite)
            self._timer.daemon = True
            self._timer.start()

    @property
    def left(self) -> float:
        """Seconds until the limit."""
        return max(self._deadline - monotonic(), 0.0)

    def disarm(self) -> None:
        """From here on the answer is the computation's to give."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._over = True

    def _bite(self) -> None:
        with self._lock:
            if self._over:
                return
            self._late()
            os._exit(0)
