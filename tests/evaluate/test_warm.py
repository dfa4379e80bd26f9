"""After warming up nothing is left to compile, whatever is computed."""

import importlib
from typing import Any

import numpy as np
import pytest
from numba import types

import graphprune as gp
from graphprune.backends.verify import verify
from graphprune.backends.verify.neurons import split_neurons
from graphprune.backends.verify.query import VerificationQuery
from graphprune.bounds import Method
from graphprune.evaluate.proofs import prove
from graphprune.evaluate.settings import Settings
from graphprune.evaluate.warm import warm_up, warm_verify
from graphprune.progress import quiet
from graphprune.region import norm_of
from graphprune.runtime.resources import Resources
from graphprune.vnnlib import parse_property
from tests.oracles import Perceptron

KERNELS = (
    "backends.relaxation.kernels",
    "bounds.compact.kernels",
    "bounds.compact.backward",
    "bounds.compact.optimise",
    "backends.verify.kernels",
    "backends.certificate.kernels",
)


def kernels() -> dict[str, Any]:
    """Every kernel called from Python, by name."""
    found = {}
    for name in KERNELS:
        for kernel, value in vars(importlib.import_module(f"graphprune.{name}")).items():
            # Where a plain tuple is named for Python, the kernel is below.
            below = value if hasattr(value, "signatures") else getattr(value, "__wrapped__", None)
            if hasattr(below, "signatures"):
                found[f"{name}.{kernel}"] = below
    return found


def compiled() -> dict[str, int]:
    """Numbers of their signatures."""
    return {name: len(kernel.signatures) for name, kernel in kernels().items()}


def test_no_kernel_hands_a_named_tuple_to_python() -> None:
    """Ctrl-C while compiled code makes one ends the process by a segmentation fault."""
    warm_up()
    warm_verify()
    assert "backends.relaxation.kernels.optimise" in kernels()
    for name, kernel in kernels().items():
        for made in kernel.overloads.values():
            assert not isinstance(made.signature.return_type, types.BaseNamedTuple), name


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
    gp.distance(mnist_a, images[1], norm="l1", time_limit=1.0)
    for norm in ("linf", "l2"):
        settings = Settings(metrics=("bnd",), norm=norm_of(norm))
        query, resources = settings.query(tiny, images[0]), Resources().within(2.0)
        prove(query, gp.distance(tiny, images[0], norm=norm, record=True), resources)
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


def test_a_metric_compiles_its_own_kernels_alone(
    tiny: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    monkeypatch.setattr("graphprune.bounds.warm._run", lambda *made: called.append(" ".join(made)))
    monkeypatch.setattr("graphprune.evaluate.warm._search", lambda *_: called.append("search"))
    cases: tuple[tuple[str, Method, str, list[str]], ...] = (
        ("adv", "crown", "linf", []),
        ("rob", "fastlin", "linf", ["crown linf"]),
        ("rob", "alpha-crown", "l2", ["crown l2", "alpha-crown l2"]),
        ("bnd", "crown", "linf", ["crown linf", "search"]),
    )
    for metrics, method, norm, needed in cases:
        called.clear()
        gp.evaluate(
            tiny, images[0].x[None], metrics=(metrics,), method=method, norm=norm, time_limit=0.0
        )
        assert list(dict.fromkeys(called)) == needed, metrics


def test_a_call_that_nobody_watches_is_told_by_the_log(
    tiny: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    monkeypatch.setattr(
        "graphprune.evaluate.run.warm_for",
        lambda metrics, method, progress, norm: told.append(progress),
    )
    gp.evaluate(tiny, images[0].x[None], metrics=("adv",), time_limit=0.0)
    assert told == [quiet]
