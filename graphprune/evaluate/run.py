"""A run: the tasks of anchors and networks, done in order of need and kept as they finish."""

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Protocol

from graphprune.attacks.confirm import Witness
from graphprune.canonical.questions import require_rank
from graphprune.check.container import Proof
from graphprune.errors import GraphpruneError, OutputError
from graphprune.evaluate.distance import Distance
from graphprune.evaluate.documents import document, seconds_of
from graphprune.evaluate.estimates import longest
from graphprune.evaluate.executors import Cluster, Inline, PoolExecutor, work
from graphprune.evaluate.interrupt import Interrupt, listening
from graphprune.evaluate.results import Classified, Failure, Job, Known, Outcome, Result, Task
from graphprune.evaluate.serialise import Record, points_of, record_of, start_of, value_of
from graphprune.evaluate.server import worker_context
from graphprune.evaluate.settings import Settings
from graphprune.evaluate.store import Claim, Store
from graphprune.evaluate.tasks import classify, needs, tasks_of
from graphprune.evaluate.warm import warm_for
from graphprune.ir.query import classes_of, own_target, require_target
from graphprune.progress import quiet
from graphprune.region import Anchor
from graphprune.runtime.resources import using

# An anchor of a run: the hash of the model, the position in the file.
Key = tuple[str, int]

# A task whose worker died is tried once more, then reported.
TRIES = 2


class Watch(Protocol):
    """Hears how a run goes."""

    def begin(self, tasks: int) -> None:
        """So many tasks are open; what an earlier run finished was told before."""

    def message(self, text: str) -> None:
        """Hear what goes on outside of tasks."""

    def running(self, place: int, total: int, task: Task, text: str) -> None:
        """Hear what goes on inside a task; an :class:`~graphprune.progress.Interval` of a search.

        Tasks in other processes are heard in a thread of their own.
        """

    def finished(self, place: int, total: int, record: Record, task: Task, result: Result) -> None:
        """A task of anchor `place` (from 1) of `total` is finished, now or in an earlier run."""

    def settled(self, place: int, total: int, record: Record) -> None:
        """An anchor with nothing to do: misclassified, skipped, or an error."""


class Unwatched:
    """Hears nothing."""

    def begin(self, tasks: int) -> None: ...
    def message(self, text: str) -> None: ...
    def running(self, place: int, total: int, task: Task, text: str) -> None: ...
    def finished(
        self, place: int, total: int, record: Record, task: Task, result: Result
    ) -> None: ...
    def settled(self, place: int, total: int, record: Record) -> None: ...


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
        and several processes may work on it at the same time. With more time or effort it goes on
        with what is open; more metrics, estimates and anchors extend it.
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
    for job in jobs:
        _require(job, settings)
    with ExitStack() as stack:
        stack.enter_context(using(replace(settings.resources(), worker_memory=memory)))
        store = None
        if run_dir is not None:
            store = stack.enter_context(Store(Path(run_dir), settings, new=new))
        run = _Run(jobs, settings, store, watch or Unwatched())
        if scheduler is None and settings.workers > 1 and run.several and not run.here:
            # The server of the workers gets ready beside what comes first here.
            worker_context(settings.threads)
        run.prepare()
        run.warm()
        executor = stack.enter_context(_executor(run, scheduler, memory))
        interrupt = stack.enter_context(listening())
        try:
            run.drive(executor, interrupt)
        except KeyboardInterrupt:
            interrupt.requested = True
        except OutputError as error:
            run.failure = error
        return run.outcome(interrupted=interrupt.requested)


def _require(job: Job, settings: Settings) -> None:
    """Refuse questions that no anchor of a job has an answer to."""
    if job.network.classes < 2:
        label = job.network.source.path or "the network"
        raise GraphpruneError(
            f"{label}: has one output; a decision boundary needs two classes:"
            " gp.as_classifier(network, threshold) has them"
        )
    require_rank(job.network, settings.top_k)
    if settings.target is not None:
        require_target(settings.target, job.network.classes)
        only = classes_of(settings.target)
        if all(only == (anchor.label,) for anchor in job.anchors):
            raise GraphpruneError(own_target(only[0]))


@contextmanager
def _executor(run: "_Run", scheduler: str | None, memory: int | None) -> Iterator[Any]:
    lanes = run.spread(scheduler is None)
    if run.here or (scheduler is None and lanes <= 1):
        yield Inline({s: j.network for s, j in run.jobs.items()}, run.heard)
        return
    models = {s: j.network.source.proto.SerializeToString() for s, j in run.jobs.items()}
    if scheduler is not None:
        executor: Any = Cluster(scheduler, models, run.heard)
    else:
        # Tasks keep their own limit; this one is for a worker that hangs.
        settings = replace(run.settings, workers=lanes)
        limit = None if settings.time_limit is None else 4.0 * longest(settings) + 120.0
        executor = PoolExecutor(models, settings, listener=run.heard, memory=memory, limit=limit)
    try:
        yield executor
    finally:
        executor.shutdown()


@dataclass(eq=False)
class _Run:
    """State of a run: tasks that are done, tasks that wait."""

    given: Sequence[Job]
    settings: Settings
    store: Store | None
    watch: Watch
    failure: OutputError | None = None
    start: float = field(default_factory=monotonic)

    def __post_init__(self) -> None:
        # The settings of each task.
        self.own = self.settings
        self.jobs = {job.network.source.sha256: job for job in self.given}
        self.starts: dict[Key, Classified] = {}
        self.anchors: dict[Key, Anchor] = {}
        self.places: dict[Key, tuple[int, int]] = {}
        self.tasks: dict[Key, tuple[Task, ...]] = {}
        self.results: dict[Key, dict[Task, Result]] = {}
        self.waiting: dict[Task, None] = {}  # in order
        self.tries: dict[Task, int] = {}
        # Results of an earlier run with less time, of tasks that go on.
        self.opened: dict[Task, Result] = {}

    @property
    def here(self) -> bool:
        """Tensors outside of a model's message are read where the file is."""
        return any(job.network.source.folder is not None for job in self.given)

    @property
    def several(self) -> bool:
        """There may be tasks for more than one worker."""
        return sum(len(job.anchors) for job in self.given) > 1 or bool(self.settings.estimates)

    def prepare(self) -> None:
        """Classify every anchor, read what an earlier run finished, list what is left."""
        for sha, job in self.jobs.items():
            starts = classify(job.network, job.anchors, self.settings.target, self.settings.top_k)
            if self.store is not None:
                self.store.add(job.network, job.anchors, starts)
            for place, (anchor, start) in enumerate(zip(job.anchors, starts, strict=True)):
                key = (sha, anchor.index)
                self.anchors[key], self.starts[key] = anchor, start
                self.places[key] = (place + 1, len(starts))
                self.tasks[key] = tasks_of(self.settings, *key) if start.status == "ok" else ()
                self.results[key] = {}
                self.waiting |= dict.fromkeys(self.tasks[key])
        for key, start in self.starts.items():
            if start.status != "ok":
                self.watch.settled(*self.places[key], start_of(start, self.settings))
        if self.store is not None:
            for task in tuple(self.waiting):
                if not self._known(task):
                    before = self.store.open_result(task)
                    self.opened |= {} if before is None else {task: before}
        self.watch.begin(len(self.waiting))

    def warm(self) -> None:
        """Have everything compiled that the tasks need; the run's seconds do not count it."""
        start = monotonic()
        # Where nobody watches, the log tells that the first run takes longer.
        say = quiet if type(self.watch) is Unwatched else self.watch.message
        warm_for(
            {task.metric for task in self.waiting}, self.settings.method, say, self.settings.norm
        )
        self.start += monotonic() - start

    def spread(self, here: bool) -> int:
        """Share the workers of this machine out; the number of tasks that run side by side.

        An anchor's metrics follow one another, its estimates stand for themselves. Where these are
        fewer than the workers, each one's search has its share of them.
        """
        lanes = {(t.model, t.index, t.spec and t.name) for t in self.waiting}
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
        self.results[key][task] = result
        start = start_of(self.starts[key], self.settings)
        self.watch.finished(*self.places[key], start, task, result)

    def _ready(self, task: Task) -> bool:
        key = (task.model, task.index)
        return all(need in self.results[key] for need in needs(task, self.tasks[key]))

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
        for task in self._chosen(executor.slots - len(running)):
            self.tries[task] = self.tries.get(task, 0) + 1
            key = (task.model, task.index)
            known = Known.of(self.results[key][need] for need in needs(task, self.tasks[key]))
            before = self.opened.get(task)
            if before is not None and isinstance(before.found, Distance):
                known = replace(known, interval=before.found)
            with interrupt.breakable():
                future = executor.submit(work, task, self.anchors[key], self.own, known)
            running[future] = task

    def _chosen(self, room: int) -> list[Task]:
        """Tasks that wait no longer, in order; other processes' results are taken over."""
        chosen: list[Task] = []
        while True:
            done: list[Task] = []
            for task in self.waiting:
                if len(chosen) >= room:
                    break
                if self._ready(task):
                    claim = self._claim(task)
                    if claim != "taken":
                        (chosen if claim == "mine" else done).append(task)
            for task in chosen:
                self.waiting.pop(task, None)
            for task in done:
                self._known(task)
            if not done:
                return chosen

    def _claim(self, task: Task) -> Claim:
        return "mine" if self.store is None or task in self.tries else self.store.claim(task)

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
                # The machine's fault, not the anchor's: a resumed run tries again.
                message = f"worker failed: {_why(error)}"
                result = Result(Failure(message), final=False)
            if interrupt.requested and value_of(result).get("status") == "interval":
                result = replace(result, final=False)
            self._done(task, result)
            if result.failure is not None:
                where = f"{task.name} of anchor {task.index}"
                self._event("error", f"{where}: {result.failure.message}")
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
                before = {t: self.opened[t] for t in self.tasks[key] if t in self.opened}
                results = before | self.results[key]
                if self.starts[key].status == "ok" and not results:
                    continue  # not begun
                records.append(record_of(self.starts[key], self.tasks[key], results, self.settings))
                points += [
                    (sha, anchor.index, *point)
                    for task, result in results.items()
                    for point in points_of(task, result)
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
