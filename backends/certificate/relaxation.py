"""Batches of linear bounds on a system of the checker, and their ascent.

The bound is the checker's own inequality (:mod:`graphprune.check.bound`). Its multipliers come from
slopes, as in alpha-CROWN (Xu et al. 2021) and beta-CROWN (Wang et al. 2021): with c the
coefficient of relu(z_j),

    variable, c > 0   m = c theta                          0 <= theta <= 1
    variable, c < 0   m = c (1 - mix) u / (u - l)          0 <= mix <= 1, pi = -c mix
    split, z >= 0     m = c - theta                        theta >= 0
    split, z <= 0     m = theta                            theta >= 0,

pi that of the neuron's plane, if it has one. Neurons whose bounds have one sign are split by them.

Nothing here needs to be exact: a certificate holds the multipliers, and the checker's bound of them
has the last word.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.check.bound import System
from graphprune.check.forms import AffineForm, csr, times

Floats = NDArray[np.float64]
States = NDArray[np.int8]

# Adam's decay rates, and the decay of its step size.
DECAYS = (0.85, 0.98)
FADE = 0.97
# The share of planes to start from.
MIX = 0.9
# Multipliers of cases without points grow without end.
LARGEST = 1e6


@dataclass(eq=False)
class Batch:
    """B goals, each on one case.

    Attributes
    ----------
    rows, offset
        (B, basis), (B,).
    states
        (B, width), as in the checker.
    theta, mix
        (B, width) slopes and split multipliers; shares of planes.
    assumed
        (B,) multipliers of the assumption.
    """

    rows: Floats
    offset: Floats
    states: States
    theta: Floats
    mix: Floats
    assumed: Floats

    def __len__(self) -> int:
        return len(self.offset)

    def take(self, which: NDArray[np.generic]) -> "Batch":
        """A copy of some of them."""
        own = (self.rows, self.offset, self.states, self.theta, self.mix, self.assumed)
        return Batch(*(np.array(x[which]) for x in own))


@dataclass(frozen=True, eq=False)
class Pass:
    """Result of one backward pass.

    Attributes
    ----------
    value
        (B,) bounds.
    coefficients
        (B, basis) c.
    multipliers, planes
        (B, width) m, and pi of every neuron's plane.
    """

    value: Floats
    coefficients: Floats
    multipliers: Floats
    planes: Floats


@dataclass(frozen=True, eq=False)
class Point:
    """Where a bound is attained.

    Attributes
    ----------
    v, z
        (B, basis) the relaxation's point, and (B, width) pre-activations there.
    gain
        (B, width) how much higher a neuron's plane is than its chord.
    """

    v: Floats
    z: Floats
    gain: Floats


@dataclass(frozen=True, eq=False)
class _Block:
    """Neurons that do not depend on one another, and the planes that some of them have."""

    part: slice
    rows: Floats
    offset: Floats
    has: NDArray[np.bool_]
    plane_rows: Floats
    plane_offset: Floats


class Relaxation:
    """A system, in blocks of neurons that do not depend on one another.

    Parameters
    ----------
    assumption
        A row over the basis and its offset, where row . v + offset <= 0 is known.
    """

    def __init__(self, system: System, assumption: tuple[Floats, float] | None = None) -> None:
        self.system = system
        self.assumption = assumption
        n, rows = system.inputs, system.form.rows
        self.low, self.high = system.low[:n], system.high[:n]
        # The phase that bounds of one sign leave, and what they know beyond z = 0.
        inactive = np.where(system.upper <= 0, -1, 0)
        self.fixed = np.where(system.lower >= 0, 1, inactive).astype(np.int8)
        self.beyond = np.maximum(np.maximum(system.lower, -system.upper), 0.0)
        width = np.where(self.fixed == 0, system.upper - system.lower, 1.0)
        self.chord = np.where(self.fixed == 0, system.upper / width, 0.0)
        has = np.zeros(system.width, bool)
        plane_rows, plane_offset = csr(rows.shape), np.zeros(system.width)
        if system.planes is not None:
            own = system.planes
            has[own.neurons] = True
            places = (np.ones(len(own.neurons)), (own.neurons, np.arange(len(own.neurons))))
            up = csr(sparse.coo_array(places, shape=(system.width, len(own.neurons))))
            plane_rows, plane_offset = csr(up @ own.form.rows), times(up, own.form.offset)
        self.blocks: list[_Block] = []
        start = 0
        deepest = [
            int(rows.indices[a:b].max(initial=-1)) - n
            for a, b in zip(rows.indptr[:-1], rows.indptr[1:], strict=True)
        ]
        while start < system.width:
            end = start
            while end < system.width and deepest[end] < start:
                end += 1
            part, below = slice(start, end), n + start
            self.blocks.append(
                _Block(
                    part, rows[part, :below].toarray(), system.form.offset[part], has[part],
                    plane_rows[part, :below].toarray(), plane_offset[part],
                )
            )  # fmt: skip
            start = end

    def state(self, batch: Batch) -> States:
        """The cases' phases (B, width), those that the bounds leave included."""
        both: States = np.where(batch.states != 0, batch.states, self.fixed)
        return both

    def batch(self, goals: AffineForm) -> Batch:
        """Unsplit goals with default slopes and shares of planes."""
        count, shape = len(goals.offset), (len(goals.offset), self.system.width)
        has = np.concatenate([np.zeros(0, bool), *(block.has for block in self.blocks)])
        rows = goals.widen(len(self.system.low)).rows.toarray()
        return Batch(
            rows, goals.offset, np.zeros(shape, np.int8), self.slopes(count),
            np.tile(MIX * has, (count, 1)), np.zeros(count),
        )  # fmt: skip

    def slopes(self, count: int) -> Floats:
        """CROWN's adaptive lower slopes (Zhang et al. 2018), (count, width)."""
        steep = (self.system.upper > -self.system.lower) & (self.fixed == 0)
        return np.tile(steep.astype(np.float64), (count, 1))

    def backward(self, batch: Batch, *, stored: bool = False) -> Pass:
        """Bounds of a batch; `stored`: with multipliers as float32 can hold them."""
        system, n = self.system, self.system.inputs
        a, constant = batch.rows.copy(), batch.offset.copy()
        if self.assumption is not None:
            row, offset = self.assumption
            a += batch.assumed[:, None] * row
            constant += batch.assumed * offset
        multipliers = np.empty((len(batch), system.width))
        planes = np.zeros_like(multipliers)
        states = self.state(batch)
        for block in reversed(self.blocks):
            part = block.part
            start, end = n + part.start, n + part.stop
            c, state, theta = a[:, start:end], states[:, part], batch.theta[:, part]
            free = state == 0
            falling = free & (c < 0)
            if np.any(block.has):
                pi = np.where(falling & block.has, -c * batch.mix[:, part], 0.0)
                if stored:
                    pi = _stored(pi, pi > 0)
                planes[:, part] = pi
                c += pi
                constant -= pi @ block.plane_offset
                a[:, :start] -= pi @ block.plane_rows
            m = np.where(falling, c * self.chord[part], c * theta)
            m = np.where(free, m, np.where(state > 0, c - theta, theta))
            if stored:
                m = _stored(m, free & (c > 0) | (state > 0))
            multipliers[:, part] = m
            constant += m @ block.offset - np.where(falling, m, 0.0) @ system.lower[part]
            constant += np.where(free, 0.0, theta) @ self.beyond[part]
            a[:, :start] += m @ block.rows
        x = a[:, :n]
        value = constant + np.minimum(x * self.low, x * self.high).sum(axis=1)
        return Pass(value, a, multipliers, planes)

    def forward(self, batch: Batch, done: Pass) -> Point:
        """The point where the bound is attained."""
        system, n = self.system, self.system.inputs
        c = done.coefficients
        v = np.zeros((len(batch), n + system.width))
        z = np.empty((len(batch), system.width))
        gain = np.zeros_like(z)
        v[:, :n] = np.where(c[:, :n] > 0, self.low, self.high)
        states = self.state(batch)
        for block in self.blocks:
            part = block.part
            columns = slice(n + part.start, n + part.stop)
            below = v[:, : columns.start]
            here = below @ block.rows.T + block.offset
            state, mix = states[:, part], batch.mix[:, part]
            top = self.chord[part] * (here - system.lower[part])
            if np.any(block.has):
                plane = below @ block.plane_rows.T + block.plane_offset
                gain[:, part] = np.where(block.has, plane - top, 0.0)
                top = top + mix * gain[:, part]
            line = np.where(c[:, columns] > 0, batch.theta[:, part] * here, top)
            v[:, columns] = np.where(state == 0, line, np.where(state > 0, here, 0.0))
            z[:, part] = here
        return Point(v, z, gain)

    def ascend(
        self, batch: Batch, steps: int, rate: float = 0.3, stop: float | None = None
    ) -> Floats:
        """Improve theta and the assumption's multipliers in place (Adam, projected).

        Returns the bounds (B,) of the best parameters; ends early once all exceed `stop`.
        """
        best = np.full(len(batch), -np.inf)
        trial = batch.take(np.arange(len(batch)))
        n, states = self.system.inputs, self.state(batch)
        free = states == 0
        moments, mix_moments = np.zeros((2, 2, *batch.theta.shape))
        own_moments = np.zeros((2, len(batch)))
        for step in range(steps + 1):
            done = self.backward(trial)
            better = done.value > best
            best = np.where(better, done.value, best)
            batch.theta[better], batch.mix[better] = trial.theta[better], trial.mix[better]
            batch.assumed[better] = trial.assumed[better]
            if step == steps or (stop is not None and np.all(best > stop)):
                break
            at = self.forward(trial, done)
            # With the planes' parts added, falling coefficients are back at what they were.
            c = done.coefficients[:, n:] - done.planes
            size = rate * FADE**step
            slope = np.where(free, np.where(c > 0, c * at.z, 0.0), self.beyond - states * at.z)
            scale = np.abs(c).sum(axis=1) / np.maximum((c != 0).sum(axis=1), 1)
            unit = np.where(free, 1.0, np.maximum(scale[:, None], np.abs(c)))
            highest = np.where(free, 1.0, LARGEST)
            trial.theta = _moved(trial.theta, slope, size * unit, highest, moments, step)
            if self.system.planes is not None:
                slope = np.where(free & (c < 0), c * at.gain, 0.0)
                trial.mix = _moved(trial.mix, slope, size, 1.0, mix_moments, step)
            if self.assumption is not None:
                row, offset = self.assumption
                length = size * np.maximum(trial.assumed, 0.03)
                slope = at.v @ row + offset
                trial.assumed = _moved(trial.assumed, slope, length, np.inf, own_moments, step)
        return best


def _moved(
    x: Floats, slope: Floats, size: Floats | float, highest: Floats | float, moments: Floats,
    step: int,
) -> Floats:  # fmt: skip
    """One step uphill within [0, highest]."""
    blocked = (x <= 0) & (slope < 0) | (x >= highest) & (slope > 0)
    return np.clip(
        x + size * _adam(moments, np.where(blocked, 0.0, slope), step), 0.0, highest
    )  # fmt: skip


def _adam(moments: Floats, gradient: Floats, step: int) -> Floats:
    for i, decay in enumerate(DECAYS):
        moments[i] = decay * moments[i] + (1.0 - decay) * gradient ** (i + 1)
    first, second = (moments[i] / (1.0 - d ** (step + 1)) for i, d in enumerate(DECAYS))
    direction: Floats = first / (np.sqrt(second) + 1e-12)
    return direction


def _stored(m: Floats, downwards: NDArray[np.bool_]) -> Floats:
    """Rounded to float32, towards the side that costs the bound least."""
    single = np.clip(m, -(LARGEST**4), LARGEST**4).astype(np.float32)
    over = downwards & (single > m)
    single[over] = np.nextafter(single[over], np.float32(-np.inf))
    return single.astype(np.float64)
