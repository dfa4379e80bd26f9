"""The view over many anchors: by class, the closest and farthest, two networks side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from graphprune.evaluate.archive import Case, Evaluated
from graphprune.evaluate.reading import AnchorRecord

# Anchors shown at either end.
SHOWN = 10
# Classes between which counts are shown as a table.
MOST = 20

Ends = tuple[float, float]


@dataclass(frozen=True)
class ClassRow:
    """The anchors of one class.

    Attributes
    ----------
    lower, upper
        Means over those that are classified correctly: proven from below, and of the closest point
        known; None where there is no such number.
    nearest
        Numbers of anchors that have a class nearest, in the order of `Overview.classes`.
    """

    label: int
    anchors: int
    ok: int
    lower: float | None
    upper: float | None
    nearest: tuple[int, ...]


@dataclass(frozen=True)
class Overview:
    """Rows per class, and the classes that are nearest to some anchor."""

    rows: tuple[ClassRow, ...]
    classes: tuple[int, ...]


def by_class(records: Sequence[AnchorRecord]) -> Overview:
    """The anchors class by class."""
    near = sorted({r.nearest for r in records if r.nearest is not None})
    rows = []
    for label in sorted({record.label for record in records}):
        own = [record for record in records if record.label == label]
        good = [record for record in own if record.status == "ok"]
        lower, upper = (_mean([record.ends[side] for record in good]) for side in (0, 1))
        counts = tuple(sum(record.nearest == other for record in good) for other in near)
        rows.append(ClassRow(label, len(own), len(good), lower, upper, counts))
    return Overview(tuple(rows), tuple(near) if len(near) <= MOST else ())


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if np.isfinite(value)]
    return fmean(known) if known else None


def extremes(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """The anchors with the closest and the farthest points known, `SHOWN` of each at most."""
    known = [
        case for case in cases
        if case.record.status == "ok" and np.isfinite(case.record.ends[1])
    ]  # fmt: skip
    ordered = sorted(known, key=lambda case: case.record.ends[1])
    count = min(SHOWN, len(ordered) // 2)
    return ordered[:count], ordered[::-1][:count]


@dataclass(frozen=True)
class Duel:
    """Two networks on the anchors that both classify correctly.

    Attributes
    ----------
    ends
        Per network, the (lower, upper) ends of every common anchor.
    first, second
        Anchors on which a network is proven more robust: its lower end is above the other's upper.
    """

    names: tuple[str, str]
    ends: tuple[tuple[Ends, ...], tuple[Ends, ...]]
    first: int
    second: int

    @property
    def anchors(self) -> int:
        """The number of common anchors."""
        return len(self.ends[0])

    @property
    def open(self) -> int:
        """Anchors whose intervals overlap."""
        return self.anchors - self.first - self.second


def duel(one: Evaluated, other: Evaluated) -> Duel | None:
    """Compare two networks anchor by anchor; None where they share none.

    Anchors are the same where position, label and numbers are.
    """
    mine = {case.record.index: case for case in one.cases if case.record.status == "ok"}
    common = [
        case.record for case in other.cases
        if case.record.status == "ok" and _same(mine.get(case.record.index), case)
    ]  # fmt: skip
    if not common:
        return None
    left = tuple(mine[record.index].record.ends for record in common)
    right = tuple(record.ends for record in common)
    first = sum(a[0] > b[1] for a, b in zip(left, right, strict=True))
    second = sum(b[0] > a[1] for a, b in zip(left, right, strict=True))
    return Duel((one.name, other.name), (left, right), first, second)


def _same(one: Case | None, other: Case) -> bool:
    if one is None or one.record.label != other.record.label:
        return False
    return bool(np.array_equal(one.x.reshape(-1), other.x.reshape(-1)))
