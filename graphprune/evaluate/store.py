"""A run's database: settings, models, anchors, every finished result, claims, events.

One SQLite file in write-ahead mode. Each result is one transaction, so a killed process, a full
disk or a lost machine costs the tasks in flight and never leaves half a result. Several processes
may work on one run: a task is claimed before it is done, and a claim whose owner stopped giving
signs of life is up for anyone.
"""

import hashlib
import io
import json
import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from graphprune.check import Proof, ProofFile, read, write
from graphprune.errors import OutputError
from graphprune.evaluate.growth import Spent, goes_on, grown, is_closed, refused
from graphprune.evaluate.points import pack, unpack
from graphprune.evaluate.results import Classified, Result, Task
from graphprune.evaluate.serialise import Record, points_of, restored, start_of, value_of
from graphprune.evaluate.settings import Metric, Settings
from graphprune.ir import Network
from graphprune.region import Anchor
from graphprune.version import __version__

FILE = "run.sqlite"
# Seconds between signs of life, and after which a claim without one is given up.
BEAT, STALE = 5.0, 30.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS run (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS models (
  sha256 TEXT PRIMARY KEY, path TEXT, neurons INTEGER, parameters INTEGER);
CREATE TABLE IF NOT EXISTS anchors (
  model TEXT, idx INTEGER, hash TEXT, x BLOB, record TEXT, PRIMARY KEY (model, idx));
CREATE TABLE IF NOT EXISTS results (
  model TEXT, idx INTEGER, task TEXT, final INTEGER, value TEXT, points BLOB, at REAL,
  PRIMARY KEY (model, idx, task));
CREATE TABLE IF NOT EXISTS efforts (
  model TEXT, idx INTEGER, task TEXT, time_limit REAL, level INTEGER,
  PRIMARY KEY (model, idx, task));
CREATE TABLE IF NOT EXISTS proofs (
  model TEXT, idx INTEGER, task TEXT, certificate BLOB, PRIMARY KEY (model, idx, task));
CREATE TABLE IF NOT EXISTS claims (
  model TEXT, idx INTEGER, task TEXT, owner TEXT, host TEXT, pid INTEGER, beat REAL,
  PRIMARY KEY (model, idx, task));
CREATE TABLE IF NOT EXISTS events (at REAL, owner TEXT, kind TEXT, text TEXT);
"""

Claim = Literal["mine", "done", "taken"]


@dataclass(eq=False)
class Store:
    """An open run directory; use as a context manager.

    Attributes
    ----------
    new
        Set the run that is there aside.
    grows
        Settings that a run may grow by can differ from those that it has.

    Raises
    ------
    OutputError
        The folder cannot be used, or belongs to a run with other settings or models.
    """

    folder: Path
    settings: Settings
    new: bool = False
    grows: bool = True
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def path(self) -> Path:
        return self.folder / FILE

    def __enter__(self) -> Self:
        with self._said("cannot be used as a run directory"):
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.new and self.path.exists():
                self._set_aside()
            # Waiting a minute for another process' transaction is enough for any of ours.
            self._db = sqlite3.connect(
                self.path, timeout=60.0, isolation_level=None, check_same_thread=False
            )
            self._lock = threading.RLock()
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            self._agree()
        self._stop = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._beating.join()
        try:
            with self._transaction() as db:
                db.execute("DELETE FROM claims WHERE owner = ?", (self.owner,))
        except sqlite3.Error:
            pass  # claims of a dead owner are given up by themselves
        self._db.close()

    @cached_property
    def _spent(self) -> Spent:
        """The work that every task is given now."""
        return Spent.of(self.settings.numbers())

    def _set_aside(self) -> None:
        """Start anew without losing what was finished: the old database gets another name."""
        if self._at_work():
            raise OutputError(
                f"{self.folder}: another process is at work on this run; wait for it, or give"
                " another --out"
            )
        stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{self.owner[:8]}"
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):  # or another process has just set it aside
                self.path.with_name(FILE + suffix).rename(
                    self.folder / f"run-{stamp}.sqlite{suffix}"
                )

    def _at_work(self) -> bool:
        """True where a living process has claimed a task of the run that is there."""
        now = time.time()
        try:
            with closing(
                sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True)
            ) as db:
                claims = db.execute("SELECT host, pid, beat FROM claims").fetchall()
        except sqlite3.Error:
            return False  # no run of ours
        return any(_alive(host, pid, beat, now) for host, pid, beat in claims)

    def _agree(self) -> None:
        wanted = self.settings.numbers()
        with self._transaction() as db:
            for key, value in (
                ("settings", json.dumps(wanted, sort_keys=True)),
                ("version", __version__),
                ("created", repr(time.time())),
            ):
                db.execute("INSERT OR IGNORE INTO run VALUES (?, ?)", (key, value))
            (kept,) = db.execute("SELECT value FROM run WHERE key = 'settings'").fetchone()
            known = json.loads(kept)
            wanted = json.loads(json.dumps(wanted))
            changed = [
                f"{name} {json.dumps(known.get(name))} -> {json.dumps(wanted.get(name))}"
                for name in refused(known, wanted, grows=self.grows)
            ]
            if changed:
                raise OutputError(
                    f"{self.folder}: belongs to a run with other settings ({'; '.join(changed)});"
                    " give another --out, or --new to start again"
                )
            # Results of a version that did not note it had the time of the run's settings.
            first = Spent.of(known)
            db.execute(
                "INSERT OR IGNORE INTO efforts SELECT model, idx, task, ?, ? FROM results",
                (first.time_limit, first.level),
            )
            db.execute(
                "UPDATE run SET value = ? WHERE key = 'settings'",
                (json.dumps(grown(known, wanted), sort_keys=True),),
            )

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"{self.folder}: {what}: {error}") from None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def add(
        self, network: Network, anchors: Sequence[Anchor], starts: Sequence[Classified]
    ) -> None:
        """Enter a model and its anchors; refuse one that changed since it was entered."""
        source = network.source
        path = None if source.path is None else str(source.path)
        with self._said("cannot write"), self._transaction() as db:
            others = db.execute(
                "SELECT sha256 FROM models WHERE path = ? AND sha256 != ?", (path, source.sha256)
            ).fetchone()
            if others is not None:
                raise OutputError(
                    f"{self.folder}: {path} has changed since this run began;"
                    " give another --out, or --new to start again"
                )
            db.execute(
                "INSERT OR IGNORE INTO models VALUES (?, ?, ?, ?)",
                (source.sha256, path, network.neurons, network.parameters),
            )
            for anchor, start in zip(anchors, starts, strict=True):
                key = (source.sha256, anchor.index)
                row = db.execute(
                    "SELECT hash FROM anchors WHERE model = ? AND idx = ?", key
                ).fetchone()
                if row is None:
                    record = json.dumps(start_of(start, self.settings))
                    db.execute(
                        "INSERT INTO anchors VALUES (?, ?, ?, ?, ?)",
                        (*key, _hash(anchor), _array(anchor.x), record),
                    )
                elif row[0] != _hash(anchor):
                    raise OutputError(
                        f"{self.folder}: anchor {anchor.index} has changed since this run began;"
                        " give another --out, or --new to start again"
                    )

    def get(self, task: Task) -> Result | None:
        """The final result of a task, or None; with its certificate, where one is asked for."""
        with self._said("cannot read"), self._lock:
            return self._finished(self._db, task)

    def _finished(
        self, db: sqlite3.Connection, task: Task, *, going_on: bool = False
    ) -> Result | None:
        row = db.execute(
            "SELECT value, points, certificate FROM results LEFT JOIN proofs USING (model, idx,"
            " task) WHERE model = ? AND idx = ? AND task = ? AND final = 1",
            _key(task),
        ).fetchone()
        if row is None or self._goes_on(db, task, json.loads(row[0])) != going_on:
            return None
        value, points = json.loads(row[0]), unpack(row[1])
        result = restored(task, value, points, self.settings)
        proven = self.settings.certificate and (task.metric, task.spec) == (Metric.BND, None)
        if not proven or result.failure is not None:
            return result
        if row[2] is None:
            return None
        (proof,) = read(io.BytesIO(row[2])).proofs
        return restored(task, value, points, self.settings, proof=proof)

    def _goes_on(self, db: sqlite3.Connection, task: Task, value: Record) -> bool:
        """True where a finished result is open, and was had with less than is asked for now."""
        had = db.execute(
            "SELECT time_limit, level FROM efforts WHERE model = ? AND idx = ? AND task = ?",
            _key(task),
        ).fetchone()
        if had is None:
            return False
        exact = Task(task.model, task.index, Metric.BND)
        row = db.execute(
            "SELECT value FROM results WHERE model = ? AND idx = ? AND task = ? AND final = 1",
            _key(exact),
        ).fetchone()
        closed = row is not None and is_closed(json.loads(row[0]))
        return goes_on(task, value, Spent(*had), self._spent, closed=closed)

    def open_result(self, task: Task) -> Result | None:
        """The result so far of a task that is asked for with more time or effort; else None."""
        if self.settings.certificate:
            return None  # proofs are made of a whole search
        with self._said("cannot read"), self._lock:
            return self._finished(self._db, task, going_on=True)

    def claim(self, task: Task) -> Claim:
        """Take a task: ``mine``, or it is ``done``, or ``taken`` by a living process."""
        now = time.time()
        with self._said("cannot write"), self._transaction() as db:
            if self._finished(db, task) is not None:
                return "done"
            row = db.execute(
                "SELECT owner, host, pid, beat FROM claims"
                " WHERE model = ? AND idx = ? AND task = ?",
                _key(task),
            ).fetchone()
            if row is not None and row[0] != self.owner and _alive(row[1], row[2], row[3], now):
                return "taken"
            db.execute(
                "INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*_key(task), self.owner, socket.gethostname(), os.getpid(), now),
            )
        return "mine"

    def put(self, task: Task, result: Result) -> None:
        """Keep a result, with its certificate, and give up its claim: all or nothing."""
        proofs = () if result.proof is None else (self._certificate(task, result.proof),)
        with self._said("cannot write"), self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *_key(task), int(result.final), json.dumps(value_of(result)),
                    pack(points_of(task, result)), time.time(),
                ),
            )  # fmt: skip
            db.execute(
                "INSERT OR REPLACE INTO efforts VALUES (?, ?, ?, ?, ?)",
                (*_key(task), self._spent.time_limit, self._spent.level),
            )
            db.execute("DELETE FROM proofs WHERE model = ? AND idx = ? AND task = ?", _key(task))
            for data in proofs:
                db.execute("INSERT INTO proofs VALUES (?, ?, ?, ?)", (*_key(task), data))
            db.execute("DELETE FROM claims WHERE model = ? AND idx = ? AND task = ?", _key(task))
            self._note(db, "finished", f"{task.name} of anchor {task.index} of {task.model[:12]}")

    def _certificate(self, task: Task, proof: Proof) -> bytes:
        """A certificate of its own, which ``graphprune check`` reads."""
        domain = self.settings.domain
        return write(ProofFile(task.model, *domain.interval, (proof,)))

    def event(self, kind: str, text: str) -> None:
        """Note something that happened."""
        with self._said("cannot write"), self._transaction() as db:
            self._note(db, kind, text)

    def _note(self, db: sqlite3.Connection, kind: str, text: str) -> None:
        db.execute("INSERT INTO events VALUES (?, ?, ?, ?)", (time.time(), self.owner, kind, text))

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            try:
                with self._transaction() as db:
                    db.execute(
                        "UPDATE claims SET beat = ? WHERE owner = ?", (time.time(), self.owner)
                    )
            except sqlite3.Error:
                continue  # a full disk is told by the next result


def _key(task: Task) -> tuple[str, int, str]:
    return (task.model, task.index, task.name)


def _alive(host: str, pid: int, beat: float, now: float) -> bool:
    """True where a claim's owner lives: by its process on this host, else by its signs of life."""
    if host == socket.gethostname() and os.name == "posix":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
    return now - beat < STALE


def _hash(anchor: Anchor) -> str:
    data = np.ascontiguousarray(anchor.x).tobytes() + str(anchor.label).encode()
    return hashlib.sha256(data).hexdigest()


def _array(x: "np.ndarray[Any, Any]") -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, x)
    return buffer.getvalue()
