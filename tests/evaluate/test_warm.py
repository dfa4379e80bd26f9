"""After warming up nothing is left to compile, whatever is computed."""

import importlib
from typing import Any

import numpy as np

import graphprune as gp
from graphprune.backends.verify import verify
from graphprune.backends.verify.neurons import split_neurons
from graphprune.backends.verify.query import VerificationQuery
from graphprune.evaluate.warm import warm_up, warm_verify
from graphprune.vnnlib import parse_property
from tests.oracles import Perceptron

KERNELS = (
    "backends.relaxation.kernels",
    "bounds.compact.kernels",
    "bounds.compact.backward",
    "bounds.compact.optimise",
    "backends.verify.kernels",
)


def compiled() -> dict[str, int]:
    """Signatures of every kernel called from Python."""
    counts = {}
    for name in KERNELS:
        module: Any = importlib.import_module(f"graphprune.{name}")
        for kernel, value in vars(module).items():
            if hasattr(value, "signatures"):
                counts[f"{name}.{kernel}"] = len(value.signatures)
    return counts


def test_nothing_is_left_to_compile(
    tiny: gp.Network, mnist_a: gp.Network, images: list[gp.Anchor]
) -> None:
    warm_up()
    warm_verify()
    before = compiled()
    assert any(before.values())
    assert gp.distance(tiny, images[0]).status == "exact"
    gp.distance(mnist_a, images[1], time_limit=3.0)
    gp.certify(mnist_a, images[1], method="alpha-crown")
    gp.certify(mnist_a, images[1], norm="l2")
    assert compiled() == before


def test_nothing_is_left_to_compile_for_verify() -> None:
    warm_up()
    warm_verify()
    before = compiled()
    net = Perceptron.random(np.random.default_rng(3), [4, 12, 12, 2])
    network = gp.from_proto(net.model())
    text = "".join(f"(declare-const X_{i} Real)" for i in range(4))
    text += "(declare-const Y_0 Real) (declare-const Y_1 Real)"
    text += "".join(f"(assert (>= X_{i} -0.8)) (assert (<= X_{i} 0.8))" for i in range(4))
    limit = min(net.logits(x)[0] for x in np.random.default_rng(4).uniform(-0.8, 0.8, (500, 4)))
    prop = parse_property(f"{text}(assert (<= Y_0 {float(limit - 3.0)!r}))")
    assert verify(network, prop).answer == "unsat"
    assert split_neurons(VerificationQuery.of(network, prop.regions[0], np.inf)).unsat
    assert compiled() == before
