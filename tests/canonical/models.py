"""Small models written with ``onnx.helper`` alone, and what must hold of each."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.bounds import Boxes, linear_bounds, pre_activation_bounds
from graphprune.region import Ball, Domain
from graphprune.runtime.original import run_file, run_original
from graphprune.runtime.reference import forward64
from graphprune.runtime.session import compiled
from graphprune.transforms import forward
from tests.conftest import random_points


def close(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    return bool(np.max(np.abs(a - b)) <= tolerance * max(1.0, float(np.max(np.abs(b)))))


def model_of(
    nodes: list[onnx.NodeProto],
    shape: list[Any],
    outputs: str | list[str] = "y",
    opset: int = 17,
    constants: dict[str, np.ndarray] | None = None,
    kind: int = TensorProto.FLOAT,
    kinds: dict[str, int] | None = None,
    ml: bool = False,
) -> onnx.ModelProto:
    """Input ``x``; outputs without a shape, as older exporters write them."""
    names = [outputs] if isinstance(outputs, str) else outputs
    tensors = [numpy_helper.from_array(np.asarray(c), n) for n, c in (constants or {}).items()]
    out = [helper.make_tensor_value_info(n, (kinds or {}).get(n, kind), None) for n in names]
    graph = helper.make_graph(
        nodes, "m", [helper.make_tensor_value_info("x", kind, shape)], out, tensors
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid("ai.onnx.ml", 3)] * ml)]
    own = any(node.domain == "com.microsoft" for node in nodes)
    opsets += [helper.make_opsetid("com.microsoft", 1)] * own
    return helper.make_model(graph, ir_version=8, opset_imports=opsets)


def node(
    op: str, inputs: str = "x", outputs: str = "y", domain: str = "", **attributes: Any
) -> onnx.NodeProto:
    names, blank = (
        [name if name != "_" else "" for name in text.split()] for text in (outputs, inputs)
    )
    called = f"the {op} {next(filter(None, names))}"
    return helper.make_node(op, blank, names, name=called, domain=domain, **attributes)


def agrees(model: onnx.ModelProto, *, low: float = -2.0, high: float = 2.0) -> gp.Network:
    """Canonical form, its float32 run and its export equal ONNX Runtime on the file."""
    network = gp.from_proto(model)
    x = random_points(network, low=low, high=high).astype(network.source.dtype)
    if network.source.batch_size is not None:
        x = x[: network.source.batch_size]
    expected = run_original(network, x)
    loose = 1e-5 if network.source.dtype != np.float16 else 2e-2
    assert close(forward64(network, x)[0], expected, loose)
    single = compiled(network, "test-forward", lambda: forward(network, "float32"))
    assert close(single({"x": x.astype(np.float32)})[0], expected, loose)
    exported = gp.to_proto(network)
    onnx.checker.check_model(exported, full_check=True)
    # A last increasing function would be cut as a head when this is read again.
    bare = gp.from_proto(gp.to_proto(network, head=False))
    assert close(run_file(bare, x), expected, loose)
    encloses(network)
    return network


def encloses(network: gp.Network, radius: float = 0.3) -> None:
    """Sampled pre-activations and logits lie within the CROWN bounds."""
    centre = random_points(network, 1, low=-1.0, high=1.0)[0].astype(np.float64)
    ball = Ball(centre, radius, Domain(-np.inf, np.inf))
    rng = np.random.default_rng(1)
    x = rng.uniform(ball.lower, ball.upper, (40, *network.input_shape))
    corners = np.where(rng.random((40, *network.input_shape)) < 0.5, ball.lower, ball.upper)
    logits, *values = forward64(network, np.concatenate([x, corners]))
    for method in ("crown", "fastlin-ibp"):
        layers = pre_activation_bounds(network, Boxes.of(ball), method)
        for layer, z in zip(layers, values, strict=True):
            flat = z.reshape(80, -1)
            assert np.all(flat >= layer.lower[0]), method
            assert np.all(flat <= layer.upper[0]), method
        rows = np.concatenate([np.eye(network.classes), -np.eye(network.classes)])
        lower = linear_bounds(network, Boxes.of(ball), layers, rows, method)[0]
        assert np.all(logits @ rows.T >= lower - 1e-12), method
