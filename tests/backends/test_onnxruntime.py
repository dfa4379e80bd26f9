"""The executor: provider choice, both packages installed, CUDA against the CPU."""

from importlib import metadata

import numpy as np
import pytest

import graphprune as gp
from graphprune.backends.onnxruntime import Executable, configure, provider, runtime
from graphprune.ir import Ball
from graphprune.passes.analysis.bounds import Boxes, pre_activation_bounds
from graphprune.transforms import forward


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
