"""A run: anchors of a model evaluated one after the other or in parallel, kept as they finish."""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from time import monotonic
from typing import Any

import numpy as np

from graphprune.backends.onnxruntime import configure
from graphprune.canonical import load
from graphprune.errors import OutputError
from graphprune.evaluate.anchor import Points, Record, Stage, evaluate_anchor, no_stage
from graphprune.evaluate.settings import Settings
from graphprune.ir import Anchor, Network
from graphprune.ir.export import write_bytes
from graphprune.passes.analysis.witness import Witness
from graphprune.progress import Progress, quiet

SCHEMA = "graphprune/1"
Finished = Callable[[Record], None]


def _nothing(record: Record) -> None:
    """Say nothing."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run found; `interrupted` when Ctrl-C ended it early."""

    document: dict[str, Any]
    points: list[tuple[int, str, Witness]]
    interrupted: bool

    @property
    def incomplete(self) -> bool:
        """Some anchor ended in an error or a d_bnd in an interval: exit code 1."""
        return any(
            record["status"] == "error" or record.get("d_bnd", {}).get("status") == "interval"
            for record in self.document["anchors"]
        )


def evaluate(
    network: Network,
    anchors: list[Anchor],
    settings: Settings,
    *,
    run_dir: str | Path | None = None,
    progress: Progress = quiet,
    stage: Stage = no_stage,
    finished: Finished = _nothing,
) -> Outcome:
    """Evaluate anchors; Ctrl-C ends the run with everything finished kept.

    Parameters
    ----------
    run_dir
        Folder that keeps every finished anchor; the same call again goes on where it stopped.
    finished
        Told the record of every anchor as it is finished.

    Raises
    ------
    OutputError
        The run directory cannot be written, or belongs to other settings or another model.
    """
    configure(provider=settings.provider, threads=settings.threads)
    start = monotonic()
    store = None if run_dir is None else Store(Path(run_dir), network, settings)
    done: dict[int, tuple[Record, Points]] = {}
    if store is not None:
        done = {a.index: kept for a in anchors if (kept := store.get(a)) is not None}
        for record, _ in done.values():
            finished(record)
    interrupted = False
    todo = [a for a in anchors if a.index not in done]
    try:
        for anchor, (record, points) in _results(network, todo, settings, progress, stage):
            done[anchor.index] = record, points
            if store is not None:
                store.put(anchor, record, points)
            finished(record)
    except KeyboardInterrupt:
        interrupted = True
    records = [done[a.index][0] for a in anchors if a.index in done]
    document = {
        "schema": SCHEMA,
        "model": model_json(network),
        "settings": settings.to_json(),
        "anchors": records,
        "summary": summary(records, monotonic() - start),
    }
    found = [(i, metric, w) for i, (_, points) in done.items() for metric, w in points]
    return Outcome(document, found, interrupted)


def _results(
    network: Network, anchors: list[Anchor], settings: Settings, progress: Progress, stage: Stage
) -> Iterator[tuple[Anchor, tuple[Record, Points]]]:
    if settings.workers <= 1 or len(anchors) <= 1 or network.source.path is None:
        for anchor in anchors:
            yield anchor, evaluate_anchor(network, anchor, settings, progress=progress, stage=stage)
        return
    # Spawned, not forked: ONNX Runtime's threads do not survive a fork.
    pool = ProcessPoolExecutor(
        settings.workers, get_context("spawn"), _start, (str(network.source.path), settings)
    )
    try:
        pending: dict[Future[tuple[Record, Points]], Anchor] = {
            pool.submit(_work, anchor): anchor for anchor in anchors
        }
        while pending:
            ready, _ = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in ready:
                anchor = pending.pop(future)
                yield anchor, _outcome(future, anchor)
            progress(f"{len(anchors) - len(pending)}/{len(anchors)} anchors")
    finally:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)


def _outcome(future: "Future[tuple[Record, Points]]", anchor: Anchor) -> tuple[Record, Points]:
    try:
        return future.result()
    except Exception as error:
        message = f"worker failed: {error or type(error).__name__}"
        return {
            "index": anchor.index, "label": anchor.label, "status": "error", "message": message,
        }, []  # fmt: skip


_worker: dict[str, Any] = {}


def _start(path: str, settings: Settings) -> None:
    import signal

    # The parent hears Ctrl-C and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure(provider=settings.provider, threads=settings.threads)
    _worker.update(network=load(path), settings=settings)


def _work(anchor: Anchor) -> tuple[Record, Points]:
    return evaluate_anchor(_worker["network"], anchor, _worker["settings"])


def model_json(network: Network) -> dict[str, Any]:
    source = network.source
    return {
        "path": None if source.path is None else str(source.path),
        "sha256": source.sha256,
        "neurons": network.neurons,
        "parameters": network.parameters,
    }


def summary(records: list[Record], seconds: float) -> dict[str, Any]:
    """Counts, and mean and median of every metric over the anchors with status ok."""
    good = [r for r in records if r["status"] == "ok"]
    columns: dict[str, list[float]] = {}
    for record in good:
        values = {
            "d_adv": record.get("d_adv", {}).get("value"),
            "d_rob": record.get("d_rob", {}).get("value"),
            "d_bnd.lower": record.get("d_bnd", {}).get("lower"),
            "d_bnd.upper": record.get("d_bnd", {}).get("upper"),
        }
        for estimate in record.get("estimates", []):
            values[f"{estimate['spec']} {estimate['metric']}"] = estimate["value"]
        for name, value in values.items():
            if value is not None:
                columns.setdefault(name, []).append(value)
    statuses = ("ok", "misclassified", "error")
    return {
        "anchors": len(records),
        **{status: sum(r["status"] == status for r in records) for status in statuses},
        "exact": sum(r.get("d_bnd", {}).get("status") == "exact" for r in good),
        "mean": {name: mean(values) for name, values in columns.items()},
        "median": {name: median(values) for name, values in columns.items()},
        "seconds": seconds,
    }


def save_points(path: str | Path, points: Iterable[tuple[int, str, Witness]]) -> None:
    """Write the points behind the upper bounds: arrays index, metric, target, x."""
    import io

    rows = list(points)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        index=np.array([i for i, _, _ in rows], dtype=np.int64),
        metric=np.array([metric for _, metric, _ in rows], dtype=np.str_),
        target=np.array([w.target for _, _, w in rows], dtype=np.int64),
        x=np.array([w.x for _, _, w in rows]),
    )
    write_bytes(path, buffer.getvalue())


class Store:
    """Finished anchors of a run in a SQLite database; each is committed as it comes."""

    def __init__(self, folder: Path, network: Network, settings: Settings) -> None:
        self.path = folder / "run.sqlite"
        identity = {
            "model": network.source.sha256,
            "settings": json.dumps(settings.numbers(), sort_keys=True),
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as db, db:
                db.execute("CREATE TABLE IF NOT EXISTS run (key TEXT PRIMARY KEY, value TEXT)")
                db.execute(
                    "CREATE TABLE IF NOT EXISTS anchors"
                    " (idx INTEGER PRIMARY KEY, hash TEXT, record TEXT, points BLOB)"
                )
                for key, value in identity.items():
                    db.execute("INSERT OR IGNORE INTO run VALUES (?, ?)", (key, value))
                kept = dict(db.execute("SELECT key, value FROM run").fetchall())
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"{folder}: cannot be used as a run directory: {error}") from None
        changed = [key for key in identity if kept[key] != identity[key]]
        if changed:
            raise OutputError(
                f"{folder}: belongs to a run with other {' and '.join(changed)}; give another --out"
            )

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=30.0)
        db.execute("PRAGMA journal_mode=WAL")
        return db

    def get(self, anchor: Anchor) -> tuple[Record, Points] | None:
        with closing(self._connect()) as db:
            row = db.execute(
                "SELECT record, points FROM anchors WHERE idx = ? AND hash = ?",
                (anchor.index, _hash(anchor)),
            ).fetchone()
        return None if row is None else (json.loads(row[0]), _unpack(row[1]))

    def put(self, anchor: Anchor, record: Record, points: Points) -> None:
        try:
            with closing(self._connect()) as db, db:
                db.execute(
                    "INSERT OR REPLACE INTO anchors VALUES (?, ?, ?, ?)",
                    (anchor.index, _hash(anchor), json.dumps(record), _pack(points)),
                )
        except sqlite3.Error as error:
            raise OutputError(f"{self.path}: cannot write: {error}") from None


def _hash(anchor: Anchor) -> str:
    data = np.ascontiguousarray(anchor.x).tobytes() + str(anchor.label).encode()
    return hashlib.sha256(data).hexdigest()


def _pack(points: Points) -> bytes:
    import io

    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f"x{i}": w.x for i, (_, w) in enumerate(points)}
    facts = [[metric, w.distance, w.target] for metric, w in points]
    np.savez_compressed(buffer, facts=np.array(json.dumps(facts)), **arrays)
    return buffer.getvalue()


def _unpack(data: bytes) -> Points:
    import io

    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        facts = json.loads(str(archive["facts"]))
        return [
            (metric, Witness(archive[f"x{i}"], distance, target))
            for i, (metric, distance, target) in enumerate(facts)
        ]


def write_json(path: str | Path, documents: list[dict[str, Any]]) -> None:
    """Write the document of one model, or all of them under ``runs``."""
    whole = documents[0] if len(documents) == 1 else {"schema": SCHEMA, "runs": documents}
    write_bytes(path, (json.dumps(whole, indent=1, allow_nan=False) + "\n").encode())


def check_writable(path: str | Path) -> None:
    """Say before an hour's run, not after it, that a result cannot be written."""
    target = Path(path)
    if target.is_dir():
        raise OutputError(f"{path}: is a folder")
    if not target.parent.is_dir():
        raise OutputError(f"{path}: the folder {target.parent} does not exist")
    import os

    if not os.access(target.parent, os.W_OK) or (
        target.exists() and not os.access(target, os.W_OK)
    ):
        raise OutputError(f"{path}: cannot write: permission denied")
