"""The canonical form computes what the file computes."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from benchmarks.truth import deviations
from graphprune.errors import UnsupportedError
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from graphprune.runtime.session import compiled
from graphprune.testing import models
from graphprune.transforms import forward
from tests.conftest import random_points
from tests.oracles import original64


def close(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    return bool(np.max(np.abs(a - b)) <= tolerance * max(1.0, float(np.max(np.abs(b)))))


@given(models())
def test_canonical_form_equals_the_original(model: onnx.ModelProto) -> None:
    network = gp.from_proto(model)
    x = random_points(network)
    ours = forward64(network, x)[0]
    assert close(ours, original64(network, x), 1e-12)
    assert close(run_original(network, x), ours, 1e-4)
    single = compiled(network, "test-forward", lambda: forward(network, "float32"))({"x": x})[0]
    assert close(single, ours, 1e-4)


@given(models())
def test_exported_file_equals_the_original_in_both_evaluators(model: onnx.ModelProto) -> None:
    network = gp.from_proto(model)
    proto = gp.to_proto(network)
    onnx.checker.check_model(proto, full_check=True)
    again = gp.from_proto(proto)
    x = random_points(network)
    expected = original64(network, x)
    assert close(run_original(again, x), expected, 1e-4)
    assert close(original64(again, x), expected, 1e-4)
    kind = [i.type.tensor_type.shape for i in model.graph.input]
    assert [i.type.tensor_type.shape.dim[0].dim_value for i in proto.graph.input] == [
        shape.dim[0].dim_value for shape in kind
    ]
    assert [o.name for o in proto.graph.output] == [o.name for o in model.graph.output]


def one_node(
    op: str, shape: list[int], constants: list[np.ndarray], **attributes: Any
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(c, f"c{i}") for i, c in enumerate(constants)]
    node = helper.make_node(op, ["x", *(t.name for t in tensors)], ["y"], name="it", **attributes)
    graph = helper.make_graph(
        [node], "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list("abcde"[: len(shape)]))], tensors,
    )  # fmt: skip
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize("count_include_pad", [0, 1])
@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize("side", [5, 6, 7])
def test_average_pool_counts_like_onnx_runtime(
    side: int, ceil_mode: int, count_include_pad: int
) -> None:
    model = one_node(
        "AveragePool", [1, 2, side, side], [], kernel_shape=[3, 2], strides=[2, 3],
        pads=[1, 0, 1, 1], ceil_mode=ceil_mode, count_include_pad=count_include_pad,
    )  # fmt: skip
    network = gp.from_proto(model)
    x = random_points(network)
    assert close(forward64(network, x)[0], run_original(network, x), 1e-5)


def test_one_dimensional_and_three_dimensional_convolutions() -> None:
    rng = np.random.default_rng(0)
    for shape, kernel in (([1, 2, 9], (3, 2, 4)), ([1, 2, 4, 5, 3], (3, 2, 2, 3, 2))):
        model = one_node("Conv", shape, [rng.normal(size=kernel).astype(np.float32)])
        network = gp.from_proto(model)
        x = random_points(network)
        assert close(forward64(network, x)[0], run_original(network, x), 1e-5)


@pytest.mark.parametrize(
    ("op", "constants", "attributes", "said"),
    [
        ("Bernoulli", [], {}, "random numbers"),
        ("Dropout", [np.float32(0.5), np.array(True)], {}, "training mode"),
        ("Div", [np.zeros(4, np.float32)], {}, "divides by zero"),
        ("Add", [np.zeros((3, 4, 4), np.float32)], {}, "batch axis"),
    ],
)
def test_unsupported_nodes_are_named(
    op: str, constants: list[np.ndarray], attributes: dict[str, Any], said: str
) -> None:
    model = one_node(op, [1, 4], constants, **attributes)
    with pytest.raises(UnsupportedError, match=f"'it'.*{op}.*{said}"):
        gp.from_proto(model)


def test_dynamic_axes_other_than_the_batch_are_refused() -> None:
    model = one_node("Relu", [1, 4], [])
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "width"
    with pytest.raises(UnsupportedError, match="axis 1 \\('width'\\) is dynamic"):
        gp.from_proto(model)


# Folders whose every network is in the supported language; of later ones some are refused.
LOADABLE = ("barrier", "hard", "tiny", "vnncomp", "wk17a", "zoo")


def test_every_truth_network_loads_and_agrees(truth: Path) -> None:
    """With ONNX Runtime on the file, and with the recorded float64 outputs."""
    files = sorted(file for folder in LOADABLE for file in (truth / folder).rglob("*.onnx"))
    assert len(files) >= 30
    for file in files:
        _agrees(file)


def test_competition_networks_agree_or_are_refused(truth: Path) -> None:
    """A network that loads is the file's; whatever is not supported says so."""
    files = sorted(
        file for part in ("vnncomp2", "vnnlib2") for file in (truth / part).rglob("*.onnx")
    )
    if not files:
        pytest.skip("these folders are not there")
    agreeing = 0
    for file in files:
        with contextlib.suppress(gp.GraphpruneError):
            _agrees(file)
            agreeing += 1
    assert agreeing >= 30


def _agrees(file: Path) -> None:
    _, runtime, recorded = deviations(file)
    assert runtime <= 2e-5, file  # sums of large numbers in float32
    assert recorded is None or recorded <= 1e-7, file
