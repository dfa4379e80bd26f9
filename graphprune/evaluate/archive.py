"""Reading a run directory: finished, stopped, or still at work."""

import io
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import GraphpruneError
from graphprune.evaluate.documents import SCHEMA, seconds_of, summary
from graphprune.evaluate.points import unpack
from graphprune.evaluate.reading import AnchorRecord, DocumentRecord, read_document, read_record
from graphprune.evaluate.results import Job, Outcome, Points, Result, Task
from graphprune.evaluate.serialise import Record, read_start, record_of, restored
from graphprune.evaluate.settings import Settings
from graphprune.evaluate.store import FILE
from graphprune.evaluate.tasks import tasks_of
from graphprune.version import __version__


@dataclass(frozen=True, eq=False)
class Case:
    """One anchor with what was found for it.

    Attributes
    ----------
    record
        Its part of the document.
    x
        The point, the network's sample shape.
    points
        (metric, witness): the concrete points behind its upper bounds.
    """

    record: AnchorRecord
    x: NDArray[Any]
    points: Points


@dataclass(frozen=True, eq=False)
class Evaluated:
    """One network of a run: its document, and every anchor of it.

    Attributes
    ----------
    run
        The run's folder; empty where there is none.
    version
        The version of graphprune that began the run.
    given
        A name that tells it apart, in place of its file's.
    """

    document: DocumentRecord
    cases: tuple[Case, ...]
    run: str = ""
    version: str = __version__
    given: str = ""

    @property
    def name(self) -> str:
        """The network's name on pages."""
        model = self.document.model
        if self.given:
            return self.given
        return Path(model.path).stem if model.path else model.sha256[:12]


def of_outcome(jobs: Sequence[Job], outcome: Outcome) -> list[Evaluated]:
    """The results of a run in this process, network by network."""
    found = []
    points: dict[tuple[str, int], Points] = {}
    for sha, index, metric, witness in outcome.keyed_points:
        points.setdefault((sha, index), []).append((metric, witness))
    for job, written in zip(jobs, outcome.documents, strict=True):
        document = read_document(written)
        sha = job.network.source.sha256
        anchors = {a.index: a.x for a in job.anchors}
        cases = tuple(
            Case(r, anchors[r.index], points.get((sha, r.index), [])) for r in document.anchors
        )
        found.append(Evaluated(document, cases))
    return found


def read_run(folder: str | Path) -> list[Evaluated]:
    """Every network of a run directory, with what is finished by now.

    Raises
    ------
    GraphpruneError
        There is no run in the folder, or it cannot be read.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise GraphpruneError(
            f"{folder}: holds no run (no {FILE}); 'graphprune evaluate MODEL --anchors FILE"
            f" --out {folder}' makes one"
        )
    try:
        with closing(_open(path)) as db:
            return [replace(found, run=str(folder)) for found in _read(db)]
    except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
        raise GraphpruneError(f"{path}: not a readable run: {error}") from None


def _open(path: Path) -> sqlite3.Connection:
    uri = path.resolve().as_uri()
    db = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=30.0)
    try:
        db.execute("SELECT 1 FROM run").fetchone()
    except sqlite3.OperationalError:
        # Write-ahead files cannot be made beside a database on a read-only disk.
        db.close()
        db = sqlite3.connect(f"{uri}?immutable=1", uri=True)
    return db


def _read(db: sqlite3.Connection) -> list[Evaluated]:
    (text,) = db.execute("SELECT value FROM run WHERE key = 'settings'").fetchone()
    settings = Settings.from_json(json.loads(text))
    version = db.execute("SELECT value FROM run WHERE key = 'version'").fetchone()
    found = []
    for sha, path, neurons, parameters in db.execute("SELECT * FROM models ORDER BY rowid"):
        kept = tuple(_cases(db, sha, settings))
        records = [record for record, *_ in kept]
        seconds = sum(seconds_of(record) for record in records)
        document = {
            "schema": SCHEMA,
            "model": {"path": path, "sha256": sha, "neurons": neurons, "parameters": parameters},
            "settings": settings.to_json(),
            "anchors": records,
            "summary": summary(records, seconds, settings),
        }
        cases = tuple(Case(read_record(record), x, points) for record, x, points in kept)
        found.append(Evaluated(read_document(document), cases, version=version[0]))
    return found


def _cases(
    db: sqlite3.Connection, sha: str, settings: Settings
) -> Iterator[tuple[Record, NDArray[Any], Points]]:
    """Every anchor of a model that is begun."""
    kept: dict[int, list[tuple[str, bool, str, bytes]]] = {}
    for index, *row in db.execute(
        "SELECT idx, task, final, value, points FROM results WHERE model = ? ORDER BY at", (sha,)
    ):
        kept.setdefault(index, []).append((row[0], bool(row[1]), row[2], row[3]))
    for index, x, record in db.execute(
        "SELECT idx, x, record FROM anchors WHERE model = ? ORDER BY idx", (sha,)
    ):
        start = read_start(json.loads(record))
        if start.status == "ok" and index not in kept:
            continue  # not begun
        tasks = tasks_of(settings, sha, index)
        by_name = {task.name: task for task in tasks}
        results: dict[Task, Result] = {}
        points: Points = []
        for name, final, value, packed in kept.get(index, []):
            own, task = unpack(packed), by_name[name]
            results[task] = restored(task, json.loads(value), own, settings, final=final)
            points += own
        point = np.load(io.BytesIO(x), allow_pickle=False)
        yield record_of(start, tasks, results, settings), point, points
