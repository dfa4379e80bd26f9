"""The error that underflow makes in a float32 relaxation, per box; see `transforms.underflow`."""

import numpy as np

from graphprune.bounds.problem import BoundsProblem, Floats, Singles, finite, round_up
from graphprune.transforms.relaxation import ancestors
from graphprune.transforms.rounding import GAMMA, SMALLEST
from graphprune.transforms.underflow import slack

# Operations on one element that the sums below count, and second-order terms: generously.
OPERATIONS = 16.0


def magnitude(problem: BoundsProblem, index: int, known: Singles) -> Singles:
    """The magnitude (B, n) that a relaxation reads: `known` and what covers the forward slack."""
    segment = problem.network.segments[index]
    reach = np.ones(problem.batch)
    for source in segment.sources:
        reach = np.maximum(reach, _sizes(problem.source(source)).max(axis=1, initial=0.0))
    moved = slack(problem.network, index).forward * (reach[:, None] / (2.0 * GAMMA))
    raised: Singles = round_up(known.astype(np.float64) + moved)
    finite(raised)
    return raised


def lost(problem: BoundsProblem, target: int, known: Singles, *, mixed: bool) -> Floats:
    """(B, 1): what a bound of any rows on segment `target` may be off by.

    Parameters
    ----------
    known
        Magnitude (B, n) of the target.
    mixed
        Both choices of lines are used.
    """
    network = problem.network
    below = ancestors(network, target)
    total = np.zeros(problem.batch)
    sizes = {id(network.input): _sizes((problem.boxes.lower, problem.boxes.upper))}
    for i in below:
        sizes[id(network.activations[i].outputs[0])] = _sizes(problem.image(i))
    for index in (*below, target):
        segment = network.segments[index]
        adjoint = slack(network, index).adjoint
        for source, rows in zip(segment.sources, adjoint, strict=True):
            total += sizes[id(source)] @ (rows + SMALLEST * OPERATIONS)
        values = known if index == target else problem.layers[index].magnitude
        total += SMALLEST * OPERATIONS * np.sum(values.astype(np.float64) + 1.0, axis=1)
    for index in below:
        values = problem.layers[index].magnitude.astype(np.float64)
        for alternative in (False, True)[: 1 + mixed]:
            ls, lo, us, uo = (np.abs(x) for x in problem.lines(index, alternative=alternative))
            terms = (ls + us + 1.0) * values + lo + uo + 1.0
            total += SMALLEST * OPERATIONS * np.sum(terms, axis=1)
    # The ball's center and ways are no larger than twice the box's sides and its radius.
    inputs = sizes[id(network.input)] + 1.0
    if problem.boxes.radius is not None:
        inputs += 2.0 * problem.boxes.radius[:, None]
    total += 4.0 * SMALLEST * OPERATIONS * inputs.sum(axis=1)
    finite(total)
    return total[:, None]


def _sizes(ends: tuple[Singles, Singles]) -> Floats:
    """The largest absolute values (B, n) within bounds."""
    lower, upper = (end.astype(np.float64) for end in ends)
    return np.maximum(np.abs(lower), np.abs(upper))
