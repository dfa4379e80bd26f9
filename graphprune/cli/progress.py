"""Signs of life on stderr: bars on a terminal, plain lines elsewhere, events for machines."""

import json
import sys
import time
from types import TracebackType
from typing import Any, Self


class Live:
    """Watches a run for a person.

    On a terminal one line shows how many tasks are done, what goes on (with the current search's
    interval) and the time left; elsewhere every finished task is a line.
    """

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.terminal = sys.stderr.isatty() and not quiet
        self._bar: Any = None
        self._task: Any = None
        self._start = self._said = time.monotonic()

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
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("starting", total=None)
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

    def begin(self, tasks: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, total=tasks)

    def message(self, text: str) -> None:
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, description=_escaped(text))
        elif not self.quiet and now - self._said > 10.0:
            self._say(f"  ... {text} ({now - self._start:.0f} s)")

    def finished(
        self, place: int, total: int, record: dict[str, Any], task: str, result: Any
    ) -> None:
        from graphprune.evaluate.tasks import text

        name = task.removeprefix("estimate ")
        line = f"anchor {place}/{total}  {name}  {text(task, result)}"
        if self._bar is not None:
            self._bar.update(self._task, advance=1, description=_escaped(line))
        elif not self.quiet:
            self._say(line)

    def settled(self, place: int, total: int, record: dict[str, Any]) -> None:
        if self._bar is None and not self.quiet:
            note = record.get("message", f"predicted {record.get('predicted')}")
            self._say(f"anchor {place}/{total}  {record['status']}: {note}")

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
        print(line, file=sys.stderr, flush=True)


class Events:
    """Watches a run for a machine: one JSON object per line on stdout."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def begin(self, tasks: int) -> None:
        _emit({"event": "begin", "tasks": tasks})

    def message(self, text: str) -> None:
        _emit({"event": "progress", "text": text})

    def finished(
        self, place: int, total: int, record: dict[str, Any], task: str, result: Any
    ) -> None:
        _emit({"event": "finished", "index": record["index"], "task": task, "result": result.value})

    def settled(self, place: int, total: int, record: dict[str, Any]) -> None:
        _emit({"event": "settled", **record})

    def end(self, summaries: list[dict[str, Any]], *, interrupted: bool) -> None:
        """The run is over."""
        _emit({"event": "end", "interrupted": interrupted, "summaries": summaries})


def _emit(event: dict[str, Any]) -> None:
    print(json.dumps({"time": round(time.time(), 3), **event}), flush=True)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
