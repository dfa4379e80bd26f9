"""Hostile intervals and points for scalar functions, and what their bounds owe there.

Intervals begin, end and lie around the places where a function bends, turns, jumps or stops being
defined, with widths from nothing over one unit in the last place to the largest numbers; points lie
at their ends, next to them, next to those places, and where a line comes nearest to the curve.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphprune.functions.product import Product
from graphprune.functions.scalar import MARGIN, ScalarFunction

Floats = NDArray[np.float64]
Long = NDArray[np.longdouble]

# Places that mean something to some function: whole numbers, halves and multiples of pi.
USUAL = (0.0, 0.5, 1.0, 1.5, 2.5, 3.0, 6.0, 20.0, 88.7, 104.0, 709.7, np.pi / 2, np.pi, 2 * np.pi)
SINGLE = float(np.finfo(np.float32).max)
LARGEST64 = float(np.finfo(np.float64).max)
# Numbers as small and as large as float32 bounds are, subnormal ones included.
SMALLEST, LARGEST = -44.0, 38.0
METHODS = ("crown", "fastlin", "alternative", "fan")
# Samples of an interval, and how often the surroundings of the worst one are sampled anew.
SAMPLES, ZOOMS, ZOOMED = 24, 3, 12
# Differences of values below this share of them are rounding, not slope.
CLEAR = 1e-9


def assert_curve(op: ScalarFunction, *, intervals: int = 400, seed: int = 0) -> None:
    """Images, tangents, chords and slopes of a function hold on hostile intervals.

    Parameters
    ----------
    intervals
        Number of intervals; some 50 to 100 points of each are tried.
    """
    __tracebackhide__ = True
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        said = list(violations(op, *hostile_intervals(op, intervals, rng), rng))
    if said:
        raise AssertionError("\n".join(said))


def places(op: ScalarFunction) -> Floats:
    """Where a function bends, turns, jumps or stops being defined, and where others do."""
    own = [*op.bends, *op.extrema, *op.poles, *op.domain, getattr(op, "threshold", 0.0)]
    found = np.array([p for p in (*own, *USUAL) if np.isfinite(p)])
    return np.unique(np.concatenate([found, -found]))


def hostile_intervals(
    op: ScalarFunction, count: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Ends (N,) of at most `count` intervals on which a function is defined, float32 numbers.

    Those that its domain does not hold are moved into it where that leaves something.
    """
    known = places(op)
    kind = rng.integers(0, 4, count)
    sign = rng.choice([-1.0, 1.0], count)
    centre = np.select(
        [kind == 0, kind == 1, kind == 2],
        [rng.choice(known, count), rng.uniform(-8, 8, count), rng.integers(-9, 10, count) / 2.0],
        sign * 10 ** rng.uniform(SMALLEST, LARGEST, count),
    )
    kind = rng.integers(0, 6, count)
    ulp = np.spacing(np.abs(centre).astype(np.float32)).astype(np.float64)
    width = np.select(
        [kind == 0, kind == 1, kind == 2, kind == 3],
        [
            np.zeros(count),
            ulp * rng.integers(1, 4, count),
            rng.uniform(0, 12, count),
            np.abs(centre) * 10 ** rng.uniform(-7, 1, count),
        ],
        10 ** rng.uniform(SMALLEST, LARGEST, count),
    )
    # The place at the lower end, at the upper one, in between, or one number outside.
    share = rng.choice([0.0, 1.0, 0.5, rng.uniform()], count)
    off = rng.choice([-1.0, 0.0, 0.0, 1.0], count) * ulp
    lower, upper = centre - share * width + off, centre + (1.0 - share) * width + off
    low, high = op.domain
    lower, upper = (np.clip(x, max(low, -SINGLE), min(high, SINGLE)) for x in (lower, upper))
    for pole in op.poles:  # to the side where more is
        right = upper - pole > pole - lower
        edge = np.nextafter(np.float32(pole), np.where(right, 1, -1).astype(np.float32))
        lower = np.where(right & (lower <= pole), edge, lower)
        upper = np.where(~right & (upper >= pole), edge, upper)
    lower, upper = (x.astype(np.float32).astype(np.float64) for x in (lower, upper))
    upper = np.maximum(lower, upper)
    defined = ~op.undefined(lower, upper)
    return lower[defined], upper[defined]


def hostile_points(
    op: ScalarFunction, lower: Floats, upper: Floats, rng: np.random.Generator
) -> Floats:
    """Points (P, N) of intervals, their ends among them."""
    near = [*op.critical(lower, upper), *(p for a, b, _ in op.pieces(lower, upper) for p in (a, b))]
    mean = lower / 2 + upper / 2
    whole = np.round(mean)
    turns = np.stack([lower, upper, mean, whole, whole + 0.5, np.zeros_like(lower), *near])
    for place in (0.0, *places(op)):
        # Some of the places that the intervals hold, in the row of the middles.
        inside = (lower <= place) & (place <= upper)
        turns[2] = np.where(inside & (rng.random(len(lower)) < 0.3), place, turns[2])
    beside = [np.nextafter(turns, side) for side in (-np.inf, np.inf)]
    single = turns.astype(np.float32)
    beside += [np.nextafter(single, np.float32(s)).astype(np.float64) for s in (-np.inf, np.inf)]
    share = rng.uniform(0, 1, (SAMPLES, len(lower)))
    share[: SAMPLES // 2] **= 12  # close to the ends
    from_end = lower + (upper - lower) * share, upper - (upper - lower) * share
    points = np.concatenate([turns, *beside, *from_end])
    found: Floats = np.clip(points, lower, upper)
    return found


def exactly(op: ScalarFunction, z: Floats) -> tuple[Long, Long]:
    """Values in extended precision where libraries have it, and what they may be wrong by."""
    with np.errstate(all="ignore"):
        try:
            value: NDArray[Any] = np.asarray(op.value(z.astype(np.longdouble)))  # type: ignore[type-var]
        except TypeError:  # of a library's function in float64 only
            value = op.value(z)
    wide = value.dtype == np.longdouble
    value = value.astype(np.longdouble)
    share = np.longdouble(2.0**-58 if wide else MARGIN / 4)
    return value, share * (np.abs(value) + (0 if wide else op.floor))


def violations(
    op: ScalarFunction, lower: Floats, upper: Floats, rng: np.random.Generator
) -> Iterator[str]:
    """Sentences about what a function's bounds owe on intervals (N,) and do not keep."""
    points = hostile_points(op, lower, upper, rng)
    value, error = exactly(op, points)
    own = np.abs(op.value(points) - value)
    known = np.isfinite(value) & np.isfinite(op.value(points))
    allowed = MARGIN * (np.abs(value) + op.floor)
    yield from _said(op, lower, upper, points, known & ~(own <= allowed), "value")
    low, high = op.interval(lower, upper)
    with np.errstate(all="ignore"):
        inside = (low <= value + error) | (low == -np.inf)
        inside &= (value - error <= high) | (high == np.inf)
    yield from _said(op, lower, upper, points, ~inside, "interval")
    yield from _slopes(op, lower, upper, points)
    for method in METHODS:
        lines = np.array(op.lines(lower, upper, method)).reshape(4, -1, len(lower))
        if not np.array_equal(lines, lines.astype(np.float32), equal_nan=True):
            yield f"{op}: {method} has lines that are no float32 numbers"
        for k, side in ((0, -1.0), (2, 1.0)):
            for slope, offset in zip(lines[k], lines[k + 1], strict=True):
                off = _beyond(op, (lower, upper), points, side, slope, offset)
                what = f"{method} line {'below' if side < 0 else 'above'}"
                yield from _said(op, lower, upper, off, ~np.isnan(off), what)


def _slopes(op: ScalarFunction, lower: Floats, upper: Floats, points: Floats) -> Iterator[str]:
    """Difference quotients outside the range of slopes: what Lipschitz bounds rest on."""
    z = np.sort(points, axis=0)
    value, _ = exactly(op, z)
    with np.errstate(all="ignore"):
        length = np.diff(z.astype(np.longdouble), axis=0)
        rise = np.diff(value, axis=0) / length
        noise = CLEAR * (1 + np.abs(value[1:]) + np.abs(value[:-1]) + np.abs(z[1:])) / length
        least, largest = op.slope_range(lower, upper)
        room = np.minimum(noise, 1e-6 * (1 + np.abs(rise))) + 1e-9 * np.abs(rise)
        known = np.abs(rise) <= LARGEST64
        known &= noise < 1e-6 * (1 + np.abs(rise))
        wrong = known & ~((rise >= least - room) & (rise <= largest + room))
    yield from _said(op, lower, upper, z[1:], wrong, "slope range")


def _beyond(
    op: ScalarFunction, ends: tuple[Floats, Floats], points: Floats, side: float,
    slope: Floats, offset: Floats,
) -> Floats:  # fmt: skip
    """Points (P, N) at which a line is on the wrong side of the curve; no number elsewhere."""

    def room(z: Floats) -> tuple[Long, Long]:
        value, error = exactly(op, z)
        with np.errstate(all="ignore"):
            line = slope * z.astype(np.longdouble)
            error = error + 2.0**-60 * (np.abs(value) + np.abs(line) + np.abs(offset))
            # An infinite offset holds whatever the value is.
            gap = np.where(offset == side * np.inf, np.inf, side * (line + offset - value))
            return gap, error

    found = []
    for _ in range(ZOOMS):
        gaps, error = room(points)
        found.append(np.where((gaps >= -error) | (gaps == np.inf), np.nan, points))
        # The surroundings of the point where line and curve are closest.
        worst = np.argmin(np.where(np.isnan(gaps), np.inf, gaps), axis=0)[None]
        ordered = np.sort(points, axis=0)
        place = np.take_along_axis(points, worst, 0)
        index = np.argmax(ordered == place, axis=0)[None]
        last = len(ordered) - 1
        left = np.take_along_axis(ordered, np.maximum(index - 1, 0), 0)
        right = np.take_along_axis(ordered, np.minimum(index + 1, last), 0)
        share = np.linspace(0, 1, ZOOMED)[:, None]
        points = np.clip(left + (right - left) * share, *ends)
    return np.concatenate(found)


def _said(
    op: ScalarFunction, lower: Floats, upper: Floats, points: Floats, wrong: NDArray[np.bool_],
    what: str,
) -> Iterator[str]:  # fmt: skip
    """A sentence about the first few of what is wrong (P, N)."""
    for n in np.unique(np.nonzero(wrong)[1])[:2]:
        at = float(points[np.argmax(wrong[:, n]), n])
        yield f"{op}: {what} fails at {at!r} of [{float(lower[n])!r}, {float(upper[n])!r}]"


def product_violations(count: int, rng: np.random.Generator) -> Iterator[str]:
    """Sentences about hostile boxes of two factors on which a product's bounds fail."""
    ends = 10 ** rng.uniform(SMALLEST, LARGEST, (2, 2 * count))
    ends = np.where(rng.random(ends.shape) < 0.5, rng.choice(USUAL, ends.shape), ends)
    ends *= rng.choice([-1.0, 1.0], ends.shape)
    ulp = np.spacing(np.abs(ends[0]).astype(np.float32))
    kind = rng.integers(0, 6, 2 * count)
    other = np.select([kind == 0, kind == 1], [ends[0], ends[0] + ulp], ends[1])
    ends = np.stack([ends[0], other]).astype(np.float32).astype(np.float64)
    lower, upper = np.min(ends, axis=0)[None], np.max(ends, axis=0)[None]
    op = Product((2, count))
    share = np.concatenate([rng.uniform(0, 1, (SAMPLES, 2 * count)), np.zeros((4, 2 * count))])
    share[: SAMPLES // 2] **= 12
    share = np.where(rng.random(share.shape) < 0.5, 1.0 - share, share)
    z = np.clip(lower + (upper - lower) * share, lower, upper)
    for k, corner in enumerate(((lower, lower), (lower, upper), (upper, lower), (upper, upper))):
        z[SAMPLES + k] = np.concatenate([corner[0][0, :count], corner[1][0, count:]])
    wide = z.astype(np.longdouble)
    product = wide[:, :count] * wide[:, count:]
    low, high = (2 * end[0, :count] for end in op.interval(lower, upper))
    slack = 2.0**-60 * np.abs(product)
    wrong = [("interval", (low <= product + slack) & (product - slack <= high))]
    for method in ("crown", "fastlin", "alternative"):
        lines = op.lines(lower, upper, method)
        for k, side in ((0, -1.0), (2, 1.0)):
            terms = np.stack([lines[k] * wide, np.broadcast_to(lines[k + 1], wide.shape)])
            plane = terms.sum(0).reshape(len(z), 2, count).sum(1)
            slack = 2.0**-60 * (np.abs(terms).sum(0).reshape(len(z), 2, count).sum(1))
            gap = side * (plane - product)
            holds = (gap >= -slack - 2.0**-60 * np.abs(product)) | np.isinf(lines[k + 1][0, :count])
            wrong.append((f"{method} plane {'below' if side < 0 else 'above'}", holds))
    for what, holds in wrong:
        for n in np.unique(np.nonzero(~holds)[1])[:2]:
            box = [(float(lower[0, j]), float(upper[0, j])) for j in (n, n + count)]
            at = [float(z[np.argmin(holds[:, n]), j]) for j in (n, n + count)]
            yield f"Product: {what} fails at {at} of {box}"
