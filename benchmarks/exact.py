"""Exact distances: the search against the plain big-M program on SCIP and the CROWN radius search.

    python benchmarks/exact.py NETWORK [--anchors N | --index I,J] [--time-limit S] [--processor]
        [--norm linf|l2|l1] [--plain N] [--ablate]

Processor seconds of one thread (attack and certificate included for every method), so that a
busy machine changes the figures little; limits are wall seconds, or with `--processor` processor
seconds too, those of SCIP included. The plain program has a big-M row
and a variable for every neuron, is asked about the attack's target only, and is censored at
--plain-limit: its share is a lower bound. It is measured both paths: with intervals on the whole
domain, as users of OMLT or PySCIPOpt-ML write it, and on the attack's ball, which it is given.
`--ablate` switches each technique off once.
"""

import argparse
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from math import exp, log
from pathlib import Path
from typing import TypeVar, Unpack
from unittest.mock import patch

import numpy as np

import graphprune as gp
from benchmarks.switches import TECHNIQUES, without
from graphprune.attacks.attack import Attack
from graphprune.backends.scip import solve as scip_solve
from graphprune.backends.scip import solve_target
from graphprune.backends.scip.formulate import layer
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.clock import processor_seconds
from graphprune.evaluate.distance import DistanceOptions
from graphprune.runtime.original import run_original
from graphprune.runtime.resources import Resources

MODELS = Path(__file__).parent.parent / "models"
T = TypeVar("T")


def processor_limits() -> list[AbstractContextManager[object]]:
    """Resources on this process' processor seconds: its clock instead of the wall's, everywhere."""
    return [
        patch.dict(scip_solve.OPTIONS, {"timing/clocktype": 1}),
        *(
            patch.object(module, "monotonic", processor_seconds)
            for name, module in list(sys.modules.items())
            if name.startswith("graphprune.") and hasattr(module, "monotonic")
        ),
    ]


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """The answer of a call and its processor seconds."""
    start = processor_seconds()
    result = call()
    return result, processor_seconds() - start


def measure(
    network: gp.Network, anchor: gp.Anchor, limit: float, **options: Unpack[DistanceOptions]
) -> tuple[gp.Distance, float]:
    """The search's answer and its processor seconds."""
    asked: DistanceOptions = {"solver": "search", **options, "time_limit": limit}
    return timed(lambda: gp.distance(network, anchor, **asked))


def plain(
    network: gp.Network, anchor: gp.Anchor, found: Attack, limit: float, *, whole: bool
) -> tuple[str, float]:
    """The plain program of one target: how it ended, and its processor seconds.

    Parameters
    ----------
    whole
        Intervals on the whole domain; else on the attack's ball.
    """
    assert found.witness is not None
    start = processor_seconds()
    reach = gp.Domain().search_limit(anchor.x, found.norm)
    radius = reach if whole else found.witness.distance
    ball = anchor.ball(radius, gp.Domain(), found.norm)
    layers = pre_activation_bounds(network, Boxes.of(ball), "ibp")
    layered = layer(network, layers)
    row = np.zeros(network.classes)
    row[anchor.label], row[found.witness.target] = 1.0, -1.0
    # On the clock that the solve looks at.
    resources = Resources(vars(scip_solve)["monotonic"]() + limit)
    result = solve_target(layered, ball, row, lower=0.0, resources=resources, encoding="big-m")
    word = "exact" if result.finished else f"bound {result.lower:.5f}"
    return word, processor_seconds() - start


def geometric(values: list[float]) -> float:
    return exp(sum(map(log, values)) / len(values))


def table(network: gp.Network, anchors: list[gp.Anchor], options: argparse.Namespace) -> None:
    print(
        "| anchor | lower | upper | lower/upper | status | nodes | CPU s | CROWN/upper |"
        " attack/upper | plain, intervals on the whole domain |"
        " plain, intervals on the attack's ball |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    seconds, shares, exact = [], [], 0
    ratios: dict[bool, list[float]] = {True: [], False: []}
    for place, anchor in enumerate(anchors):
        result, used = measure(network, anchor, options.time_limit, norm=options.norm)
        upper = result.upper or np.inf
        seconds.append(used)
        shares.append(result.lower / upper)
        exact += result.status == "exact"
        proof = gp.certify(network, anchor, norm=options.norm, upper=result.upper)
        found = gp.attack(network, anchor, norm=options.norm)
        words = []
        for whole in ratios if place < options.plain else ():
            ended, other = plain(network, anchor, found, options.plain_limit, whole=whole)
            ratios[whole].append(other / used)
            words.append(f"{ended}, {other:.1f} s")
        print(
            f"| {anchor.index} | {result.lower:.5f} | {upper:.5f} | {shares[-1]:.4f} |"
            f" {result.status} | {result.nodes} | {used:.2f} | {proof.radius / upper:.3f} |"
            f" {(found.distance or np.inf) / upper:.4f} |"
            f" {' | '.join(words or ['', ''])} |",
            flush=True,
        )
    print(
        f"\nexact {exact}/{len(anchors)}, mean lower/upper {np.mean(shares):.4f}, CPU seconds"
        f" median {np.median(seconds):.2f}, largest {max(seconds):.2f}"
    )
    if ratios[True]:
        print(
            "plain / search (geometric mean):"
            f" {geometric(ratios[True]):.0f} with intervals on the whole domain,"
            f" {geometric(ratios[False]):.0f} on the attack's ball"
        )


def ablate(network: gp.Network, anchors: list[gp.Anchor], limit: float, norm: str) -> None:
    print("| switched off | exact | mean lower/upper | nodes | CPU s |")
    print("|---|---|---|---|---|")
    for name in TECHNIQUES:
        with without(name):
            results = [measure(network, anchor, limit, norm=norm) for anchor in anchors]
        exact = sum(r.status == "exact" for r, _ in results)
        share = np.mean([r.lower / (r.upper or np.inf) for r, _ in results])
        nodes, used = sum(r.nodes for r, _ in results), sum(s for _, s in results)
        print(f"| {name} | {exact} | {share:.4f} | {nodes} | {used:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", help="a shipped network's name, or an ONNX file")
    parser.add_argument("--norm", default="linf", help="linf, l2 or l1")
    parser.add_argument("--anchors", type=int, default=20)
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--plain", type=int, default=5, help="anchors for the plain program")
    parser.add_argument("--plain-limit", type=float, default=120.0)
    parser.add_argument("--index", help="these anchors instead, as I,J,K")
    parser.add_argument("--processor", action="store_true", help="limits in processor seconds")
    parser.add_argument("--ablate", action="store_true")
    options = parser.parse_args()
    path = Path(options.network)
    network = gp.load(path if path.exists() else MODELS / f"{options.network}.onnx")
    anchors = [
        a
        for a in gp.load_anchors(MODELS / "mnist-test-100.npz", network)
        if run_original(network, a.x[None])[0].argmax() == a.label
    ]
    if options.index is not None:
        asked = [int(i) for i in options.index.split(",")]
        anchors = [a for a in anchors if a.index in asked]
    anchors = anchors[: options.anchors]
    # Compiling (once per machine) is not measured.
    gp.distance(network, anchors[0], norm=options.norm, solver="search", time_limit=1.0)
    with ExitStack() as stack:
        for one in processor_limits() if options.processor else ():
            stack.enter_context(one)
        if options.ablate:
            ablate(network, anchors, options.time_limit, options.norm)
        else:
            table(network, anchors, options)


if __name__ == "__main__":
    main()
