"""Signs of life on stderr: bars on a terminal, plain lines elsewhere, events for machines."""

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, Self

from graphprune.number_text import number_text
from graphprune.progress import Interval, gap_of

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live as Screen

    from graphprune.evaluate.results import Result, Task

# Seconds between two lines about running tasks where there is no terminal, and between two events
# of one task.
LINES, EVENTS = 10.0, 0.5


def _screen(render: "Callable[[], RenderableType]") -> "Screen":
    """A display that is drawn on stderr's terminal again and again, and leaves nothing behind."""
    from rich.console import Console
    from rich.live import Live as Screen

    return Screen(
        console=Console(stderr=True), transient=True, get_renderable=render, refresh_per_second=4
    )


class _Lines:
    """Lines on stderr, for where there is no terminal.

    When none came for `LINES` seconds, one says what is done now. A thread of its own does this,
    so that it comes while one call takes long, too.
    """

    def __init__(self, limit: float = inf) -> None:
        self.doing = "starting"
        self._limit = f" of {limit:g} s" if isfinite(limit) else " s"
        self._start = self._said = time.monotonic()
        self._over = threading.Event()

    @property
    def text(self) -> str:
        """The current step, and for how long it has run."""
        return f"{self.doing} ({time.monotonic() - self._start:.0f}{self._limit})"

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        self._over.set()

    def say(self, line: str) -> None:
        self._said = time.monotonic()
        sys.stderr.write(f"{line}\n")  # in one write: two threads say lines
        sys.stderr.flush()

    def _run(self) -> None:
        while not self._over.wait(max(self._said + LINES - time.monotonic(), 0.0)):
            if time.monotonic() >= self._said + LINES:
                self.say(f"  ... {self.text}")


class Line:
    """Watches one computation for a person: what it does now, for how long, and its limit.

    On a terminal it is a line that is drawn again and again; elsewhere one every `LINES` seconds.
    """

    def __init__(self, *, quiet: bool, limit: float = inf) -> None:
        self.quiet = quiet
        self._lines = _Lines(limit)
        self._screen: Screen | None = None

    def __enter__(self) -> Self:
        if self.quiet:
            return self
        if sys.stderr.isatty():
            from rich.text import Text

            self._screen = _screen(lambda: Text(self._lines.text))
            self._screen.start()
        else:
            self._lines.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was; twice does no harm."""
        self._lines.stop()
        if self._screen is not None:
            self._screen.stop()

    def doing(self, text: str) -> None:
        self._lines.doing = text

    def say(self, line: str) -> None:
        """Say something that stays."""
        if self._screen is not None:
            self._screen.console.print(line, markup=False, highlight=False)
        elif not self.quiet:
            self._lines.say(line)


@dataclass(frozen=True)
class _Row:
    """A running task: where it is, and what it said last.

    Attributes
    ----------
    where
        The anchor by its place, after the network where there are several.
    """

    where: str
    name: str
    text: str

    @property
    def cells(self) -> tuple[str, str, str, str, str, str]:
        """Anchor, task, lower, upper, gap, what it does."""
        where = self.where
        said = self.text
        if not isinstance(said, Interval):
            return where, self.name, "", "", "", said
        gap = gap_of(said.proven, said.known)
        upper = number_text(said.known) if isfinite(said.known) else "?"
        share = "?" if gap is None else f"{100.0 * gap:.2f} %"
        return where, self.name, number_text(said.proven), upper, share, said.doing


class Live:
    """Watches a run for a person.

    On a terminal a bar counts tasks and tells the time left, and every running task has a row with
    the interval of its search; elsewhere finished tasks are lines. Tasks that an earlier run
    finished are counted.

    Parameters
    ----------
    names
        The networks by their hashes, where there are several to tell apart.
    """

    def __init__(self, *, quiet: bool, names: Mapping[str, str] | None = None) -> None:
        self.quiet = quiet
        self._names = names or {}
        self.terminal = sys.stderr.isatty() and not quiet
        self._screen: Screen | None = None
        self._bar: Any = None
        self._task: Any = None
        self._rows: dict[Task, _Row] = {}
        self._lines = _Lines()
        self._began = time.monotonic()
        self._open = self._done = self._kept = 0
        self._begun = False

    def __enter__(self) -> Self:
        if self.terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
            from rich.progress import TimeElapsedColumn as Elapsed

            left = TextColumn("{task.fields[left]}")
            self._bar = Progress(BarColumn(bar_width=20), MofNCompleteColumn(), Elapsed(), left)
            self._task = self._bar.add_task("", total=None, left="")
            self._screen = _screen(self._render)
            self._screen.start()
        elif not self.quiet:
            self._lines.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.stop()
        if self._screen is not None:
            self._screen.stop()

    def _render(self) -> "RenderableType":
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        self._bar.update(self._task, left=self._left())
        table = Table(box=None, pad_edge=False)
        for name in ("anchor", "task", "lower", "upper", "gap", ""):
            table.add_column(name, justify="left" if name in ("task", "") else "right")
        for row in tuple(self._rows.values()):
            table.add_row(*map(Text, row.cells))
        shown = [table] if self._rows else []
        return Group(self._bar, Text(self._lines.doing), *shown)

    def _left(self) -> str:
        """Time left, from the tasks that were finished since the beginning."""
        if not self._done or self._done >= self._open:
            return ""
        each = (time.monotonic() - self._began) / self._done
        seconds = int(each * (self._open - self._done))
        return f"about {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"

    def begin(self, tasks: int) -> None:
        self._open, self._done, self._began, self._begun = tasks, 0, time.monotonic(), True
        if self._kept:
            text = f"resuming: {self._kept} of {self._kept + tasks} tasks done"
            if self._screen is not None:
                self._screen.console.print(text, highlight=False)
            elif not self.quiet:
                self._lines.say(text)
        if self._bar is not None:
            self._bar.reset(self._task, total=tasks, left="")

    def message(self, text: str) -> None:
        self._lines.doing = text

    def running(self, place: int, total: int, task: "Task", text: str) -> None:
        name = self._names.get(task.model)
        where = f"{place}/{total}" if name is None else f"{name} {place}/{total}"
        row = _Row(where, task.label, text)
        self._rows[task] = row
        if self._screen is None:
            self._lines.doing = f"{self._about(task, place, total)}  {row.name}  {text}"

    def _about(self, task: "Task", place: int, total: int) -> str:
        """The anchor of a task, after its network where there are several."""
        name = self._names.get(task.model)
        return f"anchor {place}/{total}" if name is None else f"{name}  anchor {place}/{total}"

    def finished(
        self, place: int, total: int, record: dict[str, Any], task: "Task", result: "Result"
    ) -> None:
        from graphprune.evaluate.documents import result_text

        self._rows.pop(task, None)
        if not self._begun:
            self._kept += 1
            return
        self._done += 1
        line = f"{self._about(task, place, total)}  {task.label}  {result_text(result)}"
        if self._screen is not None:
            self._lines.doing = line
            self._bar.update(self._task, advance=1)
        elif not self.quiet:
            self._lines.say(line + self._count())

    def settled(self, place: int, total: int, record: dict[str, Any]) -> None:
        if self._screen is None and not self.quiet:
            note = record.get("message", f"predicted {record.get('predicted')}")
            self._lines.say(f"anchor {place}/{total}  {record['status']}: {note}")

    def _count(self) -> str:
        left = self._left()
        return f"  ({self._done}/{self._open} tasks, {left})" if left else ""


class Events:
    """Watches a run for a machine: one JSON object per line on stdout."""

    def __init__(self) -> None:
        self._said: dict[Task | None, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None: ...

    def doing(self, text: str) -> None:
        if self._due(None):
            _emit({"event": "progress", "text": text})

    def begin(self, tasks: int) -> None:
        _emit({"event": "begin", "tasks": tasks})

    def message(self, text: str) -> None:
        _emit({"event": "message", "text": text})

    def running(self, place: int, total: int, task: "Task", text: str) -> None:
        if not self._due(task):
            return
        interval: dict[str, Any] = {}
        if isinstance(text, Interval):
            upper = text.known if isfinite(text.known) else None
            gap = gap_of(text.proven, text.known)
            interval = {"lower": text.proven, "upper": upper, "gap": gap}
        _emit({"event": "progress", **_place(task), "text": str(text), **interval})

    def finished(
        self, place: int, total: int, record: dict[str, Any], task: "Task", result: "Result"
    ) -> None:
        from graphprune.evaluate.serialise import value_of

        self._said.pop(task, None)
        _emit({"event": "finished", **_place(task), "result": value_of(result)})

    def settled(self, place: int, total: int, record: dict[str, Any]) -> None:
        _emit({"event": "settled", **record})

    def tell(self, kind: str, **fields: Any) -> None:
        """An event of its own kind."""
        _emit({"event": kind, **fields})

    def end(self, **outcome: Any) -> None:
        """It is over."""
        _emit({"event": "end", **outcome})

    def _due(self, task: "Task | None") -> bool:
        """True when it is time for another event of a task."""
        now = time.monotonic()
        if now - self._said.get(task, now - EVENTS) < EVENTS:
            return False
        self._said[task] = now
        return True


def _place(task: "Task") -> dict[str, Any]:
    return {"model": task.model, "index": task.index, "task": task.name}


def _emit(event: dict[str, Any]) -> None:
    # In one write: tasks of other processes are heard in another thread.
    sys.stdout.write(json.dumps({"time": round(time.time(), 3), **event}) + "\n")
    sys.stdout.flush()
