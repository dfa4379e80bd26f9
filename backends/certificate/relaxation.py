"""Batches of linear bounds on a system of the checker, and their ascent.

The bound is the checker's own inequality (:mod:`graphprune.check.bound`). Its multipliers come from
slopes, as in alpha-CROWN (Xu et al. 2021) and beta-CROWN (Wang et al. 2021): with c the
coefficient of relu(z_j),

    variable, c > 0   m = c theta          0 <= theta <= 1
    variable, c < 0   m = c u / (u - l)
    split, z >= 0     m = c - theta        theta >= 0
    split, z <= 0     m = theta            theta >= 0.

Nothing here needs to be exact: a certificate holds the multipliers, and the checker's bound of them
has the last word.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphprune.check.bound import System

Floats = NDArray[np.float64]
States = NDArray[np.int8]

# Adam's decay rates, and the decay of its step size.
DECAYS = (0.85, 0.98)
FADE = 0.97
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
    theta
        (B, width) slopes and split multipliers.
    assumed
        (B,) multipliers of the assumption.
    """

    rows: Floats
    offset: Floats
    states: States
    theta: Floats
    assumed: Floats

    def __len__(self) -> int:
        return len(self.offset)


@dataclass(frozen=True, eq=False)
class Pass:
    """Result of one backward pass: bounds (B,), coefficients (B, basis), multipliers (B, width)."""

    value: Floats
    coefficients: Floats
    multipliers: Floats


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
        self.chord = system.upper / (system.upper - system.lower)
        self.blocks: list[tuple[int, int, Floats, Floats]] = []
        start = 0
        deepest = [
            int(rows.indices[a:b].max(initial=-1)) - n
            for a, b in zip(rows.indptr[:-1], rows.indptr[1:], strict=True)
        ]
        while start < system.width:
            end = start
            while end < system.width and deepest[end] < start:
                end += 1
            block = rows[start:end, : n + start].toarray()
            self.blocks.append((start, end, block, system.form.offset[start:end]))
            start = end

    def slopes(self, count: int) -> Floats:
        """CROWN's adaptive lower slopes (Zhang et al. 2018), (count, width)."""
        steep = (self.system.upper > -self.system.lower).astype(np.float64)
        return np.tile(steep, (count, 1))

    def backward(self, batch: Batch, *, stored: bool = False) -> Pass:
        """Bounds of a batch; `stored`: with multipliers as float32 can hold them."""
        system, n = self.system, self.system.inputs
        a, constant = batch.rows.copy(), batch.offset.copy()
        if self.assumption is not None:
            row, offset = self.assumption
            a += batch.assumed[:, None] * row
            constant += batch.assumed * offset
        multipliers = np.empty((len(batch), system.width))
        for start, end, block, own in reversed(self.blocks):
            part = slice(start, end)
            c, state, theta = a[:, n + start : n + end], batch.states[:, part], batch.theta[:, part]
            free = state == 0
            falling = free & (c < 0)
            m = np.where(falling, c * self.chord[part], c * theta)
            m = np.where(free, m, np.where(state > 0, c - theta, theta))
            if stored:
                m = _stored(m, free & (c > 0) | (state > 0))
            multipliers[:, part] = m
            constant += m @ own - np.where(falling, m, 0.0) @ system.lower[part]
            a[:, : n + start] += m @ block
        x = a[:, :n]
        value = constant + np.minimum(x * self.low, x * self.high).sum(axis=1)
        return Pass(value, a, multipliers)

    def forward(self, batch: Batch, done: Pass) -> Floats:
        """The point where the bound is attained, (B, basis), and z there, (B, width)."""
        system, n = self.system, self.system.inputs
        c = done.coefficients
        v = np.zeros((len(batch), n + system.width))
        z = np.empty((len(batch), system.width))
        v[:, :n] = np.where(c[:, :n] > 0, self.low, self.high)
        for start, end, block, own in self.blocks:
            part, columns = slice(start, end), slice(n + start, n + end)
            here = v[:, : n + start] @ block.T + own
            state = batch.states[:, part]
            line = np.where(
                c[:, columns] > 0,
                batch.theta[:, part] * here,
                self.chord[part] * (here - system.lower[part]),
            )
            v[:, columns] = np.where(state == 0, line, np.where(state > 0, here, 0.0))
            z[:, part] = here
        self.point = v
        return z

    def ascend(
        self, batch: Batch, steps: int, rate: float = 0.3, stop: float | None = None
    ) -> Floats:
        """Improve theta and the assumption's multipliers in place (Adam, projected).

        Returns the bounds (B,) of the best parameters; ends early once all exceed `stop`.
        """
        best = np.full(len(batch), -np.inf)
        theta, assumed = batch.theta.copy(), batch.assumed.copy()
        n = self.system.inputs
        moments = np.zeros((2, *theta.shape))
        own_moments = np.zeros((2, len(batch)))
        for step in range(steps + 1):
            trial = Batch(batch.rows, batch.offset, batch.states, theta, assumed)
            done = self.backward(trial)
            better = done.value > best
            best = np.where(better, done.value, best)
            batch.theta[better], batch.assumed[better] = theta[better], assumed[better]
            if step == steps or (stop is not None and np.all(best > stop)):
                break
            z = self.forward(trial, done)
            c = done.coefficients[:, n:]
            free = batch.states == 0
            gradient = np.where(
                free, np.where(c > 0, c * z, 0.0), np.where(batch.states > 0, -z, z)
            )
            blocked = (theta <= 0) & (gradient < 0) | free & (theta >= 1) & (gradient > 0)
            gradient[blocked] = 0.0
            size = rate * FADE**step
            scale = np.abs(c).sum(axis=1) / np.maximum((c != 0).sum(axis=1), 1)
            unit = np.where(free, 1.0, np.maximum(scale[:, None], np.abs(c)))
            theta = theta + size * unit * _adam(moments, gradient, step)
            theta = np.clip(theta, 0.0, np.where(free, 1.0, LARGEST))
            if self.assumption is not None:
                row, offset = self.assumption
                slope = self.point @ row + offset
                length = size * 0.3 * np.maximum(assumed, 0.03)
                assumed = np.maximum(assumed + length * _adam(own_moments, slope, step), 0.0)
        return best


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
