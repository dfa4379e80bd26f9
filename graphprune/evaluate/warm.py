"""Compiled kernels, made ready before any clock runs: those of the metrics that are asked for.

`verify` keeps a limit that includes everything, so it never waits for this: on a machine that
never compiled them it may answer ``timeout`` until ``graphprune warm``, or a run with a longer
limit, has.
"""

from collections.abc import Collection
from dataclasses import replace
from functools import cache
from time import monotonic

import numpy as np

from graphprune.backends.certificate import BallQuery, prove_ball
from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.backends.ranges import RangeRelaxation, RangeTree
from graphprune.backends.relaxation.condensed import bounds_of
from graphprune.backends.relaxation.node_lp import solve_node
from graphprune.backends.relaxation.subproblem import CondensedRegion, Subproblem
from graphprune.backends.search.radius_step import prove_radius
from graphprune.backends.search.settings import DEFAULT
from graphprune.bounds import Boxes, Method, pre_activation_bounds
from graphprune.bounds.certify import margin_rows
from graphprune.bounds.warm import RADIUS, tiny, warm_bounds
from graphprune.check import parse_model
from graphprune.progress import Progress, quiet
from graphprune.region import LINF, NORMS, Domain, Norm
from graphprune.runtime.jit import told_of_compiling
from graphprune.runtime.resources import Resources, current, using

# A search that looks for no points, and a radius within which the tiny network has none.
_PROVING = replace(DEFAULT, step=replace(DEFAULT.step, primal_seconds=-1.0, primal_share=0.0))
_PROVEN = 0.13


def warm_for(
    metrics: Collection[str], method: Method = "crown", progress: Progress = quiet,
    norm: Norm = LINF,
) -> None:  # fmt: skip
    """Compile what some of the metrics ``adv``, ``rob`` and ``bnd`` need; an attack needs nothing.

    Parameters
    ----------
    method
        Bounds for d_rob.
    progress
        Told so when something is compiled, not read from disk.
    norm
        The distances'.
    """
    if "rob" in metrics:
        warm_bounds(method, progress, norm)
    if "bnd" in metrics:
        warm_search(progress, norm)


def warm_up(progress: Progress = quiet) -> None:
    """Compile the kernels of all metrics and norms, or read them from disk; once per process."""
    for each in NORMS.values():
        warm_for(("rob", "bnd"), "alpha-crown", progress, each)
        warm_ranges(progress, each)
        warm_proofs(progress, each)


def warm_search(progress: Progress = quiet, norm: Norm = LINF) -> None:
    """Compile what exact distances in a norm need: cubes and other balls have kernels each."""
    warm_bounds("crown", progress, norm)
    with told_of_compiling(progress):
        _search(norm)


def warm_ranges(progress: Progress = quiet, norm: Norm = LINF) -> None:
    """Compile what exact distances of networks with other functions than ReLU need."""
    warm_bounds("alpha-crown", progress, norm)
    with told_of_compiling(progress):
        _ranges(norm)


def warm_proofs(progress: Progress = quiet, norm: Norm = LINF) -> None:
    """Compile what proofs of distances in a norm need besides the search's kernels."""
    with told_of_compiling(progress):
        _written(norm)


@cache
def _written(norm: Norm) -> None:
    network, anchor = tiny()
    model = parse_model(network.source.proto.SerializeToString())
    named = None if norm.separable else str(norm)
    prove_ball(BallQuery(model, anchor.x, anchor.label, _PROVEN, 0.0, 1.0, norm=named))


@cache
def _ranges(norm: Norm) -> None:
    network, anchor = tiny()
    ball = anchor.ball(RADIUS, Domain(), norm)
    layers = pre_activation_bounds(network, Boxes.of(ball))
    rows = margin_rows(network, 0)
    relaxation = RangeRelaxation(network, ball, layers, RADIUS)
    RangeTree(relaxation, rows, np.zeros(len(rows)), Resources()).add_roots([0])


def read_search(progress: Progress) -> None:
    """Read what exact distances in L-infinity need, and leave ONNX Runtime alone.

    Parameters
    ----------
    progress
        Told where the next kernel would be compiled; an exception of it ends the reading.
    """
    with using(Resources(provider="cpu")):
        warm_bounds("crown", progress)
        with told_of_compiling(progress):
            _proof()


@cache
def _search(norm: Norm) -> None:
    network, anchor = tiny()
    # The ball whose surface the cube's corners are on, where nodes are split in every norm.
    radius = RADIUS * norm.length(np.ones(network.input_shape))
    problem = DistanceProblem(network, anchor, Domain(), radius, norm=norm)
    prove_radius(DistanceInterval(problem, progress=quiet), Resources(), radius, level=1)
    _node(problem)


@cache
def _proof() -> None:
    problem = DistanceProblem(*tiny(), Domain(), _PROVEN)
    interval = DistanceInterval(problem, progress=quiet)
    prove_radius(interval, current(), _PROVEN, level=1, settings=_PROVING)
    _node(problem)


def _node(problem: DistanceProblem) -> None:
    """Leave a case to a linear program, which a tree may or may not meet."""
    network, ball = problem.network, problem.query.ball(problem.cutoff)
    bounds = bounds_of(pre_activation_bounds(network, Boxes.of(ball)))
    region = CondensedRegion.of(network, ball, bounds)
    case = Subproblem.of(region, margin_rows(network, 0)[0]).optimised()
    solve_node(case, np.zeros(case.neurons, np.int8))


def warm_verify(progress: Progress = quiet) -> None:
    """Compile what `verify` needs besides the kernels of `warm_up`."""
    from graphprune.backends.verify.inputs import split_inputs
    from graphprune.backends.verify.query import VerificationQuery
    from graphprune.vnnlib import parse_property

    network, _ = tiny()
    names = [f"X_{i}" for i in range(6)] + [f"Y_{j}" for j in range(3)]
    text = [f"(declare-const {name} Real)" for name in names]
    text += [f"(assert (>= {x} 0.3)) (assert (<= {x} 0.7))" for x in names[:6]]
    prop = parse_property(" ".join([*text, "(assert (>= Y_1 Y_0))"]))
    with told_of_compiling(progress):
        split_inputs(VerificationQuery.of(network, prop.regions[0], monotonic() + 60.0))
