"""PyTorch modules become networks, where PyTorch is installed."""

import sys
from typing import Any

import numpy as np
import pytest

import graphprune as gp
from graphprune.runtime.original import run_original


def test_without_pytorch_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(gp.GraphpruneError, match=r"pip install 'graphprune\[torch\]'"):
        gp.from_torch(None, None)


@pytest.fixture
def torch() -> Any:
    pytest.importorskip("onnxscript")
    return pytest.importorskip("torch")


def test_a_module_and_its_network_agree(torch: Any) -> None:
    from torch import nn

    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(), nn.Linear(3 * 4 * 4, 4),
    ).train()  # fmt: skip
    network = gp.from_torch(module, torch.zeros(1, 1, 8, 8))
    assert module.training
    assert all(part.training for part in module)
    assert network.input_shape == (1, 8, 8)
    assert network.classes == 4
    x = torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        truth = module.eval()(x).numpy()
    np.testing.assert_allclose(run_original(network, x.numpy()), truth, atol=1e-4)
    table = gp.evaluate(network, x, metrics=("adv", "rob"), effort="fast")
    assert all(
        row["d_adv"] is None or row["d_rob"] <= row["d_adv"] for row in table
    )  # fmt: skip


def test_modules_that_cannot_be_networks_are_refused(torch: Any) -> None:
    from torch import nn

    class Random(nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x @ torch.rand(3, 2)

    class Branching(nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x if x.sum() > 0 else -x

    for module, x, said in (
        (nn.Linear(3, 2), torch.zeros(3), "batch axis"),
        (nn.Linear(3, 2), [[0.0]], "batch axis"),
        (Branching(), torch.ones(2, 3), "cannot export"),
    ):
        with pytest.raises(gp.GraphpruneError, match=said):
            gp.from_torch(module, x)
    with pytest.raises(gp.GraphpruneError):
        gp.from_torch(Random(), torch.ones(2, 3))
