"""Convolutional networks with random weights, of any size: shapes that products use.

Deep networks with random weights are nearly constant: one class would win everywhere. So the scores
are shifted until random images are of many classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# Random images whose mean scores become 0.
IMAGES = 8


@dataclass(frozen=True)
class Plane:
    """A value of the graph: its name, channels and side; a side of 0 means a vector."""

    name: str
    channels: int
    side: int


@dataclass(eq=False)
class Builder:
    """A graph that grows node by node; weights are normal, scaled for ReLUs (He et al. 2015)."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)

    def _node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def _weights(self, shape: tuple[int, ...], gain: float) -> list[str]:
        scale = gain * np.sqrt(2.0 / np.prod(shape[1:]))
        weight = self.rng.standard_normal(shape, np.float32) * np.float32(scale)
        bias = self.rng.standard_normal(shape[0], np.float32) * np.float32(0.01)
        return [self._tensor(weight), self._tensor(bias)]

    def _tensor(self, array: NDArray[np.float32]) -> str:
        name = f"w{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(array, name))
        return name

    def conv(
        self, x: Plane, channels: int, kernel: int = 3, stride: int = 1, gain: float = 1.0
    ) -> Plane:
        """Convolve so that the side is divided by the stride."""
        weights = self._weights((channels, x.channels, kernel, kernel), gain)
        pads = [kernel // 2] * 4
        name = self._node("Conv", [x.name, *weights], pads=pads, strides=[stride] * 2)
        return Plane(name, channels, (x.side + 2 * pads[0] - kernel) // stride + 1)

    def relu(self, x: Plane) -> Plane:
        return Plane(self._node("Relu", [x.name]), x.channels, x.side)

    def add(self, x: Plane, y: Plane) -> Plane:
        return Plane(self._node("Add", [x.name, y.name]), x.channels, x.side)

    def pool(self, x: Plane, kernel: int = 2) -> Plane:
        """The largest of windows that lie two pixels apart."""
        pads = [(kernel - 1) // 2] * 4
        name = self._node("MaxPool", [x.name], kernel_shape=[kernel] * 2, strides=[2, 2], pads=pads)
        return Plane(name, x.channels, (x.side + 2 * pads[0] - kernel) // 2 + 1)

    def flat(self, x: Plane) -> Plane:
        return Plane(self._node("Flatten", [x.name]), x.channels * x.side**2, 0)

    def mean(self, x: Plane) -> Plane:
        """The mean of every channel."""
        pooled = self._node("GlobalAveragePool", [x.name])
        return Plane(self._node("Flatten", [pooled]), x.channels, 0)

    def dense(self, x: Plane, outputs: int) -> Plane:
        name = self._node("Gemm", [x.name, *self._weights((outputs, x.channels), 1.0)], transB=1)
        return Plane(name, outputs, 0)

    def model(self, x: Plane, y: Plane) -> onnx.ModelProto:
        """The graph from images to scores, whose last layer's bias is the last tensor."""
        images = helper.make_tensor_value_info(
            x.name, TensorProto.FLOAT, ["n", x.channels, x.side, x.side]
        )
        scores = helper.make_tensor_value_info(y.name, TensorProto.FLOAT, ["n", y.channels])
        graph = helper.make_graph(self.nodes, "random", [images], [scores], self.tensors)
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, ir_version=8, opset_imports=opset)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        batch = self.rng.uniform(0, 1, (IMAGES, x.channels, x.side, x.side)).astype(np.float32)
        bias = model.graph.initializer[-1]
        shifted = numpy_helper.to_array(bias) - session.run(None, {x.name: batch})[0].mean(axis=0)
        bias.CopyFrom(numpy_helper.from_array(shifted, bias.name))
        return model


def vgg(
    stages: Sequence[Sequence[int]], dense: Sequence[int], side: int, classes: int, seed: int = 0
) -> onnx.ModelProto:
    """Stages of convolutions with a pool after each, then dense layers (Simonyan et al. 2015)."""
    builder, x = Builder(np.random.default_rng(seed)), Plane("x", 3, side)
    y = x
    for stage in stages:
        for channels in stage:
            y = builder.relu(builder.conv(y, channels))
        y = builder.pool(y)
    y = builder.flat(y)
    for width in dense:
        y = builder.relu(builder.dense(y, width))
    return builder.model(x, builder.dense(y, classes))


def resnet(widths: Sequence[int], side: int, classes: int, seed: int = 0) -> onnx.ModelProto:
    """Two residual blocks per width after a stem with a pool (He et al. 2016)."""
    builder, x = Builder(np.random.default_rng(seed)), Plane("x", 3, side)
    y = builder.pool(builder.relu(builder.conv(x, widths[0], 7, 2)), 3)
    for k, channels in enumerate(widths):
        for stride in (2 if k else 1, 1):
            below = y if y.channels == channels else builder.conv(y, channels, 1, stride, 0.7)
            inner = builder.relu(builder.conv(y, channels, 3, stride))
            # A small gain keeps the sums of many blocks at one scale, as training does.
            y = builder.relu(builder.add(below, builder.conv(inner, channels, gain=0.3)))
    return builder.model(x, builder.dense(builder.mean(y), classes))


def vgg_16() -> onnx.ModelProto:
    """VGG-16 for images of 32 x 32: 285 thousand neurons, 316 thousand with outputs of pools."""
    stages = [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3]
    return vgg(stages, [4096, 4096], 32, 10)


def resnet_18() -> onnx.ModelProto:
    """ResNet-18 for images of 224 x 224: 2.3 million neurons, 2.5 million with outputs of pools."""
    return resnet([64, 128, 256, 512], 224, 1000)
