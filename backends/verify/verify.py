"""The order of things: attack, root bounds, then branch and bound until the time is over."""

from dataclasses import dataclass
from time import monotonic
from typing import Literal

import numpy as np

from graphprune.backends.verify.attack import attack
from graphprune.backends.verify.inputs import split_inputs
from graphprune.backends.verify.neurons import split_neurons
from graphprune.backends.verify.problem import Counterexample, Problem, Proof
from graphprune.backends.verify.root import close_at_root
from graphprune.errors import GraphpruneError, UnsupportedError
from graphprune.ir import Network
from graphprune.progress import Progress, quiet
from graphprune.runtime.jit import told_of_compiling
from graphprune.vnnlib import Property

Answer = Literal["sat", "unsat", "unknown", "timeout"]

# Starts per polytope before the root bounds, which often need no more; rounds after them.
FIRST_STARTS, ROUNDS = 2, 2
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
        Why the answer is ``unknown``.
    """

    answer: Answer
    point: Counterexample | None
    nodes: int
    seconds: float
    reason: str = ""


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
        Of the attack's random starts.

    Raises
    ------
    GraphpruneError
        The numbers of inputs or outputs are not the network's.
    UnsupportedError
        The property speaks of values above a Softmax that is cut.
    """
    _check_sizes(network, prop)
    _check_head(network, prop)
    start = monotonic()
    problems = [Problem.of(network, region, start + time_limit) for region in prop.regions]
    nodes, reason, proven = 0, "", 0

    def verdict(answer: Answer, point: Counterexample | None = None) -> Verdict:
        return Verdict(answer, point, nodes, monotonic() - start, reason)

    said = [_of(number, len(problems), progress) for number in range(len(problems))]
    for problem, say in zip(problems, said, strict=True):
        found = attack(problem, 1, starts=FIRST_STARTS, seed=seed, progress=say)
        if found is not None:
            return verdict("sat", found)
    for problem, say in zip(problems, said, strict=True):
        if not problem.in_time:
            break
        with told_of_compiling(say):
            proof = _decide(problem, seed, say)
        nodes += proof.nodes
        if proof.point is not None:
            return verdict("sat", proof.point)
        # What cannot be told of one region does not hide a counterexample in another.
        proven += proof.unsat
        reason = reason or proof.reason
    if proven == len(problems):
        return verdict("unsat")
    return verdict("unknown" if reason else "timeout")


def _of(number: int, regions: int, progress: Progress) -> Progress:
    """`progress` about one of several regions."""
    if regions == 1:
        return progress
    return lambda text: progress(f"region {number + 1} of {regions}: {text}")


def _decide(problem: Problem, seed: int, progress: Progress) -> Proof:
    """Decide one region."""
    try:
        progress("bounds of the whole box")
        problem = close_at_root(problem)
        if problem.polytopes == 0:
            return Proof(True, None, 1)
        found = attack(problem, ROUNDS, seed=seed + 1, progress=progress)
        if found is not None:
            return Proof(False, found, 1)
        if np.count_nonzero(problem.upper > problem.lower) <= FEW_INPUTS:
            return split_inputs(problem, progress)
        return split_neurons(problem, progress)
    except UnsupportedError as error:
        return Proof(False, None, 1, f"bounds and attack do not decide it, and {error}")
    except GraphpruneError as error:  # bounds that overflow
        return Proof(False, None, 1, str(error))


def _check_sizes(network: Network, prop: Property) -> None:
    """Variables are the elements of the file's tensors in row-major order."""
    inputs, outputs = network.source.input_layout.size, network.classes
    if prop.inputs != inputs or prop.outputs != outputs:
        raise GraphpruneError(
            f"the property has {prop.inputs} inputs and {prop.outputs} outputs,"
            f" the network {inputs} and {outputs}"
        )


def _check_head(network: Network, prop: Property) -> None:
    """A Softmax keeps the order of the scores below it, and nothing else of them."""
    source = network.source
    if source.file_output != source.output_name and not prop.compares_outputs:
        raise UnsupportedError(
            f"the property speaks of values above the {source.softmax or 'last operators'} of"
            f" {source.path or 'the model'}, cut here: only comparisons of two outputs are decided"
            " for such a model"
        )
