"""Many properties of one model: decided in worker processes, with a table of the verdicts."""

import queue
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

from graphprune.cli.options import in_options
from graphprune.cli.progress import Events, Line
from graphprune.errors import GraphpruneError
from graphprune.runtime.process import Inbox, WorkerProcess

WORKER = "graphprune.cli.verify_worker"
# Options that messages of the library name as arguments.
FLAGS = {"output": "--output", "fix_shape": "--fix-shape"}
SUFFIXES = (".vnnlib", ".vnnlib.gz")
WORDS = ("sat", "unsat", "unknown", "timeout", "error")
# Seconds past its limit after which a property's process is ended.
GRACE = 1.0


def property_files(given: list[str]) -> list[str]:
    """The files among `given`, and those below its folders, sorted within each.

    Raises
    ------
    GraphpruneError
        A folder without properties.
    """
    found = []
    for name in given:
        if not Path(name).is_dir():
            found.append(name)
            continue
        inside = sorted(str(p) for p in Path(name).rglob("*") if p.name.endswith(SUFFIXES))
        if not inside:
            raise GraphpruneError(f"{name}: no property files ({', '.join(SUFFIXES)}) in it")
        found += inside
    return list(dict.fromkeys(found))


@dataclass(eq=False)
class _Job:
    """A worker, and the property that it decides."""

    worker: WorkerProcess
    number: int | None = None
    deadline: float = inf


@dataclass(eq=False)
class Batch:
    """Properties, and what became of them.

    Attributes
    ----------
    options
        Options of the workers; see `graphprune.cli.verify_worker`.
    limit
        Seconds per property.
    records
        By number of the property: its verdict's record, or ``{"error": message}``.
    """

    files: list[str]
    options: dict[str, Any]
    limit: float
    watch: Events | Line
    records: dict[int, dict[str, Any]] = field(default_factory=dict)
    _inbox: Inbox = field(default_factory=queue.SimpleQueue)
    _jobs: dict[WorkerProcess, _Job] = field(default_factory=dict)

    def run(self, jobs: int) -> None:
        """Decide all properties, `jobs` at a time."""
        waiting = iter(range(len(self.files)))
        try:
            for _ in range(min(jobs, len(self.files))):
                self._start()
            while len(self.records) < len(self.files):
                self._hear(waiting)
                self._end_late(waiting)
        finally:
            for worker in list(self._jobs):
                worker.kill()

    def _start(self) -> None:
        worker = WorkerProcess(["-m", WORKER], self._inbox)
        worker.send(self.options)
        self._jobs[worker] = _Job(worker)

    def _hear(self, waiting: Iterator[int]) -> None:
        """Wait for one message, or until a property is late."""
        next_deadline = min((job.deadline for job in self._jobs.values()), default=inf)
        left = max(next_deadline - monotonic(), 0.0)
        try:
            worker, message = self._inbox.get(timeout=min(left, 1.0))
        except queue.Empty:
            return
        job = self._jobs.get(worker)
        if job is None:
            return  # ended already
        if message is None:
            ended = {"error": f"no verdict: {worker.ending()}"}
            self._over(job, ended, waiting, alive=False)
        elif message[0] == "ready":
            self._next(job, waiting)
        elif message[0] == "doing":
            done = len(self.records)
            name = self.files[message[1]]
            self.watch.doing(f"{done} of {len(self.files)} decided; {name}: {message[2]}")
        elif message[0] == "verdict":
            self._over(job, message[2], waiting)
        else:
            self._over(job, {"error": in_options(message[2], FLAGS)}, waiting)

    def _end_late(self, waiting: Iterator[int]) -> None:
        for job in list(self._jobs.values()):
            if monotonic() > job.deadline:
                job.worker.kill()
                late = {"verdict": "timeout", "x": None, "y": None, "nodes": None,
                        "seconds": self.limit, "reason": ""}  # fmt: skip
                self._over(job, late, waiting, alive=False)

    def _over(
        self, job: _Job, record: dict[str, Any], waiting: Iterator[int], *, alive: bool = True
    ) -> None:
        """Take the end of a job's property, and give the next one to it or to a new process."""
        if job.number is None:  # it never became ready
            number = next(waiting, None)
            if number is None:
                del self._jobs[job.worker]
                return
            job.number = number
        self.records[job.number] = record
        self._say(job.number, record)
        if alive:
            self._next(job, waiting)
            return
        del self._jobs[job.worker]
        if len(self.records) + len(self._jobs) < len(self.files):
            self._start()

    def _next(self, job: _Job, waiting: Iterator[int]) -> None:
        number = next(waiting, None)
        job.number, job.deadline = number, inf
        if number is not None:
            job.deadline = monotonic() + self.limit + GRACE
            job.worker.send(number, self.files[number], self.limit)

    def _say(self, number: int, record: dict[str, Any]) -> None:
        """Tell one result as it comes."""
        name = self.files[number]
        if isinstance(self.watch, Events):
            kind = "error" if "error" in record else "verdict"
            self.watch.tell(kind, property=name, **record)
        elif not self.watch.quiet:
            self.watch.say(f"{name}: {_word(record)}")

    def table(self) -> str:
        """One line per finished property, in their order, and a count."""
        lines = [
            f"{_word(record):8} {_seconds(record):>10}  {self.files[number]}{_note(record)}"
            for number, record in sorted(self.records.items())
        ]
        total = ", ".join(f"{count} {word}" for word, count in self.summary().items())
        missing = len(self.files) - len(self.records)
        left = f", {missing} not decided" if missing else ""
        count = f"{len(self.files)} {'property' if len(self.files) == 1 else 'properties'}"
        return "\n".join([*lines, f"{count}: {total or 'none'}{left}"])

    def summary(self) -> dict[str, Any]:
        """The numbers of verdicts by name."""
        counts = Counter(_word(record) for record in self.records.values())
        return {word: counts[word] for word in WORDS if counts[word]}


def _word(record: dict[str, Any]) -> str:
    return "error" if "error" in record else str(record["verdict"])


def _seconds(record: dict[str, Any]) -> str:
    return f"{record['seconds']:.2f} s" if "seconds" in record else ""


def _note(record: dict[str, Any]) -> str:
    said = record.get("error") or record.get("reason")
    return f"  ({said})" if said else ""


def decide_many(
    files: list[str], options: dict[str, Any], limit: float, jobs: int, watch: Events | Line
) -> int:
    """Decide properties and print their table; the exit code.

    0: every file got a verdict; 2: some could not be decided for an error; 130: interrupted.
    """
    batch = Batch(files, options, limit, watch)
    interrupted = False
    try:
        with watch:
            batch.run(jobs)
    except KeyboardInterrupt:
        interrupted = True
    if isinstance(watch, Events):
        watch.end(properties=len(files), verdicts=batch.summary())
    else:
        print(batch.table(), flush=True)
    if interrupted:
        print("graphprune: interrupted; verdicts so far are above", file=sys.stderr)
        return 130
    return 2 if any("error" in record for record in batch.records.values()) else 0
