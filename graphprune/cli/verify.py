"""``verify``: decide a VNN-LIB property of a network."""

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import typer

from graphprune.cli.evaluate import EvaluateOptions
from graphprune.cli.options import be_verbose
from graphprune.cli.parameters import command
from graphprune.cli.progress import Events, Line
from graphprune.cli.verify_many import decide_many, property_files
from graphprune.cli.verify_worker import Decider
from graphprune.errors import GraphpruneError
from graphprune.evaluate.duration import parse_duration
from graphprune.evaluate.option import again, option
from graphprune.evaluate.settings import FIX_SHAPE, Settings

if TYPE_CHECKING:
    from graphprune.backends.verify import Counterexample

# Seconds past the limit after which the answer is given from outside the computation.
GRACE = 0.5


@dataclass(frozen=True)
class VerifyOptions:
    """The command line of `verify`."""

    model: str = field(metadata=option("ONNX file.", metavar="MODEL"))
    properties: list[str] = field(
        metadata=option(
            "VNN-LIB files (.vnnlib, .vnnlib.gz), or folders of them.", metavar="PROPERTY..."
        )
    )
    time_limit: float | None = field(
        default=None,
        metadata=option(
            "For each property, loading included: seconds, or 10s, 2m, 1h.",
            "--timeout",
            "--time-limit",
            check="positive",
            metavar="SECONDS",
            parse=parse_duration,
        ),
    )
    jobs: int = field(
        default=1, metadata=option("Properties decided at a time, of several.", "--jobs", least=1)
    )
    output: str | None = again(
        Settings,
        "output",
        help="Output that Y stands for; default: the only float one, or all in order if they fit.",
    )
    fix_shape: list[str] | None = field(default=None, metadata=FIX_SHAPE)
    threat: str | None = again(
        Settings,
        "threat",
        help="Units of the property: normalise{mean=.. std=..} where the file takes normalised"
        " inputs and X is raw.",
    )
    save_images: str | None = field(
        default=None,
        metadata=option(
            "Write counterexamples here as PNG, where the input is an image.", "--save-images",
            metavar="DIR",
        ),
    )  # fmt: skip
    seed: int = again(Settings, "seed")
    threads: int = again(Settings, "threads", help="Of ONNX Runtime and SCIP.")
    provider: str = again(Settings, "provider")
    json_lines: bool = again(EvaluateOptions, "json_lines")
    quiet: bool = again(EvaluateOptions, "quiet")
    verbose: bool = again(EvaluateOptions, "verbose")


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, VerifyOptions, verify)


def verify(options: VerifyOptions) -> int:
    """Is there an input of the property's boxes with an unsafe output?

    The first line of stdout is the verdict alone: sat (a counterexample follows, in the
    format of VNN-COMP), unsat (proven), unknown or timeout; the exit code is 0 for each.
    With --json-lines the verdict is the last event instead.

    Several properties, or folders, end in a table on stdout: verdict, seconds and file, a line
    each (with --json-lines an event each); the exit code is 0 where all have a verdict, 2
    where a file could not be read, 130 after Ctrl-C, which keeps what is finished.
    """
    be_verbose(options.verbose)
    limit = options.time_limit or float("inf")
    files = property_files(options.properties)
    if len(files) > 1 or files != options.properties:
        return _many(options, files, limit)
    if options.jobs > 1:
        raise GraphpruneError("--jobs changes nothing: there is one property")
    watch = Events() if options.json_lines else Line(quiet=options.quiet, limit=limit)
    watchdog = _Watchdog(limit + GRACE, lambda: _late(watch))
    try:
        with watch:
            watch.doing("loading")
            decider = Decider(_asked(options))
            verdict = decider.decide(files[0], lambda: watchdog.left, watch.doing)
    finally:
        watchdog.disarm()
    if isinstance(watch, Events):
        from graphprune.backends.verify import record_of

        watch.end(**record_of(verdict))
        return 0
    print(verdict.answer)
    if verdict.point is not None:
        print(counterexample(verdict.point))
    if not options.quiet and (options.verbose or verdict.reason):
        reason = f": {verdict.reason}" if verdict.reason else ""
        print(
            f"graphprune: {verdict.answer}{reason}"
            f" ({verdict.nodes} nodes, {verdict.seconds:.2f} s)",
            file=sys.stderr,
        )
    return 0


def _many(options: VerifyOptions, files: list[str], limit: float) -> int:
    """Decide several properties in worker processes."""
    if not Path(options.model).is_file():
        raise GraphpruneError(f"{options.model}: no such file")
    watch = Events() if options.json_lines else Line(quiet=options.quiet)
    return decide_many(files, _asked(options), limit, options.jobs, watch)


def _asked(options: VerifyOptions) -> dict[str, Any]:
    """The options that decide a verdict, as a `Decider` takes them."""
    return {
        "model": options.model, "output": options.output, "fix_shape": options.fix_shape or [],
        "save_images": options.save_images, "seed": options.seed, "threads": options.threads,
        "provider": options.provider, "threat": options.threat,
    }  # fmt: skip


def _late(watch: Events | Line) -> None:
    """The answer when the limit has passed and nobody heard it."""
    watch.close()
    if isinstance(watch, Events):
        watch.end(verdict="timeout", x=None, y=None, nodes=None, seconds=None, reason="")
    else:
        print("timeout", flush=True)


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
