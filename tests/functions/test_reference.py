"""Operators that stand in for those of ``onnx.reference``."""

from typing import Any

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from graphprune.functions.reference import NEW_OPS


@given(st.data(), st.integers(0, 2**32 - 1))
def test_convolutions_are_onnxs(data: st.DataObject, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rank, group = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))

    def axes(least: int, most: int) -> list[int]:
        return data.draw(st.lists(st.integers(least, most), min_size=rank, max_size=rank))

    kernel, strides, dilations = axes(1, 3), axes(1, 3), axes(1, 2)
    padding = data.draw(
        st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", "explicit"])
    )
    attributes: dict[str, Any] = {"group": group, "strides": strides}
    if padding == "explicit":
        attributes |= {"pads": axes(0, 2) + axes(0, 2), "dilations": dilations}
    else:
        attributes |= {"auto_pad": padding}
    # Wide enough for the kernel.
    sides = [(k - 1) * d + 1 + n for k, d, n in zip(kernel, dilations, axes(0, 4), strict=True)]
    x = rng.normal(size=(data.draw(st.integers(1, 3)), 2 * group, *sides))
    weight = rng.normal(size=(group * data.draw(st.integers(1, 2)), 2, *kernel))
    inputs: dict[str, NDArray[np.float64]] = {"x": x, "w": weight}
    if data.draw(st.booleans()):
        inputs["b"] = rng.normal(size=len(weight))
    node = helper.make_node("Conv", list(inputs), ["y"], "node", **attributes)
    values = [
        helper.make_tensor_value_info(name, TensorProto.DOUBLE, array.shape)
        for name, array in inputs.items()
    ]
    out = helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)
    model: onnx.ModelProto = helper.make_model(helper.make_graph([node], "g", values, [out]))
    runs = (ReferenceEvaluator(model, new_ops=NEW_OPS), ReferenceEvaluator(model))
    own, theirs = (np.asarray(next(iter(run.run(None, inputs)))) for run in runs)
    assert own.shape == theirs.shape
    assert np.allclose(own, theirs, rtol=1e-12, atol=1e-12)
