"""After warming up nothing is left to compile, whatever is computed."""

import importlib
from typing import Any

import graphprune as gp
from graphprune.evaluate.warm import warm_up

KERNELS = ("search.kernels", "compact.kernels", "compact.optimise")


def compiled() -> dict[str, int]:
    """Signatures of every kernel called from Python."""
    counts = {}
    for name in KERNELS:
        module: Any = importlib.import_module(f"graphprune.backends.{name}")
        for kernel, value in vars(module).items():
            if hasattr(value, "signatures"):
                counts[f"{name}.{kernel}"] = len(value.signatures)
    return counts


def test_nothing_is_left_to_compile(
    tiny: gp.Network, mnist_a: gp.Network, images: list[gp.Anchor]
) -> None:
    warm_up()
    before = compiled()
    assert any(before.values())
    assert gp.distance(tiny, images[0]).status == "exact"
    gp.distance(mnist_a, images[1], time_limit=3.0)
    gp.certify(mnist_a, images[1], method="alpha-crown")
    gp.certify(mnist_a, images[1], norm="l2")
    assert compiled() == before
