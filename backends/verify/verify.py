"""Decide a property: attack, root bounds, then branch and bound until the time is over."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Literal

import numpy as np

from graphprune.backends.verify.attack import attack
from graphprune.backends.verify.head import over_classes
from graphprune.backends.verify.inputs import box_kernels_fit, split_inputs
from graphprune.backends.verify.neurons import split_neurons
from graphprune.backends.verify.query import Counterexample, RegionResult, VerificationQuery
from graphprune.backends.verify.ranges import split_ranges
from graphprune.backends.verify.regions import BATCH, undecided
from graphprune.backends.verify.relations import with_inputs
from graphprune.backends.verify.root import close_at_root, close_by_optimising
from graphprune.backends.verify.smooth import split_boxes
from graphprune.backends.verify.wide import split_wide
from graphprune.errors import GraphpruneError, OutOfTimeError, UnsupportedError
from graphprune.ir import Network
from graphprune.progress import Progress, quiet
from graphprune.runtime.jit import told_of_compiling
from graphprune.runtime.resources import current, using
from graphprune.transforms.matrix import matrices_fit, matrix_bytes
from graphprune.vnnlib import Disjunct, Property

Answer = Literal["sat", "unsat", "unknown", "timeout"]

# Starts per polytope before the root bounds, which often need no more; rounds after them.
FIRST_STARTS, ROUNDS = 2, 2
# The attack's share of the time before the bounds of a network that is not piecewise linear are
# optimised, after which less may be left to attack.
SHARE = 0.1
# Inputs that are not fixed, up to which splitting them pays.
FEW_INPUTS = 20


@dataclass(frozen=True, eq=False)
class Verdict:
    """The answer to a property.

    Attributes
    ----------
    answer
        ``sat``: `point` satisfies it. ``unsat``: proven that none does. ``timeout``: stopped by
        the time limit. ``unknown``: the method ended without an answer.
    point
        The counterexample of ``sat``.
    nodes
        Subproblems bounded.
    seconds
        Wall time.
    reason
        The cause of the answer ``unknown``.
    """

    answer: Answer
    point: Counterexample | None
    nodes: int
    seconds: float
    reason: str = ""


def record_of(verdict: Verdict) -> dict[str, object]:
    """A verdict as JSON has it."""
    point = verdict.point
    return {
        "verdict": verdict.answer,
        "x": None if point is None else point.x.tolist(),
        "y": None if point is None else point.y.tolist(),
        "nodes": verdict.nodes,
        "seconds": verdict.seconds,
        "reason": verdict.reason,
    }


def verify(
    network: Network,
    prop: Property,
    *,
    time_limit: float = np.inf,
    seed: int = 0,
    progress: Progress = quiet,
) -> Verdict:
    """Decide whether an input of a property's boxes has an unsafe output.

    Parameters
    ----------
    time_limit
        Seconds.
    seed
        Seeds the attack's random starts.

    Raises
    ------
    GraphpruneError
        The numbers of inputs or outputs are not the network's.
    UnsupportedError
        The property speaks of values above what is cut, otherwise than of their order.
    """
    _check_sizes(network, prop)
    with using(current().within(time_limit)):
        return _verify(network, prop, time_limit, seed, progress)


def _verify(
    network: Network, prop: Property, time_limit: float, seed: int, progress: Progress
) -> Verdict:
    """`verify` with the deadline as that of the current resources."""
    start = monotonic()
    asked = with_inputs(network) if prop.relational else network
    regions = _left(asked, prop.regions, start + time_limit, progress)
    queries = [VerificationQuery.of(asked, region, start + time_limit) for region in regions]
    nodes, reason, proven = len(prop.regions) - len(regions), "", 0

    def verdict(answer: Answer, point: Counterexample | None = None) -> Verdict:
        return Verdict(answer, point, nodes, monotonic() - start, reason)

    said = [_about(number, len(queries), progress) for number in range(len(queries))]
    for query, say in zip(queries, said, strict=True):
        found = attack(query, 1, starts=FIRST_STARTS, seed=seed, progress=say)
        if found is not None:
            return verdict("sat", found)
    for query, say in zip(queries, said, strict=True):
        if not query.in_time:
            break
        with told_of_compiling(say):
            result = _decide(query, seed, say)
        nodes += result.nodes
        if result.point is not None:
            return verdict("sat", result.point)
        # A region that stays undecided does not hide a counterexample in another.
        proven += result.unsat
        reason = reason or result.reason
    if proven == len(queries):
        return verdict("unsat")
    return verdict("unknown" if reason else "timeout")


def _left(
    network: Network, regions: Sequence[Disjunct], deadline: float, progress: Progress
) -> list[Disjunct]:
    """Regions that bounds over whole boxes, many in a batch, do not close; those in time."""
    if len(regions) < 2:
        return list(regions)
    left = []
    for start in range(0, len(regions), BATCH):
        batch = regions[start : start + BATCH]
        progress(f"bounds of regions {start + 1} to {start + len(batch)} of {len(regions)}")
        if monotonic() < deadline:
            with suppress(OutOfTimeError):
                left += [batch[k] for k in undecided(network, batch)]
                continue
        left += batch
    return left


def _about(number: int, regions: int, progress: Progress) -> Progress:
    """Progress messages that name one of several regions."""
    if regions == 1:
        return progress
    return lambda text: progress(f"region {number + 1} of {regions}: {text}")


def _decide(query: VerificationQuery, seed: int, progress: Progress) -> RegionResult:
    """Decide one region."""
    try:
        progress("bounds of the whole box")
        query, layers = close_at_root(query)
        if query.polytopes == 0:
            return RegionResult(True, None, 1)
        linear = query.network.piecewise_linear
        share = 1.0 if linear else SHARE
        found = attack(query.within(share), ROUNDS, seed=seed + 1, progress=progress)
        if found is not None:
            return RegionResult(False, found, 1)
        if np.any(np.diff(query.first) == 0):
            reason = "every point of the box may satisfy it, but none that was tried surely does"
            return RegionResult(False, None, 1, reason)
        few = np.count_nonzero(query.upper > query.lower) <= FEW_INPUTS
        if linear:
            if not matrices_fit(query.network, current().memory):
                size = matrix_bytes(query.network) / 2**30
                reason = f"a search takes about {size:.0f} GiB of memory on this network"
                return RegionResult(False, None, 1, reason)
            if not few or layers is None:
                return split_neurons(query, progress, layers=layers)
            if box_kernels_fit(query.network, current().memory):
                return split_inputs(query, progress)
            return split_wide(query, layers, progress)
        if not few:
            progress("optimising bounds")
            query, layers = close_by_optimising(query)
            if query.polytopes == 0:
                return RegionResult(True, None, 1)
            found = attack(query.within(SHARE), ROUNDS, seed=seed + 2, progress=progress)
            if found is not None:
                return RegionResult(False, found, 1)
            if layers is not None and query.in_time:
                return split_ranges(query, layers, progress)
        return split_boxes(query, progress)
    except UnsupportedError as error:
        return RegionResult(False, None, 1, f"bounds and attack do not decide it, and {error}")
    except OutOfTimeError:
        return RegionResult(False, None, 1)
    except GraphpruneError as error:  # bounds that overflow
        return RegionResult(False, None, 1, str(error))


def _check_sizes(network: Network, prop: Property) -> None:
    """Variables are the elements of the file's tensors in row-major order."""
    inputs, outputs = network.source.input_layout.size, network.classes
    over = over_classes(network.source.head)
    outputs = outputs if over is None else over.outputs(outputs)
    if prop.inputs != inputs or prop.outputs != outputs:
        raise GraphpruneError(
            f"the property has {prop.inputs} inputs and {prop.outputs} outputs,"
            f" the network {inputs} and {outputs} (output '{network.source.file_output}')"
        )
