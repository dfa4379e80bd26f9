"""Scalar functions and products at hostile points, and networks of them beside dense samples.

    python -m benchmarks.curves [--intervals N] [--networks N] [--seed S]

Each registered function is asked for its image, tangents, chords and slopes on N hostile intervals
(`graphprune.testing.curves`, some 50 points each); products on as many boxes of two factors. Then
networks of one and two inputs with two layers of functions or compositions (softmax, attention,
normalisations, recurrent cells) each: gradients against finite differences, distances and verdicts
against samples of the whole domain. Exits with 1 where something is wrong.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from time import process_time

import numpy as np
from numpy.typing import NDArray

import graphprune as gp
from graphprune import transforms
from graphprune.backends.verify import verify
from graphprune.errors import UnsupportedError
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from graphprune.runtime.session import Executable
from graphprune.testing.curves import (
    hostile_intervals,
    hostile_points,
    product_violations,
    violations,
)
from graphprune.vnnlib import parse_property
from tests.functions.compositions import COMPOSED
from tests.functions.test_functions import ALL
from tests.functions.test_networks import PARTS, network_of

Floats = NDArray[np.float64]
LIMIT = 5.0
# Samples along an axis of two inputs, and of one.
GRID, LINE = 701, 200_001
# A margin above this is no rounding of float64; float32 differs from float64 by less than that.
CLEAR, SINGLE = 1e-9, 2e-5
# Gradients are compared up to here.
STEEP = 1e3


def functions(intervals: int, seed: int) -> Iterator[str]:
    """Violations of every function and of products."""
    for op in ALL:
        rng, start = np.random.default_rng(seed), process_time()
        lower, upper = hostile_intervals(op, intervals, rng)
        found = list(violations(op, lower, upper, rng))
        points = hostile_points(op, lower, upper, rng).size
        print(f"{op}: {points:,} points, {process_time() - start:.1f} s, {len(found)} wrong")
        yield from found
    found = list(product_violations(intervals, np.random.default_rng(seed)))
    print(f"products: {intervals:,} boxes, {len(found)} wrong")
    yield from found


def samples(inputs: int) -> Floats:
    """Points of the whole domain."""
    if inputs == 1:
        return np.linspace(0, 1, LINE)[:, None]
    axis = np.linspace(0, 1, GRID)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def network(kinds: tuple[str, str], inputs: int, seed: int) -> Iterator[str]:
    """Violations of a network's gradient, distance and verdict."""
    name = f"{kinds} of {inputs} inputs, seed {seed}"
    made, rng = network_of(*kinds, seed=seed, count=inputs), np.random.default_rng(seed)
    x = samples(inputs)
    logits = forward64(made, x)[0]
    size = 1.0 + np.abs(logits).max()
    yield from (f"{name}: {said}" for said in _gradient(made, x[rng.integers(0, len(x), 8)]))
    start = rng.uniform(0.2, 0.8, inputs).astype(np.float32)
    label = int(run_original(made, start[None])[0].argmax())
    margin = np.delete(logits, label, axis=1).max(axis=1) - logits[:, label]
    away = np.abs(x - start).max(axis=1)
    clear = away[margin > CLEAR * size].min(initial=np.inf)
    try:
        result = gp.distance(made, gp.Anchor(start, label), time_limit=LIMIT)
    except UnsupportedError:
        return
    if result.lower > clear * (1 + 1e-9):
        yield f"{name}: a point at {clear}, below {result.lower}"
    if result.status == "exact" and result.upper is not None and result.upper > clear * (1 + 2e-4):
        yield f"{name}: a point at {clear}, nearer than the exact {result.upper}"
    if result.status == "robust" and np.isfinite(clear):
        yield f"{name}: a point at {clear}, but robust"
    other, share = (1 if label == 0 else 0), rng.choice([-0.05, -1e-3, 1e-3, 0.05])
    values = logits[:, other] - logits[:, label]
    limit = float(values.max() + share * np.ptp(values))
    yield from (f"{name}: {said}" for said in _verdict(made, (label, other), limit, values))


def _gradient(made: gp.Network, x: Floats) -> Iterator[str]:
    rows = np.tile([1.0, -2.0, 0.5], (len(x), 1)).astype(np.float32)
    single = x.astype(np.float32)
    _, found = Executable(transforms.gradient(made))({"x": single, "rows": rows})
    at, step = single.astype(np.float64), 1e-6 * np.eye(x.shape[1])
    sides = [[forward64(made, at + s * d)[0] @ rows[0] for s in (1, -1)] for d in step]
    numeric = np.stack([(up - down) / 2e-6 for up, down in sides], axis=1)
    # Where exponentials meet, float32 keeps few digits of what it subtracts.
    found, numeric = (g[np.abs(numeric).max(axis=1) <= STEEP] for g in (found, numeric))
    if not np.allclose(found, numeric, rtol=2e-3, atol=2e-3 * (1 + np.abs(numeric).max(initial=0))):
        yield f"gradient {found.tolist()}, differences {numeric.tolist()}"


def _verdict(
    made: gp.Network, classes: tuple[int, int], limit: float, values: Floats
) -> Iterator[str]:
    """A property that one logit exceeds another by `limit` somewhere."""
    count = int(made.input_shape[0])
    label, other = classes
    text = "".join(
        f"(declare-const X_{i} Real)(assert (>= X_{i} 0.0))(assert (<= X_{i} 1.0))"
        for i in range(count)
    )
    text += "".join(f"(declare-const Y_{j} Real)" for j in range(3))
    prop = parse_property(f"{text}(assert (>= (- Y_{other} Y_{label}) {limit!r}))")
    verdict = verify(made, prop, time_limit=LIMIT)
    if verdict.answer == "unsat" and values.max() > limit + CLEAR * (1 + abs(limit)):
        yield f"unsat of {limit}, but {values.max()} is reached"
    if verdict.point is not None:
        y = run_original(made, verdict.point.x.reshape(1, count).astype(np.float32))[0]
        if y[other] - y[label] < limit - SINGLE * (1 + np.abs(y).max()):
            yield f"sat of {limit}, but {y[other] - y[label]} is reached"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--intervals", type=int, default=2000, help="For each function.")
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    np.seterr(all="ignore")
    wrong = list(functions(options.intervals, options.seed))
    kinds, start = sorted({**PARTS, **COMPOSED}), process_time()
    for number in range(options.networks):
        rng = np.random.default_rng([options.seed, number])
        pair = (kinds[number % len(kinds)], str(rng.choice(kinds)))
        found = list(network(pair, 1 + int(rng.integers(0, 2)), int(rng.integers(0, 2**31))))
        print(*found, sep="\n", end="\n" if found else "", flush=True)
        wrong += found
    print(f"{options.networks} networks in {process_time() - start:.0f} s of processor time")
    print(f"{len(wrong)} wrong", *wrong, sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
