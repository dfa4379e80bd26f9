"""Accuracy against the radius: what is certified, what is attacked, and the gap between."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curves:
    """Step functions of the radius, each value valid from its radius on.

    Attributes
    ----------
    radii
        (K,) increasing, the first one 0.
    certified
        (K,) share of anchors proven robust at least up to the radius.
    attacked
        (K,) share of anchors with no known adversarial point within the radius.
    """

    radii: Floats
    certified: Floats
    attacked: Floats


def interval(record: dict[str, Any]) -> tuple[float, float]:
    """(largest proven lower bound, smallest known upper bound) of an anchor; inf where none."""
    if record["status"] == "misclassified":
        return 0.0, 0.0
    bnd = record.get("d_bnd", {})
    lowers = [0.0, record.get("d_rob", {}).get("value"), bnd.get("lower")]
    uppers = [record.get("d_adv", {}).get("value"), bnd.get("upper")]
    lower = max(v for v in lowers if v is not None)
    return lower, min((v for v in uppers if v is not None), default=float("inf"))


def curves(records: Sequence[dict[str, Any]]) -> Curves:
    """Curves over all anchors; an anchor that ended in an error counts by what is known of it."""
    ends = np.array([interval(r) for r in records]).reshape(-1, 2)
    # An anchor stops being certified just beyond its lower end, and is attacked from its upper on.
    finite = ends[np.isfinite(ends)]
    radii = np.unique(np.concatenate([[0.0], finite]))
    count = max(len(records), 1)
    certified = (ends[:, :1] > radii).sum(axis=0) / count
    attacked = (ends[:, 1:] > radii).sum(axis=0) / count
    return Curves(radii, certified, attacked)


def stage_seconds(records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Computing time per stage over all anchors; estimates under their text."""
    total: dict[str, float] = {}
    for record in records:
        for stage in ("d_adv", "d_rob", "d_bnd"):
            if stage in record:
                total[stage] = total.get(stage, 0.0) + record[stage]["seconds"]
        for e in record.get("estimates", []):
            name = f"{e['metric']} by {e['spec']}"
            total[name] = total.get(name, 0.0) + e.get("seconds", 0.0)
    return total
