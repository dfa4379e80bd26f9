"""Signs of life on stderr: a live line on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import Any, Self


class Live:
    """Progress of a run over `total` anchors.

    On a terminal one line shows the anchor, the stage and the time; each finished stage of
    notable length leaves a line. Elsewhere every finished stage is a line.
    """

    def __init__(self, total: int, *, quiet: bool) -> None:
        self.total = total
        self.quiet = quiet
        self.done = 0
        self.terminal = sys.stderr.isatty() and not quiet
        self._bar: Any = None
        self._task: Any = None
        self._start = self._said = time.monotonic()
        self._anchor = ""

    def __enter__(self) -> Self:
        if self.terminal:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("starting", total=self.total)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def message(self, text: str) -> None:
        """What is going on inside a stage."""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, description=text)
        elif not self.quiet and now - self._said > 10.0:
            self._said = now
            print(f"  ... {text} ({now - self._start:.0f} s)", file=sys.stderr, flush=True)

    def stage(self, name: str, result: str) -> None:
        """A finished stage of the current anchor."""
        self._said = time.monotonic()
        line = f"anchor {self.done + 1}/{self.total}  {name}  {result}"
        if self._bar is not None:
            self._bar.update(self._task, description=line)
        elif not self.quiet:
            print(line, file=sys.stderr, flush=True)

    def finished(self, record: dict[str, Any]) -> None:
        """A finished anchor."""
        self.done += 1
        if record["status"] != "ok" and not self.quiet and self._bar is None:
            note = record.get("message", f"predicted {record.get('predicted')}")
            print(
                f"anchor {self.done}/{self.total}  {record['status']}: {note}",
                file=sys.stderr,
                flush=True,
            )
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)
