"""Products of computed values, softmax and normalisations between layers, against ONNX Runtime."""

from typing import Any

import numpy as np
import onnx
import pytest

import graphprune as gp
from graphprune.errors import UnsupportedError
from graphprune.ir.network import is_paired, operator, size
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from tests.canonical.models import agrees, close, model_of, node

RNG = np.random.default_rng(3)


def f32(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


PRODUCTS: dict[str, tuple[list[onnx.NodeProto], list[Any], dict[str, np.ndarray]]] = {
    "square matrices": ([node("Sin", "x", "s"), node("MatMul", "x s")], ["n", 3, 3], {}),
    "transposed": ([node("Transpose", "x", "t", perm=[0, 2, 1]), node("MatMul", "x t")], ["n", 2, 3], {}),
    "batches": ([node("Transpose", "x", "t", perm=[0, 1, 3, 2]), node("MatMul", "x t")], [2, 2, 2, 3], {}),
    "matrix and vector": ([node("ReduceMean", "x", "m", axes=[0, 1], keepdims=0), node("MatMul", "x m")], [1, 2, 3], {}),
    "gemm": ([node("Gemm", "x x c", alpha=0.5, transB=1)], [1, 3], {"c": f32(1)}),
    "einsum": ([node("Sin", "x", "s"), node("Einsum", "x s", equation="bhqd,bhkd->bqhk")], ["n", 2, 2, 3], {}),
    "einsum of a sum": ([node("Sin", "x", "s"), node("Einsum", "x s", equation="bij,bkj->bk")], ["n", 2, 3], {}),
    "gate": ([node("Split", "x", "a g", axis=1), node("Sigmoid", "g", "s"), node("Mul", "a s")], ["n", 6], {}),
    "squeeze and excite": ([node("GlobalAveragePool", "x", "p"), node("Conv", "p w", "q"), node("HardSigmoid", "q", "s"), node("Mul", "x s")], ["n", 2, 3, 2], {"w": f32(2, 2, 1, 1)}),
    "quotient": ([node("Exp", "x", "e"), node("ReduceSum", "e a", "s"), node("Div", "e s")], ["n", 4], {"a": np.array([1])}),
    "by a root": ([node("Exp", "x", "e"), node("Sqrt", "e", "s"), node("Div", "x s")], ["n", 4], {}),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_computed_values(name: str) -> None:
    nodes, shape, constants = PRODUCTS[name]
    agrees(model_of(nodes, shape, constants=constants))


def between(*nodes: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Nodes from x to s, and a layer above that keeps them from being a head."""
    return [*nodes, node("Sin", "s")]


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(
    ("shape", "axis", "opset"),
    [(["n", 5], 1, 13), (["n", 2, 3], 1, 17), (["n", 2, 10], -1, 13), (["n", 1, 2], 2, 13),
     (["n", 2, 3], 1, 11), (["n", 2, 3], 2, 9), (["n", 3, 1], 2, 13)],
)  # fmt: skip
def test_softmax_between_layers(op: str, shape: list[Any], axis: int, opset: int) -> None:
    agrees(model_of(between(node(op, "x", "s", axis=axis)), shape, opset=opset))


@pytest.mark.parametrize("low", [-np.inf, np.finfo(np.float32).min])
def test_masked_cells_of_a_softmax_are_no_classes(low: float) -> None:
    mask = np.where(np.tri(4, dtype=bool), 0.0, low).astype(np.float32)
    nodes = between(node("Add", "x m", "a"), node("Softmax", "a", "s", axis=-1))
    agrees(model_of(nodes, ["n", 2, 4, 4], constants={"m": mask}))
    chosen = between(node("Where", "k x m", "a"), node("Softmax", "a", "s", axis=-1))
    known = {"k": mask == 0, "m": np.array(low, np.float32)}
    agrees(model_of(chosen, ["n", 4, 4], constants=known))


def test_a_softmax_without_classes_is_refused() -> None:
    mask = np.array([[0.0, 0.0], [-np.inf, -np.inf]], dtype=np.float32)
    nodes = between(node("Add", "x m", "a"), node("Softmax", "a", "s", axis=-1))
    with pytest.raises(UnsupportedError, match="the Softmax s.*no class"):
        gp.from_proto(model_of(nodes, ["n", 2, 2], constants={"m": mask}))


def test_masked_cells_go_nowhere_else() -> None:
    mask = np.array([0.0, -np.inf], dtype=np.float32)
    nodes = [node("Add", "x m", "a"), node("Relu", "a")]
    with pytest.raises(UnsupportedError, match="only a MaxPool or Softmax may read"):
        gp.from_proto(model_of(nodes, ["n", 2], constants={"m": mask}))


PER_CHANNEL = {"g": f32(4), "b": f32(4)}
NORMS: dict[str, tuple[onnx.NodeProto, list[Any], int, dict[str, np.ndarray]]] = {
    "layer": (node("LayerNormalization", "x g b", epsilon=0.1), ["n", 2, 4], 17, PER_CHANNEL),
    "layer, several axes": (node("LayerNormalization", "x g", axis=1), ["n", 2, 3], 17, {"g": f32(2, 3)}),
    "rms": (node("RMSNormalization", "x g", epsilon=0.1), ["n", 2, 4], 23, {"g": f32(4)}),
    "instance": (node("InstanceNormalization", "x g b", epsilon=0.1), ["n", 4, 3], 17, PER_CHANNEL),
    "group": (node("GroupNormalization", "x g b", num_groups=2, epsilon=0.1), ["n", 4, 3], 21, PER_CHANNEL),
    "mean and variance": (node("MeanVarianceNormalization", "x", axes=[2]), ["n", 2, 5], 13, {}),
    "lp 2": (node("LpNormalization", "x", axis=1), ["n", 4], 17, {}),
    "lp 1": (node("LpNormalization", "x", axis=-1, p=1), ["n", 2, 3], 17, {}),
    "lrn": (node("LRN", "x", size=3, alpha=0.3, beta=0.6, bias=1.5), ["n", 4, 2, 2], 17, {}),
    "l2": (node("ReduceL2", "x", axes=[1]), ["n", 4], 17, {}),
    "sum of squares": (node("ReduceSumSquare", "x", axes=[1], keepdims=0), ["n", 4, 2], 17, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", NORMS)
def test_normalisations(name: str) -> None:
    """Away from constant inputs, where some of them are not defined."""
    norm, shape, opset, constants = NORMS[name]
    size = int(np.prod(shape[1:]))
    start = np.arange(1, size + 1, dtype=np.float32).reshape(shape[1:]) / 2
    norm = onnx.NodeProto.FromString(norm.SerializeToString())
    norm.input[0], norm.output[0] = "t", "s"
    nodes = between(node("Add", "x o", "t"), norm)
    agrees(model_of(nodes, shape, opset=opset, constants={"o": start, **constants}))


MIXED: dict[str, tuple[list[onnx.NodeProto], list[Any], int]] = {
    "layer": ([node("LayerNormalization", "x g b", "a", epsilon=0.1), node("MatMul", "a w", "s")], ["n", 3, 4], 6),
    "layer, a row": ([node("LayerNormalization", "x g b", "a", epsilon=0.1), node("Gemm", "a w c", "s")], ["n", 4], 2),
    "layer, also added": ([node("LayerNormalization", "x g b", "a", epsilon=0.1), node("MatMul", "a w", "r"), node("MatMul", "r v", "t"), node("Add", "a t", "s")], ["n", 3, 4], 24),
    "gate of a row": ([node("ReduceMean", "x", "m", axes=[2]), node("Sigmoid", "m", "g0"), node("Mul", "g0 x", "a"), node("Add", "a b", "h"), node("Mul", "h g", "k"), node("MatMul", "k w", "s")], ["n", 3, 4], 6),
    "gate of a column": ([node("ReduceMean", "x", "m", axes=[1]), node("Sigmoid", "m", "g0"), node("Mul", "x g0", "a"), node("MatMul", "a w", "s")], ["n", 3, 4], 12),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
def test_matrices_come_before_a_factor_that_their_row_shares(name: str) -> None:
    """As many products as columns of the matrix, where all of a row have one factor."""
    nodes, shape, products = MIXED[name]
    constants = {"w": f32(4, 2), "v": f32(2, 4), "c": f32(2), **PER_CHANNEL}
    network = agrees(model_of(between(*nodes), shape, constants=constants))
    sizes = [size(a.outputs[0]) for a in network.activations if is_paired(operator(a))]
    assert sum(sizes) == 2 * products


def test_a_vector_without_a_direction_is_refused_for_the_ball() -> None:
    network = gp.from_proto(model_of([node("LpNormalization", "x", axis=1)], ["n", 2]))
    anchor = gp.Anchor(np.array([0.3, 0.4], np.float32))
    assert 0.0 < gp.certify(network, anchor, domain=None).radius < 0.3


@pytest.mark.parametrize("attributes", [{}, {"is_causal": 1}, {"softcap": 2.0, "scale": 0.3}])
def test_attention_is_written_out(attributes: dict[str, Any]) -> None:
    nodes = between(
        node("Sin", "x", "k"), node("Attention", "x k k", "a", **attributes), node("Neg", "a", "s")
    )
    network = gp.from_proto(model_of(nodes, ["n", 2, 3, 4], opset=23))
    x = RNG.normal(size=(3, 2, 3, 4)).astype(np.float32)
    expected = run_original(network, x)
    assert close(forward64(network, x)[0], expected, 1e-5)


@pytest.mark.parametrize("kind", [np.float32, np.bool_])
def test_attention_under_a_stored_mask(kind: type) -> None:
    """Its type is not among those that inference tells of."""
    mask = np.tril(np.ones((3, 3), np.float32))
    held = {"mask": mask.astype(np.bool_) if kind is np.bool_ else np.where(mask, 0, -np.inf)}
    held["mask"] = held["mask"].astype(kind)
    nodes = between(node("Sin", "x", "k"), node("Attention", "x k k mask", "s"))
    network = gp.from_proto(model_of(nodes, ["n", 2, 3, 4], opset=23, constants=held))
    x = RNG.normal(size=(3, 2, 3, 4)).astype(np.float32)
    assert close(forward64(network, x)[0], run_original(network, x), 1e-5)


@pytest.mark.parametrize("axes", [[1], [1, 2], [2]])
def test_logarithms_of_sums_of_powers(axes: list[int]) -> None:
    nodes = between(node("ReduceLogSumExp", "x", "s", axes=axes, keepdims=1))
    agrees(model_of(nodes, ["n", 3, 4], opset=17))
