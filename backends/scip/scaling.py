"""Programs scaled before SCIP sees them, and how far its tolerances can be trusted on them.

SCIP's tolerances are absolute: a row may be violated by 1e-7 where its sides are small, a reduced
cost be off by as much. On neurons that reach 1e-9 that is no accuracy at all, on those that reach
1e12 it is more than floats have. A ReLU commutes with every positive factor, so such a neuron gets
a unit of its own, and each row the unit of the neuron that it defines. The units are powers of two:
scaling rounds nothing.

Scaling does not help where a row's terms cancel: they are then much larger than what the row is
about, and a violation within the tolerance is as much larger, too. So the largest such ratio says
how much of a bound SCIP's word is good for.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.backends.scip.program import MixedIntegerProgram

Floats = NDArray[np.float64]

# Neurons that reach values between these keep their unit, others get one that brings them to the
# nearer of them: a larger value is one that the tolerances are smaller for, but floats have only so
# many digits.
SMALL, LARGE = 1e-2, 1e6
# The violation of a row that SCIP calls feasible, in the row's unit.
TOLERANCE = 1e-7
# Where terms of a row are this much larger than what it is about, SCIP's word counts for nothing.
TRUSTED = 1e6
TINY = 1e-300


def units(program: MixedIntegerProgram) -> Floats:
    """The unit of every variable (n,): a power of two for neurons, 1 for all others.

    The radius and the inputs keep theirs, which are those of the answer; so do binaries, and the
    variables of smooth activations, which know no factor.
    """
    extent = _extent(program)
    free = ~program.binary & np.isfinite(extent) & (extent > 0)
    free[: program.inputs + 1] = False
    for _, z, h, _ in program.curves:
        free[[z, h]] = False
    return _unit(np.where(free, extent, 1.0))


def scaled(program: MixedIntegerProgram) -> MixedIntegerProgram:
    """The same program in the units of its neurons; radius and inputs are what they were."""
    unit = units(program)
    rows = sparse.csr_array(program.rows @ sparse.diags_array(unit))
    factor = 1.0 / _unit(_largest_terms(program.rows, _extent(program)))
    for layer in program.layers:
        factor[layer.first : layer.first + len(layer.z)] = 1.0 / unit[layer.z]
    start = program.start
    return replace(
        program,
        lower=program.lower / unit,
        upper=program.upper / unit,
        rows=sparse.csr_array(sparse.diags_array(factor) @ rows),
        low=program.low * factor,
        high=program.high * factor,
        error=program.error * factor,
        start=None if start is None else start / unit,
    )


def spread(program: MixedIntegerProgram, margin: float) -> float:
    """The largest ratio of a term of a row to what the row is about.

    That is, for a neuron, the largest value that it can have; for the row of the margin it is
    `margin`, the anchor's, which the points looked for must undo. A term of an input counts for
    what the input can change: an error of the rest is one of the input.
    """
    extent = _extent(program)
    inputs = slice(0, program.inputs + 1)
    extent[inputs] = (program.upper - program.lower)[inputs]
    about, first = [np.array([abs(margin)])], [np.array([program.rows.shape[0] - 1])]
    for layer in program.layers:
        about.append(extent[layer.z])
        first.append(np.arange(layer.first, layer.first + len(layer.z)))
    largest = _largest_terms(program.rows[np.concatenate(first)], extent)
    return float(np.max(largest / np.maximum(np.concatenate(about), TINY)))


def believed(bound: float, ratio: float, order: int = 0) -> float:
    """A distance that SCIP calls a lower bound, less what its tolerances may have added.

    Parameters
    ----------
    ratio
        The program's :func:`spread`.
    order
        The ball's: where lengths are squared, the tolerance is one of their squares.
    """
    if not ratio <= TRUSTED:
        return 0.0
    worth = max(0.0, bound * (1.0 - 10.0 * TOLERANCE) - TOLERANCE)
    return float(np.sqrt(max(0.0, worth * worth - 10.0 * TOLERANCE))) if order == 2 else worth


def _extent(program: MixedIntegerProgram) -> Floats:
    return np.maximum(np.abs(program.lower), np.abs(program.upper))


def _largest_terms(rows: sparse.csr_array, extent: Floats) -> Floats:
    terms = sparse.csr_array(abs(rows) @ sparse.diags_array(extent))
    return np.asarray(terms.max(axis=1).toarray().reshape(-1), np.float64)


def _unit(values: Floats) -> Floats:
    """The unit, a power of two, in which a value is neither small nor large; 1 for 0."""
    there = np.where((values > 0) & np.isfinite(values), values, 1.0)
    excess = np.log2(there / np.clip(there, SMALL, LARGE))
    return np.asarray(np.exp2(np.round(excess)))
