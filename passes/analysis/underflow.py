"""What underflow may move a float32 bound by, in numbers per box; see `transforms.underflow`."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from graphprune import transforms
from graphprune.backends.reference import Reference
from graphprune.ir.network import Network, Segment, sample_shape
from graphprune.passes.analysis.problem import Floats, Problem, finite
from graphprune.transforms.relaxation import ancestors
from graphprune.transforms.rounding import GAMMA, SMALLEST

# Operations on one element that the sums below count, and second-order terms: generously.
OPERATIONS = 16.0


@dataclass(frozen=True, eq=False)
class Slack:
    """Of one segment: `forward`, and `adjoint` (source size,) per source."""

    forward: float
    adjoint: tuple[Floats, ...]


def slack(network: Network, index: int) -> Slack:
    """The slacks of segment `index`, made once per network."""
    return network.cached(("underflow", index), partial(_slack, network.segments[index]))


def _slack(segment: Segment) -> Slack:
    feeds = {f"source{i}": np.ones((1, *sample_shape(s))) for i, s in enumerate(segment.sources)}
    feeds["target"] = np.ones((1, *sample_shape(segment.target)))
    forward, *adjoint = Reference(transforms.underflow(segment))(feeds)
    return Slack(float(np.max(forward)), tuple(rows.reshape(-1) for rows in adjoint))


def forward(problem: Problem, index: int) -> Floats:
    """(B, 1): what a computed pre-activation of segment `index` may be off by."""
    segment = problem.network.segments[index]
    reach = np.ones(problem.batch)
    for source in segment.sources:
        reach = np.maximum(reach, _sizes(problem.source(source)).max(axis=1, initial=0.0))
    moved: Floats = slack(problem.network, index).forward * reach[:, None]
    finite(moved)
    return moved


def magnitude(problem: Problem, index: int, known: NDArray[np.float32]) -> NDArray[np.float32]:
    """The magnitude (B, n) that a relaxation reads: `known` and what covers the forward slack."""
    raised: NDArray[np.float32] = known + np.float32(1.01) * (
        forward(problem, index) / (2.0 * GAMMA)
    ).astype(np.float32)
    finite(raised)
    return raised


def lost(problem: Problem, target: int, known: NDArray[np.float32], *, mixed: bool) -> Floats:
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


def _sizes(ends: tuple[NDArray[np.float32], NDArray[np.float32]]) -> Floats:
    """The largest absolute values (B, n) within bounds."""
    lower, upper = (end.astype(np.float64) for end in ends)
    return np.maximum(np.abs(lower), np.abs(upper))
