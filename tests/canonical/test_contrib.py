"""Operators of ONNX Runtime's own domain, and rotations of attention, against ONNX Runtime."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import graphprune as gp
from graphprune.canonical.context import describe
from graphprune.errors import UnsupportedError
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from tests.canonical.models import agrees, model_of, node

RNG = np.random.default_rng(0)
OWN = "com.microsoft"
TOKENS = ["n", 3, 8]


def f32(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def i64(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


def own(op: str, inputs: str = "x", outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    return node(op, inputs, outputs, domain=OWN, **attributes)


G, B, C = f32(8), f32(8), f32(8)
HALF = node("Mul", "x half", "z")
CASES: dict[str, tuple[list[onnx.NodeProto], list[Any], dict[str, np.ndarray]]] = {
    "gelu": ([own("Gelu")], TOKENS, {}),
    "fast gelu": ([own("FastGelu")], TOKENS, {}),
    "fast gelu with bias": ([own("FastGelu", "x b")], TOKENS, {"b": B}),
    "bias gelu": ([own("BiasGelu", "x b")], TOKENS, {"b": B}),
    "quick gelu": ([own("QuickGelu", alpha=1.7)], TOKENS, {}),
    "quick gelu, half": ([own("QuickGelu", alpha=0.0)], TOKENS, {}),
    "matmul": ([own("FusedMatMul", "x w", alpha=0.5, transB=1)], TOKENS, {"w": f32(5, 8)}),
    "matmul left": ([own("FusedMatMul", "w x", transA=1)], TOKENS, {"w": f32(3, 4)}),
    "matmul of two": ([HALF, own("FusedMatMul", "x z", transB=1, alpha=0.25)], TOKENS, {"half": f32(1)}),
    "matmul turned": ([HALF, own("FusedMatMul", "x z", transA=1)], TOKENS, {"half": f32(1)}),
    "skip": ([HALF, own("SkipLayerNormalization", "x z g b c", epsilon=1e-2)], TOKENS, {"half": f32(1), "g": G, "b": B, "c": C}),
    "skip constant": ([own("SkipLayerNormalization", "x z g", epsilon=1e-2)], TOKENS, {"z": f32(3, 8)[None], "g": G}),
    "skip and sum": ([HALF, own("SkipLayerNormalization", "x z g b _", "a _ _ s", epsilon=1e-2), node("Sub", "a s")], TOKENS, {"half": f32(1), "g": G, "b": B}),
    "skip by root": ([HALF, own("SkipSimplifiedLayerNormalization", "x z g c", epsilon=1e-2)], TOKENS, {"half": f32(1), "g": G, "c": C}),
    "gemm": ([own("FusedGemm", "x w b", activation="Relu", transB=1)], ["n", 8], {"w": f32(4, 8), "b": f32(4)}),
    "conv": ([own("FusedConv", "x w b", activation="Relu", kernel_shape=[3, 3])], ["n", 2, 5, 5], {"w": f32(3, 2, 3, 3), "b": f32(3)}),
    "conv, relu6": ([own("FusedConv", "x w", activation="Clip", activation_params=[-0.5, 2.0])], ["n", 2, 4, 4], {"w": f32(3, 2, 3, 3)}),
    "conv, gate": ([own("FusedConv", "x w", activation="HardSigmoid", activation_params=[0.25, 0.5])], ["n", 2, 4, 4], {"w": f32(3, 2, 3, 3)}),
    "conv, leaky": ([own("FusedConv", "x w", activation="LeakyRelu", activation_params=[0.25])], ["n", 2, 4, 4], {"w": f32(3, 2, 3, 3)}),
    "gemm, leaky": ([own("FusedGemm", "x w", activation="LeakyRelu", activation_alpha=0.25)], ["n", 8], {"w": f32(8, 4)}),
    "conv and sum": ([node("Abs", "x", "z"), own("FusedConv", "x w b z", activation="Tanh", pads=[1, 1, 1, 1])], ["n", 2, 4, 4], {"w": f32(2, 2, 3, 3), "b": f32(2)}),
    "attention": ([own("Attention", "x w b", num_heads=2)], TOKENS, {"w": f32(8, 24) / 3, "b": f32(24)}),
    "attention, sizes": ([own("Attention", "x w b", num_heads=2, qkv_hidden_sizes=[4, 4, 8], scale=0.3)], TOKENS, {"w": f32(8, 16) / 3, "b": f32(16)}),
    "attention, causal": ([own("Attention", "x w b", num_heads=2, unidirectional=1)], TOKENS, {"w": f32(8, 24) / 3, "b": f32(24)}),
    "attention, bias": ([own("Attention", "x w b _ _ a", num_heads=2)], [1, 3, 8], {"w": f32(8, 24) / 3, "b": f32(24), "a": f32(1, 2, 3, 3)}),
    "heads": ([HALF, own("MultiHeadAttention", "x z x b", num_heads=2)], TOKENS, {"half": f32(1), "b": f32(24)}),
    "rotated": ([own("RotaryEmbedding", "x p c s", num_heads=2)], TOKENS, {"p": i64(2), "c": f32(9, 2), "s": f32(9, 2)}),
    "rotated at": ([own("RotaryEmbedding", "x p c s")], [1, 2, 3, 4], {"p": i64(4, 0, 7)[None], "c": f32(9, 2), "s": f32(9, 2)}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_equals_onnx_runtime(case: str) -> None:
    nodes, shape, constants = CASES[case]
    agrees(model_of(nodes, shape, constants=constants))


ROTATIONS: list[tuple[dict[str, Any], list[Any], tuple[int, ...], np.ndarray | None]] = [
    ({}, ["n", 2, 3, 8], (1, 3, 4), None),
    ({}, ["n", 2, 3, 8], (10, 4), i64(0, 5, 2)[None]),
    ({"interleaved": 1}, ["n", 2, 3, 8], (1, 3, 4), None),
    ({"rotary_embedding_dim": 4}, ["n", 2, 3, 8], (1, 3, 2), None),
    ({"num_heads": 2}, ["n", 3, 16], (1, 3, 4), None),
    ({"num_heads": 2, "interleaved": 1, "rotary_embedding_dim": 4}, [1, 3, 16], (10, 2), i64(3, 1, 2)[None]),
]  # fmt: skip


@pytest.mark.parametrize("rotation", ROTATIONS, ids=str)
def test_rotations_are_affine(
    rotation: tuple[dict[str, Any], list[Any], tuple[int, ...], np.ndarray | None],
) -> None:
    attributes, shape, table, positions = rotation
    constants = {"c": f32(*table), "s": f32(*table)}
    if positions is not None:
        constants["p"] = positions
    rotate = node("RotaryEmbedding", " ".join(["x", *constants]), **attributes)
    model = model_of([rotate], shape, constants=constants, opset=23)
    model.ir_version = 11
    network = gp.from_proto(model)
    assert network.neurons == 0
    x = RNG.normal(size=(1, *network.input_shape)).astype(np.float32)
    assert np.allclose(forward64(network, x)[0], run_original(network, x), atol=1e-5)


REFUSED = {
    "mask": (own("Attention", "x w b m", num_heads=2), {"m": np.array([3], np.int32)}, "its input 3 .a mask or a past."),
    "heads": (own("Attention", "x w b", num_heads=3), {}, "8 cells do not make 3 heads"),
    "statistics": (own("SkipLayerNormalization", "x x g", "a m"), {"g": G}, "its mean or deviation is used"),
    "activation": (own("FusedGemm", "v k b", activation="Softmax"), {}, "activation Softmax is not supported"),
    "batches": (own("FusedMatMul", "x w", transBatchA=1), {}, "transBatchA is not supported"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_others_are_refused_by_name(case: str) -> None:
    made, constants, said = REFUSED[case]
    tensors = {"w": f32(8, 24), "b": f32(24), "one": i64(1), "k": f32(8, 24), **constants}
    flat = node("ReduceSum", "x one", "v", keepdims=0)
    last = node("Add", "a m") if case == "statistics" else None
    nodes = [flat, made] if case == "activation" else [made]
    model = model_of([*nodes, *([last] if last else [])], TOKENS, constants=tensors)
    with pytest.raises(UnsupportedError, match=f"node 'the {made.op_type} .*{said}"):
        gp.from_proto(model)


def test_pieces_of_nothing_are_no_values() -> None:
    nodes = [node("Split", "x s", "a b", axis=1), node("Concat", "b a", axis=1)]
    agrees(model_of(nodes, ["n", 4], constants={"s": i64(4, 0)}))
    nodes = [node("Slice", "x from to one", "a"), node("Concat", "x a", axis=1)]
    constants = {"from": i64(2), "to": i64(2), "one": i64(1)}
    agrees(model_of(nodes, ["n", 4], constants=constants))


def test_nodes_without_a_name_are_called_by_their_first_named_output() -> None:
    skipped = ir.Node("", "TopK", [], outputs=[ir.Value(name=""), ir.Value(name="indices")])
    assert describe(skipped) == "node 'indices' (TopK)"


def test_layouts_of_one_machine_are_refused_with_the_remedy() -> None:
    conv = node("Conv", "x w", domain="com.microsoft.nchwc")
    model = model_of([conv], ["n", 8, 4, 4], constants={"w": f32(8, 8, 1, 1)})
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft.nchwc", 1))
    with pytest.raises(UnsupportedError, match="optimise it at the level 'extended'"):
        gp.from_proto(model)
