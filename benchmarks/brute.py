"""The search for distances on small random networks, against mixed-integer programs.

    python -m benchmarks.brute [--first N] [--count N] [--seed S] [--only N] [--seconds S]

Networks of every piecewise linear operator, with equal weights, neurons that are twice there, dead
ones, and boxes of unequal sides, in every norm, some of them asked about within a radius only. A
third of the networks is searched with effort levels of a few nodes, so that all techniques are used
(small networks do without most of them), an eighth by two processes. A lower end is wrong where a
point nearer than it is adversarial in float64 by more than rounding, an exact distance where such
a point is nearer than its upper end. ``--seed S --only N`` replays a network. Limits are processor
seconds where one process searches.
"""

import argparse
import logging
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from time import monotonic, process_time
from unittest.mock import patch

import numpy as np
import onnx
from numpy.typing import NDArray

import graphprune as gp
from benchmarks.exact import processor_limits
from benchmarks.hunt import BLOCK, block, rescaled
from benchmarks.milp import MOST, Program
from benchmarks.random_dense import Writer
from benchmarks.switches import with_settings
from graphprune.backends.relaxation.tighten import ConstrainedSettings
from graphprune.backends.search import process_pool, scheduler, worker_group
from graphprune.backends.search.settings import DEFAULT, EffortLevel, SearchSettings
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from graphprune.testing import many_operator_models, models

Floats = NDArray[np.float64]
# A margin above this share of the largest number in a network is no rounding of float64.
CLEAR = 1e-9
LIMIT = 10.0
# The distance of the farthest box where there is no domain.
FAR = 4.0


def domain_for(rng: np.random.Generator, x0: Floats) -> gp.Domain:
    """No domain, one interval for all inputs, or one each, some of them points."""
    kind = rng.choice(4, p=[0.45, 0.1, 0.1, 0.35])
    if kind == 0:
        return gp.Domain(0.0, 1.0)
    if kind == 1:
        return gp.Domain(-1.0, 2.0)
    if kind == 2:
        return gp.Domain(-np.inf, np.inf)
    sides = rng.choice([0.0, 0.03, 0.2, 1.0, 3.0], (2, *x0.shape), p=[0.1, 0.2, 0.3, 0.2, 0.2])
    return gp.Domain(x0 - sides[0], x0 + sides[1])


def eager(rng: np.random.Generator) -> SearchSettings:
    """Levels of a few nodes, planes and bounds at every one of them."""
    nodes = int(rng.integers(1, 6))
    levels = (
        EffortLevel(nodes), EffortLevel(nodes, cuts=3),
        EffortLevel(nodes, cuts=5, constrained=True),
        EffortLevel(np.inf, cuts=8, constrained=True),
    )  # fmt: skip
    few = int(rng.choice([0, 64]))
    constrained = ConstrainedSettings(neurons=int(rng.choice([2, 128])))
    tree = replace(DEFAULT.tree, refresh_splits=int(rng.integers(1, 5)), lp_splits=2, lp_share=16)
    wide = int(rng.choice([0, DEFAULT.step.wide]))
    step = replace(DEFAULT.step, levels=levels, few=few, constrained=constrained, wide=wide)
    # Steps from the first one on, attempts before them, and digits that no step adds at once.
    schedule = replace(
        DEFAULT.schedule, slow=float(rng.choice([0.0, 1.0])), few=int(rng.choice([0, 12])),
        wide=int(rng.choice([0, 512])), closing=float(rng.choice([0.85, 1.1])),
    )  # fmt: skip
    return replace(DEFAULT, step=step, tree=tree, schedule=schedule)


@contextmanager
def forced(rng: np.random.Generator) -> Iterator[int]:
    """The search with techniques that small networks do without, or not; its processes."""
    with ExitStack() as stack:
        if rng.random() < 1 / 3:
            for one in with_settings(eager(rng)):
                stack.enter_context(one)
        if rng.random() < 1 / 8:
            stack.enter_context(patch.object(worker_group, "HARD", 0.0))
            stack.enter_context(patch.object(scheduler, "WORTH", 0))
            yield 2
            return
        for one in processor_limits():
            stack.enter_context(one)
        yield 1


def lengths(steps: Floats, norm: str) -> Floats:
    """The norm of every row."""
    sizes = np.abs(steps)
    if norm == "linf":
        return np.asarray(sizes.max(axis=1))
    return np.asarray(sizes.sum(axis=1) if norm == "l1" else np.sqrt((sizes**2).sum(axis=1)))


def nearest(
    network: gp.Network, anchor: gp.Anchor, domain: gp.Domain, norm: str, limit: float
) -> float:
    """The distance of the nearest point found that clearly is adversarial; inf: none."""
    x0 = anchor.x.astype(np.float64).reshape(-1)
    low, high = (
        np.broadcast_to(end, anchor.x.shape).reshape(-1) for end in (domain.low, domain.high)
    )
    low, high = np.maximum(low, x0 - limit), np.minimum(high, x0 + limit)
    program, found = Program.of(network, low, high), np.inf
    for target in range(network.classes):
        point = None
        if target != anchor.label:
            point = program.nearest(x0, anchor.label, target, norm)
        if point is None:
            continue
        # Just behind the boundary too: the program's tolerances may stop before it.
        pushes = 1 + np.array([0.0, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4])[:, None]
        points = np.clip(x0 + pushes * (point - x0), low, high)
        logits, *values = forward64(network, points.reshape(-1, *network.input_shape))
        size = max(1e-3, *(float(np.abs(v).max(initial=0.0)) for v in (logits, *values)))
        others = np.delete(logits, anchor.label, axis=1).max(axis=1)
        wins = others - logits[:, anchor.label] > CLEAR * size
        found = min([found, *lengths(points - x0, norm)[wins]])
    return found


def examine(number: int, base: int, drawn: onnx.ModelProto | None) -> tuple[str, list[str]]:
    """Return the end of a network's search, and what does not hold."""
    rng = np.random.default_rng([base, number])
    try:
        model = Writer(rng).model() if drawn is None else rescaled(drawn, rng)
        network = gp.from_proto(model)
    except gp.GraphpruneError as error:
        return f"refused: {type(error).__name__}", []
    neurons = network.neurons + network.auxiliary_neurons
    if any(node.op_type != "Relu" for node in network.activations) or not 0 < neurons <= MOST:
        return "of another kind or size", []
    x = rng.uniform(0.2, 0.8, network.input_shape).astype(np.float32)
    if rng.random() < 0.3:
        x = (np.round(4 * x) / 4).astype(np.float32)
    scores = run_original(network, x[None])[0]
    label = int(scores.argmax())
    anchor, domain = gp.Anchor(x, label), domain_for(rng, x.astype(np.float64))
    norm = str(rng.choice(["linf", "l2", "l1"], p=[0.6, 0.2, 0.2]))
    radius = float(rng.uniform(0.01, 0.8)) if rng.random() < 0.2 else None
    with forced(rng) as workers:
        result = gp.distance(
            network, anchor, domain=domain, norm=norm, radius=radius, solver="search",
            time_limit=LIMIT, workers=workers,
        )  # fmt: skip
    found = []
    upper = np.inf if result.upper is None else result.upper
    limit = upper if radius is None or upper < np.inf else radius
    least = nearest(network, anchor, domain, norm, min(2 * limit + 1e-3, FAR))
    if not result.lower <= least * (1 + 1e-9):
        found.append(f"lower end {result.lower!r}, but a point at {least!r}")
    if not result.lower <= upper:
        found.append(f"[{result.lower!r}, {upper!r}]")
    if result.status == "exact" and not upper <= least * (1 + 2e-4) + 2e-6 and least < np.inf:
        found.append(f"exact {upper!r}, but a point at {least!r}")
    if result.witness is not None:
        point = result.witness.x
        logits = run_original(network, point[None])[0]
        inside = np.all((point >= domain.low) & (point <= domain.high))
        if not (np.delete(logits, label).max() >= logits[label] and inside):
            found.append("the point is not adversarial, or outside the domain")
        length = lengths((point.astype(np.float64) - anchor.x).reshape(1, -1), norm)[0]
        if not upper * (1 - 1e-12) <= length <= upper * (1 + 1e-12):
            found.append(f"the point's distance is {length!r}, not {upper!r}")
    return f"{norm}: {result.status}", found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--first", type=int, default=0, help="Number of the first network.")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="Replay one network.")
    parser.add_argument("--seconds", type=float, default=np.inf, help="Of CPU time at most.")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    ends: Counter[str] = Counter()
    violations, start = 0, process_time()
    first = options.first if options.only is None else options.only
    last = first + (options.count if options.only is None else 1)
    drawn: list[onnx.ModelProto] = []
    kinds = many_operator_models(), models()
    for number in range(first, last):
        if process_time() - start > options.seconds:
            break
        if not drawn or number % BLOCK == 0:
            drawn = block(number // BLOCK, options.seed, kinds)
        began = monotonic()
        model = None if number % 3 else drawn[number % BLOCK % len(drawn)]
        try:
            end, found = examine(number, options.seed, model)
        except Exception:
            end, found = "failed", [traceback.format_exc(limit=-4)]
        ends[end] += 1
        violations += len(found)
        for said in found:
            print(f"--seed {options.seed} --only {number}: {said}", flush=True)
        if monotonic() - began > 60:
            print(f"--only {number}: took {monotonic() - began:.0f} s", flush=True)
        if number % 500 == 499:
            print(f"up to {number}: {dict(ends)}, {violations} violations", flush=True)
    process_pool.end_pool()
    print(f"{dict(ends)}; {violations} violations, {process_time() - start:.0f} s of CPU time")
    return int(violations > 0)


if __name__ == "__main__":
    sys.exit(main())
