"""A run: the tasks of anchors and networks, done in order of need and kept as they finish."""

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Protocol

from graphprune.attacks.confirm import Witness
from graphprune.backends.search import pool
from graphprune.check.container import Proof
from graphprune.errors import GraphpruneError, OutputError
from graphprune.evaluate.anchor import Record
from graphprune.evaluate.distance import interval_text
from graphprune.evaluate.documents import document, incomplete, seconds_of
from graphprune.evaluate.estimates import longest
from graphprune.evaluate.executors import Cluster, Inline, Pool, work
from graphprune.evaluate.interrupt import Interrupt, listening
from graphprune.evaluate.settings import Settings
from graphprune.evaluate.store import Store
from graphprune.evaluate.tasks import ESTIMATE, Result, Task, assemble, classify, names, needs
from graphprune.evaluate.warm import warm_up
from graphprune.ir import Network
from graphprune.ir.html import table
from graphprune.region import Anchor
from graphprune.runtime.resources import using

# A task whose worker died is tried once more, then reported.
TRIES = 2


class Watch(Protocol):
    """Hears how a run goes."""

    def begin(self, tasks: int) -> None:
        """So many tasks are open; what an earlier run finished was told before."""

    def message(self, text: str) -> None:
        """What goes on outside of tasks."""

    def running(self, place: int, total: int, task: Task, text: str) -> None:
        """What goes on inside a task; an :class:`~graphprune.progress.Interval` of a search.

        Tasks in other processes are heard in a thread of their own.
        """

    def finished(self, place: int, total: int, record: Record, task: Task, result: Result) -> None:
        """A task of anchor `place` (from 1) of `total` is finished, now or in an earlier run."""

    def settled(self, place: int, total: int, record: Record) -> None:
        """An anchor with nothing to do: misclassified, or an error."""


class Unwatched:
    """Hears nothing."""

    def begin(self, tasks: int) -> None: ...
    def message(self, text: str) -> None: ...
    def running(self, place: int, total: int, task: Task, text: str) -> None: ...
    def finished(
        self, place: int, total: int, record: Record, task: Task, result: Result
    ) -> None: ...
    def settled(self, place: int, total: int, record: Record) -> None: ...


@dataclass(frozen=True, eq=False)
class Job:
    """One network and its anchors."""

    network: Network
    anchors: Sequence[Anchor]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run found.

    Attributes
    ----------
    documents
        One document of the public contract per job.
    keyed_points
        (model hash, anchor index, metric, witness): the concrete points behind the upper bounds.
    interrupted
        Ctrl-C ended it early.
    failure
        Why results could not be kept in the run directory; None when they could.
    proofs
        (model hash, proof) of every d_bnd, where certificates are asked for.
    """

    documents: list[dict[str, Any]]
    keyed_points: list[tuple[str, int, str, Witness]]
    interrupted: bool
    failure: OutputError | None = None
    proofs: Sequence[tuple[str, Proof]] = ()

    @property
    def incomplete(self) -> bool:
        """Whether some anchor ended in an error or a d_bnd in an interval (exit code 1)."""
        return any(incomplete(record) for d in self.documents for record in d["anchors"])

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return "".join(map(_as_table, self.documents))


def _as_table(found: dict[str, Any]) -> str:
    metrics = [f"d_{m}" for m in ("rob", "bnd", "adv") if m in found["settings"]["metrics"]]
    rows = [
        [r["index"], r["label"], r["status"], *(_cell(r.get(metric)) for metric in metrics)]
        for r in found["anchors"]
    ]
    name = found["model"]["path"] or "network"
    return table(("anchor", "class", "status", *metrics), rows, str(name))


def _cell(value: Record | None) -> str:
    if value is None:
        return ""
    if "lower" in value:
        return interval_text(value["lower"], value["upper"], value["status"])
    return "none" if value["value"] is None else f"{value['value']:.5f}"


def evaluate(
    jobs: Sequence[Job],
    settings: Settings,
    *,
    run_dir: str | Path | None = None,
    new: bool = False,
    scheduler: str | None = None,
    memory: int | None = None,
    watch: Watch | None = None,
) -> Outcome:
    """Evaluate anchors of networks; Ctrl-C ends the run with everything finished kept.

    Parameters
    ----------
    run_dir
        Folder that keeps every finished result; the same call again goes on where it stopped,
        and several processes may work on it at the same time.
    new
        Set an existing run in `run_dir` aside and start again.
    scheduler
        Address of a Dask scheduler that has the workers.
    memory
        Bytes each worker process may use, of tasks or of a search.

    Raises
    ------
    OutputError
        The run directory cannot be used, or belongs to other settings, models or anchors.
    """
    pool.configure(memory=memory)
    for job in jobs:
        if job.network.classes < 2:
            label = job.network.source.path or "the network"
            raise GraphpruneError(f"{label}: has one output; a decision boundary needs two classes")
    with ExitStack() as stack:
        stack.enter_context(using(settings.resources()))
        store = None
        if run_dir is not None:
            store = stack.enter_context(Store(Path(run_dir), settings, new=new))
        run = _Run(jobs, settings, store, watch or Unwatched())
        run.prepare()
        if run.waiting and {"rob", "bnd"} & set(settings.metrics):
            warm_up(run.watch.message)
        executor = stack.enter_context(_executor(run, scheduler, memory))
        interrupt = stack.enter_context(listening())
        try:
            run.drive(executor, interrupt)
        except KeyboardInterrupt:
            interrupt.requested = True
        except OutputError as error:
            run.failure = error
        return run.outcome(interrupted=interrupt.requested)


@contextmanager
def _executor(run: "_Run", scheduler: str | None, memory: int | None) -> Iterator[Any]:
    lanes = run.spread(scheduler is None)
    if scheduler is None and lanes <= 1:
        yield Inline({s: j.network for s, j in run.jobs.items()}, run.heard)
        return
    models = {s: j.network.source.proto.SerializeToString() for s, j in run.jobs.items()}
    if scheduler is not None:
        executor: Any = Cluster(scheduler, models, run.heard)
    else:
        # Tasks keep their own limit; this one is for a worker that hangs.
        settings = replace(run.settings, workers=lanes)
        limit = None if settings.time_limit is None else 4.0 * longest(settings) + 120.0
        executor = Pool(models, settings, listener=run.heard, memory=memory, limit=limit)
    try:
        yield executor
    finally:
        executor.shutdown()


@dataclass(eq=False)
class _Run:
    """What is done, what waits."""

    given: Sequence[Job]
    settings: Settings
    store: Store | None
    watch: Watch
    failure: OutputError | None = None
    start: float = field(default_factory=monotonic)

    def __post_init__(self) -> None:
        # Of each task.
        self.own = self.settings
        self.jobs = {job.network.source.sha256: job for job in self.given}
        self.names = names(self.settings)
        self.records: dict[tuple[str, int], Record] = {}
        self.anchors: dict[tuple[str, int], Anchor] = {}
        self.places: dict[tuple[str, int], tuple[int, int]] = {}
        self.results: dict[tuple[str, int], dict[str, Result]] = {}
        self.waiting: dict[Task, None] = {}  # in order
        self.tries: dict[Task, int] = {}

    def prepare(self) -> None:
        """Classify every anchor, read what an earlier run finished, list what is left."""
        for sha, job in self.jobs.items():
            records = classify(job.network, list(job.anchors), self.settings)
            if self.store is not None:
                self.store.add(job.network, job.anchors, records)
            for place, (anchor, record) in enumerate(zip(job.anchors, records, strict=True)):
                key = (sha, anchor.index)
                self.anchors[key], self.records[key] = anchor, record
                self.places[key] = (place + 1, len(records))
                self.results[key] = {}
                if record["status"] == "ok":
                    self.waiting |= {Task(sha, anchor.index, name): None for name in self.names}
        for key, record in self.records.items():
            if record["status"] != "ok":
                self.watch.settled(*self.places[key], record)
        if self.store is not None:
            for task in tuple(self.waiting):
                self._known(task)
        self.watch.begin(len(self.waiting))

    def spread(self, here: bool) -> int:
        """Share the workers of this machine out; the number of tasks that run side by side.

        An anchor's metrics follow one another, its estimates stand for themselves. Where these are
        fewer than the workers, each one's search has its share of them.
        """
        lanes = {
            (t.model, t.index, t.name if t.name.startswith(ESTIMATE) else "") for t in self.waiting
        }
        side = max(1, min(self.settings.workers, len(lanes)))
        self.own = replace(self.settings, workers=self.settings.workers // side if here else 1)
        return side

    def heard(self, task: Task, text: str) -> None:
        """A running task says something."""
        self.watch.running(*self.places[task.model, task.index], task, text)

    def _known(self, task: Task) -> bool:
        """Take over a result that the run directory has."""
        assert self.store is not None
        result = self.store.get(task)
        if result is not None:
            self.waiting.pop(task, None)
            self._done(task, result)
        return result is not None

    def _done(self, task: Task, result: Result) -> None:
        key = (task.model, task.index)
        self.results[key][task.name] = result
        self.watch.finished(*self.places[key], self.records[key], task, result)

    def _ready(self, task: Task) -> bool:
        done = self.results[(task.model, task.index)]
        return all(name in done for name in needs(task.name, self.names))

    def drive(self, executor: Any, interrupt: Interrupt) -> None:
        """Do all tasks; returns early when Ctrl-C was pressed and running ones have ended."""
        running: dict[Future[Result], Task] = {}
        try:
            while (self.waiting or running) and not interrupt.requested:
                self._submit(executor, running, interrupt)
                with interrupt.breakable():
                    if running:
                        wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
                    elif self.waiting:
                        # Everything left is in the hands of other processes.
                        self.watch.message(f"{len(self.waiting)} tasks are done by other processes")
                        sleep(0.5)
                self._collect(running, interrupt)
        except KeyboardInterrupt:
            interrupt.requested = True
        if running:
            executor.break_off()
            wait(running, timeout=10.0)
            self._collect(running, interrupt)

    def _submit(
        self, executor: Any, running: "dict[Future[Result], Task]", interrupt: Interrupt
    ) -> None:
        """Give the executor as many tasks as it has room for."""
        chosen: list[Task] = []
        for task in tuple(self.waiting) if self.store is not None else self.waiting:
            if len(running) + len(chosen) >= executor.slots:
                break
            if self._ready(task) and self._claimed(task):
                chosen.append(task)
        for task in chosen:
            self.waiting.pop(task)
            self.tries[task] = self.tries.get(task, 0) + 1
            key = (task.model, task.index)
            known = {n: self.results[key][n] for n in needs(task.name, self.names)}
            with interrupt.breakable():
                future = executor.submit(
                    work, task.model, self.anchors[key], task.name, self.own, known
                )
            running[future] = task

    def _claimed(self, task: Task) -> bool:
        """Whether this process may do the task; a result of another process is taken over."""
        if self.store is None or task in self.tries:
            return True
        claim = self.store.claim(task)
        if claim == "done":
            self._known(task)
        return claim == "mine"

    def _collect(self, running: "dict[Future[Result], Task]", interrupt: Interrupt) -> None:
        for future in [f for f in running if f.done()]:
            task = running.pop(future)
            try:
                result = future.result()
            except BaseException as error:
                if interrupt.requested:
                    continue
                if self.tries[task] < TRIES:
                    self._event("retry", f"{task.name} of anchor {task.index}: {_why(error)}")
                    self.waiting = {task: None, **self.waiting}
                    continue
                # Of the machine, not of the anchor: a resumed run tries again.
                message = f"worker failed: {_why(error)}"
                result = Result({"status": "error", "message": message}, [], final=False)
            if interrupt.requested and result.value.get("status") == "interval":
                result = replace(result, final=False)
            self._done(task, result)
            if result.failed:
                self._event(
                    "error", f"{task.name} of anchor {task.index}: {result.value['message']}"
                )
            if self.store is not None:
                self.store.put(task, result)

    def _event(self, kind: str, text: str) -> None:
        self.watch.message(f"{kind}: {text}")
        if self.store is not None:
            self.store.event(kind, text)

    def outcome(self, *, interrupted: bool) -> Outcome:
        seconds = monotonic() - self.start
        documents = []
        points: list[tuple[str, int, str, Witness]] = []
        proofs: list[tuple[str, Proof]] = []
        for job in self.given:
            sha = job.network.source.sha256
            records = []
            for anchor in job.anchors:
                key = (sha, anchor.index)
                results = self.results[key]
                if self.records[key]["status"] == "ok" and not results:
                    continue  # not begun
                records.append(assemble(self.records[key], results, self.settings))
                points += [
                    (sha, anchor.index, metric, witness)
                    for result in results.values()
                    for metric, witness in result.points
                ]
                proofs += [(sha, r.proof) for r in results.values() if r.proof is not None]
            # Several networks take turns: each has the computing time of its own tasks.
            own = seconds if len(self.given) == 1 else sum(map(seconds_of, records))
            documents.append(document(job.network, self.settings, records, own))
        return Outcome(documents, points, interrupted, self.failure, proofs)


def _why(error: BaseException) -> str:
    code = getattr(error, "exitcode", None)
    if code is not None:
        return f"its process ended with code {code} (killed, or out of memory)"
    if isinstance(error, TimeoutError):
        return "it overran its time limit by far and was stopped"
    return f"{type(error).__name__}: {error}"
