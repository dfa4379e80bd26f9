"""Operators that choose cells by constants, and linear maps with constant tables."""

from typing import Any

import numpy as np
import onnx
import pytest

import graphprune as gp
from graphprune.errors import UnsupportedError
from tests.canonical.models import agrees, model_of, node

RNG = np.random.default_rng(5)


def f32(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def i64(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


IMAGE = ["n", 2, 5, 6]
PICK = RNG.integers(-5, 5, (1, 2, 3, 6))
# Coordinates (row, column), one of them negative, none of them twice.
PLACES = np.array([[0, 1], [2, -1], [1, 0]])
# As many rows as a batch, as torch writes gather of expanded indices.
EXPANDED = [
    node("Shape", "x", "s", end=1),
    node("Concat", "s tail", "t", axis=0),
    node("Expand", "i t", "e"),
    node("GatherElements", "x e", axis=1),
]
# The coordinates of x[:, 1] for any batch.
COLUMN = [
    node("Shape", "x", "s", end=1),
    node("Squeeze", "s", "b"),
    node("Range", "zero b one", "r"),
    node("Unsqueeze", "r one_axis", "u"),
    node("Mul", "u nothing", "v"),
    node("Add", "v one", "w"),
    node("Concat", "u w", "i", axis=1),
    node("GatherND", "x i", "g"),
    node("Unsqueeze", "g one_axis"),
]
COLUMNS = {
    "zero": np.array(0), "one": np.array(1), "one_axis": i64(1), "nothing": np.array(0)
}  # fmt: skip

CASES: dict[str, tuple[list[onnx.NodeProto], list[Any], dict[str, np.ndarray]]] = {
    "gather elements": ([node("GatherElements", "x i", axis=2)], [1, 2, 5, 6], {"i": PICK}),
    "gather fewer elements": ([node("GatherElements", "x i", axis=1)], [1, 3, 4], {"i": np.array([[[0, 2, 1]], ])}),
    "gather elements of a batch": ([node("GatherElements", "x i", axis=1)], [2, 3], {"i": np.array([[2, 0], [2, 0]])}),
    "gather elements of any batch": (EXPANDED, ["n", 3], {"i": np.array([[2, 0, 0, 1]]), "tail": i64(4)}),
    "gather nd": ([node("GatherND", "x i", batch_dims=1)], [1, 4, 5], {"i": PLACES[None]}),
    "gather slices": ([node("GatherND", "x i")], [1, 4, 5], {"i": np.array([[[0, 1], [0, 3]]])}),
    "gather nd of any batch": (COLUMN, ["n", 3], COLUMNS),
    "scatter elements": ([node("ScatterElements", "x i u", axis=1)], [1, 5], {"i": np.array([[3, -5]]), "u": f32(1, 2)}),
    "scatter computed elements": ([node("Slice", "x z o a", "u"), node("ScatterElements", "x i u", axis=1)], [1, 5], {"i": np.array([[3, 1]]), "z": i64(0), "o": i64(2), "a": i64(1)}),
    "scatter on a constant": ([node("ScatterElements", "d i x", axis=1)], [1, 3], {"i": np.array([[3, 1, 0]]), "d": f32(1, 5)}),
    "scatter twice, added": ([node("ScatterElements", "d i x", axis=1, reduction="add")], [1, 5], {"i": np.array([[3, 1, 3, 3, 0]]), "d": f32(1, 5)}),
    "scatter added to itself": ([node("ScatterElements", "x i x", axis=1, reduction="add")], [1, 5], {"i": np.array([[3, 1, 3, 3, 0]])}),
    "scatter a constant, added": ([node("ScatterElements", "x i u", axis=1, reduction="add")], [1, 5], {"i": np.array([[2, 2]]), "u": f32(1, 2)}),
    "scatter nd": ([node("ScatterND", "x i u")], [1, 4, 5], {"i": np.concatenate([np.zeros((3, 1), int), PLACES], axis=1), "u": f32(3)}),
    "scatter slices": ([node("Neg", "x", "m"), node("Slice", "m z o a", "k"), node("Squeeze", "k z", "u"), node("ScatterND", "x i u")], [1, 4, 5], {"i": np.array([[0, 3], [0, 1]]), "z": i64(0), "o": i64(2), "a": i64(1)}),
    "one hot": ([node("OneHot", "i d x", axis=0)], [2], {"i": i64(2, 0, -1), "d": np.array(4)}),
    "one hot, last": ([node("OneHot", "i d x")], [2], {"i": np.array([[2, 0], [1, 7]]), "d": np.array(4)}),
    "crop and pad": ([node("CenterCropPad", "x s", axes=[2, 3])], IMAGE, {"s": i64(2, 9)}),
    "crop and pad with the batch": ([node("CenterCropPad", "x s")], [1, 2, 5, 6], {"s": i64(1, 3, 4, 3)}),
    "compress": ([node("Compress", "x c", axis=-1)], IMAGE, {"c": np.array([True, False, True])}),
    "compress flat": ([node("Compress", "x c")], [1, 5], {"c": np.array([True, False, True, True])}),
    "reverse": ([node("ReverseSequence", "x l", time_axis=1, batch_axis=0)], [2, 4, 3], {"l": i64(3, 3)}),
    "upper": ([node("Trilu", "x k")], ["n", 4, 5], {"k": np.array(1)}),
    "lower": ([node("Trilu", "x k", upper=0)], ["n", 5, 4], {"k": np.array(-1)}),
    "upper by default": ([node("Trilu")], ["n", 3, 3], {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_cells(name: str) -> None:
    nodes, shape, constants = CASES[name]
    agrees(model_of(nodes, shape, constants=constants, opset=18))


REFUSED: dict[str, tuple[list[onnx.NodeProto], list[Any], dict[str, np.ndarray], str]] = {
    "other samples": (
        [node("GatherND", "x i")], ["n", 3], {"i": np.array([[1, 0], [0, 0]])}, "mixes the batch"
    ),
    "flat batch": (
        [node("Compress", "x c")], ["n", 3], {"c": np.array([True, False, True])}, "mixes the batch"
    ),
    "differ": ([node("GatherElements", "x i", axis=1)], [2, 3], {"i": np.array([[0], [1]])}, "does something else to each"),
    "lengths": ([node("ReverseSequence", "x l", time_axis=1, batch_axis=0)], [2, 3], {"l": i64(1, 3)}, "does something else to each"),
    "twice": ([node("ScatterElements", "x i u", axis=1)], [1, 3], {"i": np.array([[1, 1]]), "u": f32(1, 2)}, "writes one cell twice"),
    "reduction": ([node("ScatterElements", "x i u", axis=1, reduction="mul")], [1, 3], {"i": np.array([[1]]), "u": f32(1, 1)}, "reduction 'mul'"),
    "outside": ([node("GatherElements", "x i", axis=1)], [1, 3], {"i": np.array([[3]])}, "out of bounds"),
    "computed": ([node("Cast", "x", "i", to=7), node("GatherElements", "x i")], [1, 3], {}, "GatherElements.*its indices must be a constant"),
    "memory": (EXPANDED, ["n", 4000], {"i": np.array([[2, 0]]), "tail": i64(2)}, "takes 305 MiB"),
    "batch": ([node("CenterCropPad", "x s")], ["n", 3], {"s": i64(2, 2)}, "batch axis"),
    "grid": ([node("GridSample", "x g")], [2, 1, 3, 3], {"g": f32(2, 2, 2, 2)}, "its grid differs"),
    "grid of one": ([node("AffineGrid", "x s")], ["n", 2, 3], {"s": i64(1, 1, 3, 4)}, "fixes the batch at 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    nodes, shape, constants, said = REFUSED[name]
    with pytest.raises(UnsupportedError, match=said):
        gp.from_proto(model_of(nodes, shape, constants=constants, opset=20))


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("corners", [0, 1])
def test_grid_sample(mode: str, padding: str, corners: int) -> None:
    """Places far outside too; opset 16 says bilinear and bicubic."""
    grid = RNG.uniform(-2.5, 2.5, (1, 3, 4, 2)).astype(np.float32)
    old = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    for opset, name in ((16, old), (20, mode)):
        op = node("GridSample", "x g", mode=name, padding_mode=padding, align_corners=corners)
        agrees(model_of([op], [1, 2, 5, 4], constants={"g": grid}, opset=opset))


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_grid_sample_of_volumes(mode: str) -> None:
    grid = RNG.uniform(-1.2, 1.2, (1, 2, 3, 2, 3)).astype(np.float32)
    op = node("GridSample", "x g", mode=mode)
    agrees(model_of([op], [1, 2, 3, 4, 2], constants={"g": grid}, opset=20))


@pytest.mark.parametrize("corners", [0, 1])
def test_affine_grids(corners: int) -> None:
    """Computed transforms give computed grids; a constant one is the grid of a GridSample."""
    op = node("AffineGrid", "x s", align_corners=corners)
    agrees(model_of([op], [1, 2, 3], constants={"s": i64(1, 1, 3, 4)}, opset=20))
    op = node("AffineGrid", "x s", align_corners=corners)
    agrees(model_of([op], [1, 3, 4], constants={"s": i64(1, 1, 3, 2, 2)}, opset=20))
    turn = np.array([[[0.8, -0.6, 0.1], [0.6, 0.8, -0.2]]], dtype=np.float32)
    nodes = [node("AffineGrid", "t s", "g", align_corners=corners), node("GridSample", "x g")]
    agrees(
        model_of(nodes, [1, 1, 5, 4], constants={"t": turn, "s": i64(1, 1, 3, 4)}, opset=20)
    )  # fmt: skip


def test_a_computed_grid_between_two_nearest_cells_is_refused() -> None:
    nodes = [node("Add", "g z", "h"), node("GridSample", "x h", mode="nearest")]
    constants = {"g": np.zeros((1, 1, 1, 2), np.float32), "z": np.zeros(1, np.float32)}
    with pytest.raises(UnsupportedError, match="between two nearest cells"):
        gp.from_proto(model_of(nodes, [1, 1, 2, 2], constants=constants))


TRANSFORMS: list[tuple[int, list[Any], dict[str, Any], str]] = [
    (17, ["n", 6, 1], {}, "x"),
    (17, ["n", 6, 1], {"onesided": 1}, "x"),
    (17, ["n", 6, 2], {"inverse": 1}, "x"),
    (17, ["n", 5, 1], {}, "x l"),
    (17, ["n", 3, 4, 2], {"axis": 2}, "x"),
    (20, ["n", 3, 4, 1], {}, "x _ a"),
    (20, ["n", 5, 4, 1], {"onesided": 1}, "x"),
    (17, ["n", 5, 2], {"inverse": 1, "onesided": 1}, "x l"),
]


@pytest.mark.parametrize("case", range(len(TRANSFORMS)))
def test_fourier_transforms(case: int) -> None:
    opset, shape, attributes, inputs = TRANSFORMS[case]
    given = {"l": np.array(8), "a": np.array(1)}
    constants = {name: array for name, array in given.items() if name in inputs}
    agrees(model_of([node("DFT", inputs, **attributes)], shape, constants=constants, opset=opset))


@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("inputs", ["x s w", "x s w f", "x s _ f"])
def test_short_time_fourier_transforms(inputs: str, onesided: int) -> None:
    given = {"s": np.array(3), "w": f32(5), "f": np.array(5)}
    constants = {name: array for name, array in given.items() if name in inputs}
    op = node("STFT", inputs, onesided=onesided)
    agrees(model_of([op], ["n", 14, 1], constants=constants))


BLOCKS: list[tuple[list[Any], tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    (["n", 8, 12], (4, 5), (2, 2), {}),
    (["n", 6, 9], (5, 5), (2, 3), {"strides": [2, 1], "pads": [1, 0, 0, 0], "dilations": [1, 1]}),
    (["n", 4, 4], (6, 5), (2, 2), {"strides": [2, 3], "dilations": [3, 1]}),
    ([1, 16, 8], (3, 3, 3), (2, 2, 2), {}),
]


@pytest.mark.parametrize("case", range(len(BLOCKS)))
def test_blocks_added_up(case: int) -> None:
    shape, image, block, attributes = BLOCKS[case]
    op = node("Col2Im", "x i b", **attributes)
    agrees(model_of([op], shape, constants={"i": i64(*image), "b": i64(*block)}, opset=18))


@pytest.mark.parametrize("length", [4, 9])
def test_one_sided_inverses_of_other_lengths_are_refused(length: int) -> None:
    """ONNX Runtime and the reference disagree on them."""
    op = node("DFT", "x l", inverse=1, onesided=1)
    model = model_of([op], ["n", 6, 2], constants={"l": np.array(length)})
    with pytest.raises(UnsupportedError, match=f"the DFT y.*makes {length} numbers of 6 freq"):
        gp.from_proto(model)
