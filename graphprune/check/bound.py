"""The one inequality every certificate consists of: weak duality of a network on a box.

The variable neurons of a system satisfy, on its box of inputs,

    z_j = w_j . v + b_j,      h_j = relu(z_j),      l_j <= z_j <= u_j,      v = (x, h),

where w_j meets only earlier neurons. For *any* real multipliers m_j, and multipliers >= 0 of
planes h_i <= p . v + q and of an assumption a . v + d <= 0, a goal g . v + k is at least

    k + sum_j m_j b_j - sum_i pi_i q_i + gamma d
      + min over the box, or the ball in it, of c . x
      + sum_j min over the phase of z_j in [l_j, u_j] of (c_j relu(z_j) - m_j z_j),

    c = g + sum_j m_j w_j + sum_i pi_i (e_i - p_i) + gamma a.

The inner minimum is that of a function with two linear pieces, so it lies at l_j, 0 or u_j; where
l_j and u_j have one sign (bounds of points that are adversarial for a target) one piece is left.
CROWN's and alpha-CROWN's bounds (Zhang et al. 2018, Xu et al. 2021), with the split multipliers
of beta-CROWN (Wang et al. 2021), are this bound at particular m: no rule about slopes is needed.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.check.forms import (
    MORE,
    TINY,
    UNIT,
    AffineForm,
    Floats,
    csr,
    gamma,
    times,
)
from graphprune.check.points import Points

# Leaves per matrix product.
CHUNK = 512


@dataclass(frozen=True, eq=False)
class UpperPlanes:
    """Upper planes relu(z_j) <= p . v + q of some variable neurons, with what proves them.

    Attributes
    ----------
    neurons
        (P,) the variable neurons j.
    form
        The rows p and offsets q.
    below, above
        (P,) two reals per plane, see `plane_slack`.
    """

    neurons: NDArray[np.intp]
    form: AffineForm
    below: Floats
    above: Floats


@dataclass(frozen=True, eq=False)
class System:
    """The network on a box, its stable neurons substituted out.

    Attributes
    ----------
    inputs
        Number of inputs.
    low, high
        (basis,) box of the inputs and of the variable neurons' outputs, [0, max(u, 0)].
    form
        Rows of the variable neurons' z over the basis.
    lower, upper
        (variable neurons,) lower <= upper.
    planes
        Verified planes.
    ball
        The points that inputs take: the box, or a part of it.
    """

    inputs: int
    low: Floats
    high: Floats
    form: AffineForm
    lower: Floats
    upper: Floats
    planes: UpperPlanes | None = None
    ball: Points | None = None

    @property
    def points(self) -> Points:
        """The points that inputs take."""
        n = self.inputs
        return Points.box(self.low[:n], self.high[:n]) if self.ball is None else self.ball

    @property
    def width(self) -> int:
        return len(self.lower)

    def within(self, ball: Points, lower: Floats, upper: Floats) -> "System":
        """The same on fewer points, with tighter bounds."""
        low = np.concatenate([ball.low, np.zeros(self.width)])
        high = np.concatenate([ball.high, np.maximum(upper, 0.0)])
        return replace(self, low=low, high=high, lower=lower, upper=upper, ball=ball)

    @property
    def extent(self) -> Floats:
        """Largest absolute value of every element of the basis."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


def stack(ball: Points, layers: list[tuple[AffineForm, Floats, Floats]]) -> System:
    """The system of the variable neurons of `layers`: (form, lower, upper), bottom first."""
    low, high = ball.ends
    lower = np.concatenate([np.zeros(0), *(layer[1] for layer in layers)])
    upper = np.concatenate([np.zeros(0), *(layer[2] for layer in layers)])
    basis = len(low) + len(lower)
    forms = [layer[0].widen(basis) for layer in layers]
    rows = csr(sparse.vstack([f.rows for f in forms], format="csr")) if forms else None
    form = AffineForm(
        csr((0, basis)) if rows is None else rows,
        np.concatenate([np.zeros(0), *(f.offset for f in forms)]),
        np.concatenate([np.zeros(0), *(f.error for f in forms)]),
    )
    return System(
        len(low), np.concatenate([low, np.zeros(len(lower))]),
        np.concatenate([high, np.maximum(upper, 0.0)]), form, lower, upper, ball=ball,
    )  # fmt: skip


def plane_slack(system: System, planes: UpperPlanes) -> Floats:
    """Lower bounds of the planes' distances above their neurons.

    On the box of v, for any reals s, t and with e = p . v + q,

        e - s z + max(s, 0) l >= 0            shows e >= 0 where l <= z <= 0,
        e - (1 - t) z - max(t, 0) u >= 0      shows e >= z where 0 <= z <= u.

    Ideal single-neuron cuts (Anderson et al. 2020) satisfy both with s = t = 0, the triangle's
    lines with s or t = 1, and combinations of them with what they are combined with.
    """
    z = system.form.take(planes.neurons)
    lower, upper = system.lower[planes.neurons], system.upper[planes.neurons]
    slack = np.full(len(planes.neurons), np.inf)
    for factor, rest in (
        (planes.below, np.maximum(planes.below, 0.0) * lower),
        (1.0 - planes.above, -np.maximum(planes.above, 0.0) * upper),
    ):
        rows = csr(planes.form.rows - csr(sparse.diags_array(factor) @ z.rows))
        # At most 8 roundings per term until the difference is a form, that of 1 - t included.
        largest = z.magnitude(system.extent) + np.maximum(np.abs(lower), np.abs(upper))
        size = planes.form.magnitude(system.extent) + np.abs(factor) * largest + np.abs(rest)
        error = np.abs(factor) * z.error + 8.0 * UNIT * size
        form = AffineForm(rows, planes.form.offset - factor * z.offset + rest, MORE * error)
        slack = np.minimum(slack, system.points.intervals(form, system.low, system.high)[0])
    return slack


def lower_bounds(
    system: System,
    goals: AffineForm,
    states: NDArray[np.int8],
    multipliers: NDArray[np.floating],
    planes: NDArray[np.floating] | None = None,
    assumption: tuple[NDArray[np.floating], AffineForm] | None = None,
) -> Floats:
    """Proven lower bounds (R,) of `goals`, one case each.

    Parameters
    ----------
    goals
        R rows over the system's basis.
    states
        (R, width) the case: 1: z >= 0, -1: z <= 0, 0: both.
    multipliers
        (R, width), any.
    planes
        (R, P) >= 0, of the system's planes.
    assumption
        (R,) >= 0, and the form (one row) that is <= 0.
    """
    points = system.points
    parts = [np.zeros(0)]
    for start in range(0, len(goals.offset), CHUNK):
        part = slice(start, start + CHUNK)
        x, rest = linear_bounds(
            system, goals.take(np.arange(len(goals.offset))[part]), states[part],
            multipliers[part], None if planes is None else planes[part],
            None if assumption is None else (assumption[0][part], assumption[1]),
        )  # fmt: skip
        parts.append(points.minimum(x) + rest)
    return np.concatenate(parts)


def linear_bounds(
    system: System,
    goals: AffineForm,
    states: NDArray[np.int8],
    multipliers: NDArray[np.floating],
    planes: NDArray[np.floating] | None = None,
    assumption: tuple[NDArray[np.floating], AffineForm] | None = None,
) -> tuple[Floats, Floats]:
    """The inequality before its minimum over the box: goal >= c . x + rest; c (R, n), rest (R,).

    `rest` pays for rounding, that of the minimum included.
    """
    n, extent = system.inputs, system.extent
    lower, upper = system.lower, system.upper
    m, pi = multipliers.astype(np.float64), None if planes is None else planes.astype(np.float64)
    goals = goals.widen(len(extent))
    c = goals.rows.toarray() + times(csr(system.form.rows.T), m.T).T
    constant = goals.offset + m @ system.form.offset
    # Proven error of the forms, and the sum of all absolute terms that rounding is relative to.
    error = goals.error + np.abs(m) @ system.form.error
    weight = system.form.magnitude(extent) + np.maximum(np.abs(lower), np.abs(upper))
    total = goals.magnitude(extent) + np.abs(m) @ weight
    if pi is not None and system.planes is not None:
        own = system.planes
        c -= times(csr(own.form.rows.T), pi.T).T
        for i, j in enumerate(own.neurons):
            c[:, n + j] += pi[:, i]
        constant -= pi @ own.form.offset
        outputs = np.maximum(upper[own.neurons], 0.0)
        total += np.abs(pi) @ (own.form.magnitude(extent) + outputs)
    if assumption is not None:
        amount, form = assumption[0].astype(np.float64), assumption[1].widen(len(extent))
        c += amount[:, None] * form.rows.toarray()
        constant += amount * form.offset
        error += amount * form.error
        total += amount * form.magnitude(extent)
    # A neuron that no goal of these meets adds nothing.
    met = np.flatnonzero(np.any(m != 0.0, axis=0) | np.any(c[:, n:] != 0.0, axis=0))
    part = c[:, n + met], m[:, met], states[:, met], lower[met], upper[met]
    neurons = _neurons(*part).sum(axis=1)
    operations = 16.0 * (len(extent) + system.width + 64)
    margin: Floats = MORE * (error + operations * UNIT * total) + TINY
    return c[:, :n], constant + neurons - margin


def cut_box(system: System, c: Floats, rest: float) -> tuple[Floats, Floats]:
    """The part of the box of inputs where c . x + rest <= 0 can hold, one input at a time.

    With the other inputs where c . x is least, x_i is off its own such end by slack / |c_i| at
    most.
    """
    low, high = system.low[: system.inputs], system.high[: system.inputs]
    ends = np.minimum(c * low, c * high)
    slack = -(rest + ends.sum()) + gamma(len(c) + 8) * (abs(rest) + np.abs(ends).sum()) + TINY
    with np.errstate(divide="ignore", over="ignore"):
        room = MORE * max(float(slack), 0.0) / np.abs(c)
    lower, upper = np.nextafter(high - room, -np.inf), np.nextafter(low + room, np.inf)
    return np.where(c < 0, np.maximum(low, lower), low), np.where(
        c > 0, np.minimum(high, upper), high
    )


def _neurons(
    h: Floats, m: Floats, states: NDArray[np.int8], lower: Floats, upper: Floats
) -> Floats:
    """Minimum of h relu(z) - m z over the pieces that are left; 0 where none is."""
    active = np.minimum((h - m) * np.maximum(lower, 0.0), (h - m) * np.maximum(upper, 0.0))
    inactive = np.minimum(-m * np.minimum(lower, 0.0), -m * np.minimum(upper, 0.0))
    active[(states < 0) | (upper <= 0.0)] = np.inf
    inactive[(states > 0) | (lower >= 0.0)] = np.inf
    least = np.minimum(active, inactive)
    return np.where(np.isinf(least), 0.0, least)
