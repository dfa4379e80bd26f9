"""The executor: provider choice, both packages installed, CUDA against the CPU."""

import sys
import types
from importlib import metadata

import numpy as np
import pytest

import graphprune as gp
from graphprune.bounds import (
    Boxes,
    Method,
    linear_bounds,
    pre_activation_bounds,
    using_engine,
)
from graphprune.bounds.certify import margin_rows
from graphprune.region import Ball
from graphprune.runtime import provider
from graphprune.runtime.provider import Provider
from graphprune.runtime.resources import Resources, current, using
from graphprune.runtime.session import Executable, Resident
from graphprune.transforms import forward, gradient

BALLS = (("linf", 0.02), ("l2", 0.3), ("l1", 1.0))


def test_both_packages_side_by_side_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    provider.onnx_runtime.cache_clear()
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
    try:
        with pytest.raises(gp.GraphpruneError, match="both installed.*pip uninstall"):
            provider.onnx_runtime()
    finally:
        provider.onnx_runtime.cache_clear()


@pytest.mark.parametrize("left", [True, False])
def test_a_broken_installation_is_named_with_its_remedy(
    left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("onnxruntime") if left else None
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    said = "broken; run: pip uninstall" if left else "cannot be imported.*run: pip uninstall"
    provider.onnx_runtime.cache_clear()
    try:
        with pytest.raises(gp.GraphpruneError, match=said):
            provider.onnx_runtime()
    finally:
        provider.onnx_runtime.cache_clear()


def test_cuda_asked_for_where_there_is_none_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "cuda_problem", lambda: "no CUDA device or driver is usable")
    asked = using(Resources(provider="cuda"))
    with pytest.raises(gp.GraphpruneError, match="provider cuda: no CUDA device"), asked:
        pass
    assert current().device == "cpu"


def test_resident_buffers_give_the_same_numbers(
    mnist_a: gp.Network, images: list[gp.Anchor]
) -> None:
    """I/O binding, on whatever device sessions run on: inputs, outputs and mixtures."""
    run = Executable(gradient(mnist_a))
    x, rows = images[0].x[None], np.eye(10, dtype=np.float32)[:1]
    expected = run({"x": x, "rows": rows})
    held = Resident.of(x)
    assert np.array_equal(held.numpy(), x)
    mixed = run({"x": held, "rows": rows})
    kept = run.resident({"x": held, "rows": Resident.of(rows)})
    again = run({"x": kept[1], "rows": rows})
    assert np.allclose(again[0], run({"x": expected[1], "rows": rows})[0], atol=1e-5)
    for one, two, three in zip(expected, mixed, kept, strict=True):
        assert np.array_equal(one, two)
        assert np.array_equal(one, three.numpy())


def cuda_or_skip() -> None:
    if problem := provider.cuda_problem():
        pytest.skip(problem)


@pytest.mark.cuda
def test_cuda_and_cpu_give_the_same_numbers(mnist_a: gp.Network, images: list[gp.Anchor]) -> None:
    cuda_or_skip()
    results: list[list[np.ndarray]] = []
    methods: tuple[Method, ...] = ("crown", "alpha-crown")
    devices: tuple[Provider, ...] = ("cpu", "cuda")
    for name in devices:
        with using(Resources(provider=name)), using_engine("graph"):
            network = gp.load(str(mnist_a.source.path))
            run = Executable(forward(network, "float32"))
            found = [run({"x": images[0].x[None]})[0]]
            for norm, radius in BALLS:
                boxes = Boxes.of(Ball(images[0].x.astype(float), radius, norm=norm))
                rows = margin_rows(network, images[0].label)
                for method in methods:
                    layers = pre_activation_bounds(network, boxes, method)
                    found += [layer.lower for layer in layers]
                    found.append(linear_bounds(network, boxes, layers, rows, method))
        results.append(found)
    for one, two in zip(*results, strict=True):
        assert np.allclose(one, two, atol=1e-2, rtol=1e-2)
