"""The executor: provider choice, both packages installed, CUDA against the CPU."""

from importlib import metadata

import numpy as np
import pytest

import graphprune as gp
from graphprune.backends.onnxruntime import Executable, Resident, configure, provider, runtime
from graphprune.ir import Ball
from graphprune.passes.analysis.bounds import Boxes, pre_activation_bounds
from graphprune.transforms import forward, gradient


def test_both_packages_side_by_side_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime._runtime.cache_clear()
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
    try:
        with pytest.raises(gp.GraphpruneError, match="both installed.*pip uninstall"):
            runtime._runtime()
    finally:
        runtime._runtime.cache_clear()


def test_cuda_asked_for_where_there_is_none_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_cuda_problem", lambda: "no CUDA device or driver is usable")
    with pytest.raises(gp.GraphpruneError, match="provider cuda: no CUDA device"):
        configure(provider="cuda")
    assert provider() == "cpu"


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
    if problem := runtime._cuda_problem():
        pytest.skip(problem)


@pytest.mark.cuda
def test_cuda_and_cpu_give_the_same_numbers(mnist_a: gp.Network, images: list[gp.Anchor]) -> None:
    cuda_or_skip()
    results = []
    for name in ("cpu", "cuda"):
        configure(provider=name)
        try:
            network = gp.load(str(mnist_a.source.path))
            run = Executable(forward(network, "float32"))
            logits = run({"x": images[0].x[None]})[0]
            boxes = Boxes.of(Ball(images[0].x.astype(float), 0.02))
            layers = pre_activation_bounds(network, boxes)
        finally:
            configure()
        results.append((logits, layers))
    assert np.allclose(results[0][0], results[1][0], atol=1e-4)
    for one, two in zip(results[0][1], results[1][1], strict=True):
        assert np.allclose(one.lower, two.lower, atol=1e-3)
