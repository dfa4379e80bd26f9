"""Distances of networks with smooth activations, through SCIP's nonlinear constraints."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.errors import UnsupportedError
from graphprune.runtime.reference import forward64

CENTRE = np.array([0.6, 0.45])
SEED = 3


def network(op: str, **attributes: str) -> gp.Network:
    """Two inputs, three smooth neurons, a ReLU layer, two classes; a tie at CENTRE."""
    tie = forward64(_network(op, np.zeros(2), **attributes), CENTRE[None])[0][0]
    return _network(op, -tie, **attributes)


def _network(op: str, offset: np.ndarray, **attributes: str) -> gp.Network:
    rng = np.random.default_rng(SEED)
    shapes = {"w": (2, 3), "b": (3,), "v": (3, 4), "u": (4, 2)}
    arrays = {n: 2 * rng.normal(size=s) for n, s in shapes.items()} | {"o": offset}
    tensors = [numpy_helper.from_array(a.astype(np.float32), n) for n, a in arrays.items()]
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["a"]),
        helper.make_node(op, ["a"], ["h"], **attributes),
        helper.make_node("MatMul", ["h", "v"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Gemm", ["r", "u", "o"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 2]) for n in ("x", "y"))
    graph = helper.make_graph(nodes, "smooth", [x], [y], tensors)
    opset = [helper.make_opsetid("", 20)]
    model: onnx.ModelProto = helper.make_model(graph, ir_version=9, opset_imports=opset)
    return gp.from_proto(model)


def grid_distance(net: gp.Network, x0: np.ndarray, label: int) -> float:
    side = np.linspace(0, 1, 401)
    points = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    other = forward64(net, points)[0].argmax(axis=1) != label
    return float(np.abs(points[other] - x0).max(axis=1).min(initial=np.inf))


@pytest.mark.parametrize(
    ("op", "attributes"),
    [("Sigmoid", {}), ("Tanh", {}), ("Softplus", {}), ("Gelu", {"approximate": "tanh"})],
)
def test_distance_encloses_the_grids(op: str, attributes: dict[str, str]) -> None:
    net = network(op, **attributes)
    x0 = np.array([0.3, 0.3], np.float32)
    label = int(forward64(net, x0[None])[0].argmax())
    expected = grid_distance(net, x0, label)
    assert expected < 0.4
    found = gp.distance(net, gp.Anchor(x0, label), solver="scip", time_limit=20)
    assert (found.status, found.certified) == ("interval", False)
    assert found.upper is not None
    assert abs(found.upper - expected) <= 3e-3
    assert abs(found.lower - expected) <= 3e-3
    closed = gp.distance(net, gp.Anchor(x0, label))
    assert (closed.status, closed.certified) == ("exact", True)
    assert closed.upper is not None
    assert abs(found.lower - closed.lower) <= 1e-4
    assert closed.upper <= found.upper * (1 + 1e-4)


def test_the_exact_gelu_is_refused_by_scip_alone() -> None:
    net = network("Gelu")
    x0 = np.array([0.3, 0.3], np.float32)
    anchor = gp.Anchor(x0, int(forward64(net, x0[None])[0].argmax()))
    assert gp.certify(net, anchor).radius > 0
    with pytest.raises(UnsupportedError, match="Gelu.*SCIP has no such function"):
        gp.distance(net, anchor, solver="scip", time_limit=20)
