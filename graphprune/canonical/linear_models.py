"""Linear models of scikit-learn exports, written out as a Gemm and the function above it.

A LinearClassifier gives a label and the scores after a Softmax or Sigmoid. Written out, the scores
before it are a value of the graph, and the head above them is cut as in any other network.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from graphprune.canonical.names import fresh

ML = "ai.onnx.ml"
# The opset of the default domain for files that name none.
OPSET = 13
# Post transforms and the operators that they are.
ABOVE = {"NONE": None, "SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}


def written_out(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a Gemm in the place of every linear model; others are left as they are.

    Left are transforms that do not keep the order of the scores, classifiers without intercepts,
    and those on whose scores runtimes disagree: two classes told by one row of coefficients without
    LOGISTIC, and transforms of a single target.
    """
    models = [_parsed(node) for node in proto.graph.node]
    if not any(models):
        return proto
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    graph = changed.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    taken |= {tensor.name for tensor in graph.initializer}
    graph.ClearField("node")
    if not any(known.domain in ("", "ai.onnx") for known in changed.opset_import):
        changed.opset_import.add(domain="", version=OPSET)
    for node, model in zip(proto.graph.node, models, strict=True):
        graph.node.extend([node] if model is None else model.nodes(graph, node, taken))
    return changed


@dataclass(frozen=True, eq=False)
class _LinearModel:
    """The numbers of a LinearClassifier or LinearRegressor.

    Attributes
    ----------
    weight, bias
        (scores, features) and (scores,).
    above
        The operator above the scores, or None.
    labels
        The names of the classes; None for a regressor.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    above: str | None
    labels: NDArray[np.generic] | None

    def nodes(
        self, graph: onnx.GraphProto, node: onnx.NodeProto, taken: set[str]
    ) -> list[onnx.NodeProto]:
        """The nodes that compute what `node` does; their constants are added to the graph."""
        base = node.name or node.output[0]
        outputs = list(node.output)
        result = outputs[-1] if self.labels is None or len(outputs) > 1 else ""

        def name(part: str) -> str:
            taken.add(made := fresh(f"{base}_{part}", taken))
            return made

        def constant(part: str, array: NDArray[np.generic]) -> str:
            graph.initializer.append(numpy_helper.from_array(array, made := name(part)))
            return made

        # Runtimes compute linear models in float32, whatever comes in.
        x = name("float")
        scores = result if self.above is None and result else name("scores")
        gemm = [x, constant("weight", self.weight), constant("bias", self.bias)]
        made = [
            helper.make_node("Cast", [node.input[0]], [x], name("cast"), to=onnx.TensorProto.FLOAT),
            helper.make_node("Gemm", gemm, [scores], base, transB=1),
        ]
        if self.above is not None and result:
            axis: dict[str, Any] = {"axis": 1} if self.above == "Softmax" else {}
            made.append(helper.make_node(self.above, [scores], [result], name("above"), **axis))
        if self.labels is not None and outputs[0]:
            best = name("best")
            argmax = helper.make_node(
                "ArgMax", [scores], [best], name("argmax"), axis=1, keepdims=0
            )
            label = [constant("labels", self.labels), best]
            made += [argmax, helper.make_node("Gather", label, [outputs[0]], name("label"))]
        return made


def _parsed(node: onnx.NodeProto) -> _LinearModel | None:
    """The linear model that a node is, where it can be written out."""
    if node.domain != ML or node.op_type not in ("LinearClassifier", "LinearRegressor"):
        return None
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    transform = found.get("post_transform", b"NONE").decode()
    coefficients = np.array(found.get("coefficients", ()), dtype=np.float32)
    bias = np.array(found.get("intercepts", ()), dtype=np.float32)
    labels: NDArray[np.generic] | None = None
    rows = int(found.get("targets", 1))
    if node.op_type == "LinearClassifier":
        names = found.get("classlabels_ints") or found.get("classlabels_strings") or ()
        labels = np.array([n.decode() if isinstance(n, bytes) else n for n in names])
        labels = labels.astype(object) if labels.dtype.kind == "U" else labels
        rows = bias.size
    if transform not in ABOVE or not coefficients.size or rows < 1 or coefficients.size % rows:
        return None
    weight, bias = coefficients.reshape(rows, -1), bias if bias.size else np.zeros(rows, np.float32)
    above = ABOVE[transform]
    # ONNX Runtime leaves the transform of a single target out.
    if bias.size != rows or (labels is None and rows == 1 and above is not None):
        return None
    if labels is not None and labels.size != rows:
        if (rows, labels.size, above) != (1, 2, "Sigmoid"):
            return None
        # (1 - s, s) with s = sigmoid(z) is the softmax of (0, z).
        weight, bias = np.pad(weight, ((1, 0), (0, 0))), np.pad(bias, (1, 0))
        above = "Softmax"
    return _LinearModel(weight, bias, above, labels)
