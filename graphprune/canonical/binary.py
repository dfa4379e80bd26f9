"""Two-class heads by one sigmoid: (1 - s, s) with s = sigmoid(z) is the softmax of (0, z).

scikit-learn writes a binary classifier this way. The scores are then (0, z): the classes stand in
the same order, the decision boundary z = 0 is the same set, and the network below stays piecewise
linear, so that exact distances work.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from graphprune.canonical.names import fresh
from graphprune.ir.external import is_outside


def two_class(
    proto: onnx.ModelProto, scores: str
) -> tuple[onnx.ModelProto, str, onnx.NodeProto] | None:
    """The model with scores (0, z), their name, and the softmax above them; None for other heads.

    Parameters
    ----------
    scores
        The value that may be (1 - s, s) or (s, 1 - s).
    """
    producers = {out: node for node in proto.graph.node for out in node.output}
    concat = producers.get(scores)
    if concat is None or concat.op_type != "Concat" or len(concat.input) != 2:
        return None
    for positive in (1, 0):
        sigmoid = producers.get(concat.input[positive])
        rest = producers.get(concat.input[1 - positive])
        if sigmoid is None or sigmoid.op_type != "Sigmoid" or rest is None:
            continue
        if rest.op_type == "Sub" and rest.input[1] == sigmoid.output[0]:
            axis = next(a.i for a in concat.attribute if a.name == "axis")
            z = _column(proto, sigmoid.input[0], axis)
            if z is not None and _is_one(proto, rest.input[0], producers):
                return _with_scores(proto, z, positive, scores)
    return None


def _column(proto: onnx.ModelProto, name: str, axis: int) -> onnx.ValueInfoProto | None:
    """The value `name` where it is a matrix of one column, and `axis` its second one."""
    known = onnx.ModelProto()
    known.CopyFrom(proto)
    for node in known.graph.node:
        if node.op_type == "Scaler":  # ONNX infers no shape for it: that of its input
            node.CopyFrom(helper.make_node("Identity", node.input, node.output))
    inferred = onnx.shape_inference.infer_shapes(known).graph
    values: list[onnx.ValueInfoProto] = [*inferred.value_info, *inferred.output, *inferred.input]
    for value in values:
        dims = value.type.tensor_type.shape.dim
        if value.name == name and len(dims) == 2 and dims[1].dim_value == 1 and axis in (1, -1):
            return value
    return None


def _is_one(proto: onnx.ModelProto, name: str, producers: dict[str, onnx.NodeProto]) -> bool:
    tensors = [t for t in proto.graph.initializer if t.name == name and not is_outside(t)]
    node = producers.get(name)
    if node is not None and node.op_type == "Constant":
        tensors += [a.t for a in node.attribute if a.name == "value"]
    return any(np.array_equal(numpy_helper.to_array(t).reshape(-1), [1.0]) for t in tensors)


def _with_scores(
    proto: onnx.ModelProto, z: onnx.ValueInfoProto, positive: int, head: str
) -> tuple[onnx.ModelProto, str, onnx.NodeProto]:
    """`proto` with z times the unit vector of the positive class."""
    taken = {name for node in proto.graph.node for name in (*node.input, *node.output)}
    scores, unit = (fresh(f"{z.name}_{part}", taken) for part in ("scores", "unit"))
    kind = helper.tensor_dtype_to_np_dtype(z.type.tensor_type.elem_type)
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    vector = np.eye(2)[[positive]].astype(kind)
    changed.graph.initializer.append(numpy_helper.from_array(vector, unit))
    changed.graph.node.append(helper.make_node("Mul", [z.name, unit], [scores], name=scores))
    return changed, scores, helper.make_node("Softmax", [scores], [head], name=head, axis=1)
