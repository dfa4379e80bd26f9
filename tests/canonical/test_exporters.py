"""Files in the manner of exporters that the zoo has no file of: MATLAB, Keras, tf2onnx."""

from typing import Any

import numpy as np
import pytest

from tests.canonical.models import agrees, model_of, node

RNG = np.random.default_rng(0)


def f32(*shape: int) -> np.ndarray:
    return RNG.normal(0.0, 0.5, shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return RNG.uniform(0.5, 1.5, shape).astype(np.float32)


def i64(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


@pytest.mark.parametrize("opset", [8, 9, 11, 14])
@pytest.mark.parametrize("flat", ["Flatten", "Reshape", "Conv"])
def test_matlab(opset: int, flat: str) -> None:
    """exportONNXNetwork: normalised input, layers of images to the end, (N, C, 1, 1) scores."""
    constants = {
        "mean": f32(1, 2, 8, 8), "std": positive(1, 2, 1, 1),
        "conv_W": f32(3, 2, 3, 3), "conv_B": f32(3),
        "bn_scale": positive(3), "bn_B": f32(3), "bn_mean": f32(3), "bn_var": positive(3),
        "to": i64(0, 27) if opset > 9 else i64(-1, 27),
        "fc_W": f32(4, 27) if flat != "Conv" else f32(4, 3, 3, 3), "fc_B": f32(4),
    }  # fmt: skip
    nodes = [
        node("Sub", "x mean", "imageinput_Sub"), node("Div", "imageinput_Sub std", "imageinput"),
        node("Conv", "imageinput conv_W conv_B", "conv", pads=[1, 1, 1, 1], kernel_shape=[3, 3],
             strides=[1, 1], dilations=[1, 1], group=1),
        node("BatchNormalization", "conv bn_scale bn_B bn_mean bn_var", "bn", epsilon=1e-5),
        node("Relu", "bn", "relu"),
        node("MaxPool", "relu", "maxpool", kernel_shape=[2, 2], strides=[3, 3], pads=[0, 0, 0, 0]),
    ]  # fmt: skip
    if flat == "Conv":
        nodes += [node("Conv", "maxpool fc_W fc_B", "fc", kernel_shape=[3, 3]),
                  node("Flatten", "fc", "scores", axis=1)]  # fmt: skip
    else:
        nodes += [node(flat, "maxpool to" if flat == "Reshape" else "maxpool", "flat"),
                  node("Gemm", "flat fc_W fc_B", "scores", transB=1)]  # fmt: skip
    nodes.append(node("Softmax", "scores", "y", axis=1))
    for part in nodes:
        part.doc_string = "layer of a SeriesNetwork"
    model = model_of(nodes, ["BatchSize", 2, 8, 8], constants=constants, opset=opset)
    model.doc_string, model.producer_name = "MATLAB", "MATLAB Deep Learning Toolbox"
    network = agrees(model)
    assert (network.classes, network.neurons) == (4, 192)
    assert network.source.softmax == "Softmax"


@pytest.mark.parametrize("opset", [9, 13])
def test_tf2onnx(opset: int) -> None:
    """NHWC in, transposes around every layer, a Squeeze head, names of functions."""
    scope = "StatefulPartitionedCall/sequential"
    names = {
        "x": "x", "in": f"{scope}/conv2d/BiasAdd__6:0", "pre": f"{scope}/conv2d/BiasAdd:0",
        "act": f"{scope}/conv2d/Relu:0", "pool": f"{scope}/max_pooling2d/MaxPool:0",
        "out": f"{scope}/max_pooling2d/MaxPool__8:0", "mean": f"{scope}/gap/Mean:0",
        "fc": f"{scope}/dense/MatMul:0", "bias": f"{scope}/dense/BiasAdd:0",
        "clip": f"{scope}/re_lu/Relu6:0",
        "image": f"{scope}/conv2d_1/Conv2D:0", "sq": f"{scope}/flatten/Squeeze:0",
        "id": "Identity:0",
    }  # fmt: skip
    constants = {
        "W": f32(4, 3, 3, 3), "B": f32(4), "low": np.array(0, np.float32), "high": np.array(6, np.float32),
        "V": f32(4, 5), "C": f32(5), "U": f32(3, 5, 1, 1),
        "axes": i64(2, 3), "to": i64(-1, 5, 1, 1),
    }  # fmt: skip
    clip = "bias low high" if opset > 10 else "bias"
    squeeze: dict[str, Any] = {} if opset >= 13 else {"axes": [2, 3]}
    ends: dict[str, Any] = {} if opset > 10 else {"min": 0.0, "max": 6.0}
    nodes = [
        node("Transpose", "x", "in", perm=[0, 3, 1, 2]),
        node("Conv", "in W B", "pre", strides=[2, 2], auto_pad="SAME_UPPER", kernel_shape=[3, 3]),
        node("Relu", "pre", "act"),
        node("MaxPool", "act", "pool", kernel_shape=[2, 2], strides=[2, 2], auto_pad="VALID"),
        node("Transpose", "pool", "out", perm=[0, 2, 3, 1]),
        node("ReduceMean", "out", "mean", axes=[1, 2], keepdims=0),
        node("MatMul", "mean V", "fc"), node("Add", "fc C", "bias"),
        node("Clip", clip, "clip", **ends),
        node("Reshape", "clip to", "four"),
        node("Conv", "four U", "image"),
        node("Squeeze", "image axes" if opset >= 13 else "image", "sq", **squeeze),
        node("Identity", "sq", "id"),
    ]  # fmt: skip
    for part in nodes:
        part.input[:] = [names.get(name, name) for name in part.input]
        part.output[:] = [names.get(name, name) for name in part.output]
    model = model_of(
        nodes, ["unk__20", 9, 9, 3], names["id"], constants=constants, opset=opset
    )  # fmt: skip
    network = agrees(model)
    assert (network.classes, network.neurons, network.auxiliary_neurons) == (3, 105, 40 + 16 + 5)


def test_keras_leaky_relu_with_a_ceiling() -> None:
    """keras.layers.ReLU(max_value=2, negative_slope=0.1): clip(relu(x), 0, 2) - 0.1 relu(-x)."""
    constants = {
        "low": np.array(0, np.float32),
        "high": np.array(2, np.float32),
        "slope": np.array(0.1, np.float32),
    }
    nodes = [node("Neg", "x", "n"), node("Relu", "n", "below"), node("Relu", "x", "above"),
             node("Clip", "above low high", "c"), node("Mul", "slope below", "s"),
             node("Sub", "c s")]  # fmt: skip
    agrees(model_of(nodes, ["n", 5], constants=constants), low=-4, high=4)
