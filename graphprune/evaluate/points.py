"""The concrete points behind upper bounds, as bytes and as a file."""

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphprune.attacks.confirm import Witness
from graphprune.evaluate.results import Job, Points
from graphprune.ir.export import write_bytes
from graphprune.runtime.original import run_original


def pack(points: Points) -> bytes:
    """Bytes of (metric, witness) pairs; inverse of `unpack`."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f"x{i}": w.x for i, (_, w) in enumerate(points)}
    arrays |= {f"z{i}": w.searched for i, (_, w) in enumerate(points) if w.searched is not None}
    facts = [[metric, w.distance, w.target] for metric, w in points]
    np.savez_compressed(buffer, facts=np.array(json.dumps(facts)), **arrays)
    return buffer.getvalue()


def unpack(data: bytes) -> Points:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        facts = json.loads(str(archive["facts"]))
        return [
            (metric, Witness(archive[f"x{i}"], distance, target, archive.get(f"z{i}")))
            for i, (metric, distance, target) in enumerate(facts)
        ]


def save_points(
    path: str | Path,
    points: Iterable[tuple[str, int, str, Witness]],
    ties: Sequence[bool] | None = None,
) -> None:
    """Write points to an .npz file: arrays index, metric, target, x; of several networks model too.

    Parameters
    ----------
    points
        (sha256 of the network's file, anchor index, metric, witness).
    ties
        Per point, True where the largest score is still the label's; written as an array too.

    Notes
    -----
    Points of networks with different input shapes cannot share one array: `x` is then flat, its
    rows padded with NaN.
    """
    rows = list(points)
    models = [model for model, _, _, _ in rows]
    several: dict[str, Any] = {}
    if len(set(models)) > 1:
        several["model"] = np.array(models, dtype=np.str_)
    if ties is not None:
        several["tie"] = np.array(ties, dtype=np.bool_)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        **several,
        index=np.array([i for _, i, _, _ in rows], dtype=np.int64),
        metric=np.array([metric for _, _, metric, _ in rows], dtype=np.str_),
        target=np.array([w.target for _, _, _, w in rows], dtype=np.int64),
        x=_stack([w.x for _, _, _, w in rows]),
    )
    write_bytes(path, buffer.getvalue())


def ties_of(jobs: Sequence[Job], points: Sequence[tuple[str, int, str, Witness]]) -> list[bool]:
    """Per point, True where the file's largest score is still the label's.

    Points with f_t >= f_y count as adversarial, and at f_t = f_y an argmax may take either.
    """
    networks = {job.network.source.sha256: job.network for job in jobs}
    labels = {
        (job.network.source.sha256, anchor.index): anchor.label
        for job in jobs
        for anchor in job.anchors
    }
    found = []
    for model, index, _, witness in points:
        outputs = run_original(networks[model], witness.x[None])[0]
        found.append(int(np.argmax(outputs)) == labels[model, index])
    return found


def _stack(xs: "list[np.ndarray[Any, Any]]") -> "np.ndarray[Any, Any]":
    if len({x.shape for x in xs}) <= 1:
        return np.array(xs)
    out = np.full((len(xs), max(x.size for x in xs)), np.nan)
    for row, x in zip(out, xs, strict=True):
        row[: x.size] = x.reshape(-1)
    return out
