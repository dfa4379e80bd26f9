"""Accuracy against the radius: what is certified, what is attacked, and the gap between."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphprune.evaluate.reading import AnchorRecord

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


def curves(records: Sequence[AnchorRecord]) -> Curves:
    """Curves over all anchors but skipped ones.

    An anchor that ended in an error counts by what is known of it.
    """
    records = [record for record in records if record.status != "skipped"]
    ends = np.array([record.ends for record in records]).reshape(-1, 2)
    # An anchor stops being certified just beyond its lower end, and is attacked from its upper on.
    finite = ends[np.isfinite(ends)]
    radii = np.unique(np.concatenate([[0.0], finite]))
    count = max(len(records), 1)
    certified = (ends[:, :1] > radii).sum(axis=0) / count
    attacked = (ends[:, 1:] > radii).sum(axis=0) / count
    return Curves(radii, certified, attacked)


def stage_seconds(records: Sequence[AnchorRecord]) -> dict[str, float]:
    """Computing time per stage over all anchors; estimates under their text."""
    total: dict[str, float] = {}
    for record in records:
        stages = (("d_adv", record.adv), ("d_rob", record.rob), ("d_bnd", record.bnd))
        estimates = ((estimate.name, estimate) for estimate in record.estimates)
        for name, part in (*stages, *estimates):
            if part is not None:
                total[name] = total.get(name, 0.0) + part.seconds
    return total
