"""Networks asked about otherwise than by their largest score: one output, and a margin.

Both put an affine operator above the scores of the file's model and load that again, so that every
metric, engine and confirmation takes them as it takes any other network.
"""

from dataclasses import replace
from math import inf, isfinite

import numpy as np
import onnx
from onnx import helper, numpy_helper

from graphprune.canonical.increasing import inverse
from graphprune.canonical.legalise import canonicalise
from graphprune.errors import GraphpruneError, UnsupportedError
from graphprune.ir import Network
from graphprune.ir.load import ModelFile


def as_classifier(network: Network, threshold: float | None = None) -> Network:
    """A network of one output as a classifier of two classes.

    Parameters
    ----------
    network
        With two classes or more it is returned as it is.
    threshold
        Class 1 is where the file's output is above it, class 0 elsewhere. Default 0, or 0.5 where
        the file ends in a Sigmoid.

    Returns
    -------
    Network
        Its scores are 0, and the file's score below a last increasing function less what has the
        threshold as its value.

    Raises
    ------
    GraphpruneError
        A threshold for a network of several classes, one that the output never takes, or NaN.
    """
    if network.classes != 1:
        if threshold is not None:
            raise GraphpruneError(
                f"a threshold is for networks with one output; this one has {network.classes}"
            )
        return network
    source = network.source
    if threshold is None:
        ends = [operator.op_type for operator in source.head]
        threshold = 0.5 if ends[-1:] == ["Sigmoid"] else 0.0
    low, high = inverse(threshold, source.head) or (-inf, inf)
    at = 0.5 * low + 0.5 * high if source.head else float(threshold)
    if not isfinite(at):
        raise GraphpruneError(
            f"{source.path or 'the model'}: its output never takes the threshold {threshold:g}:"
            " one class would have every point; give another threshold"
        )
    kind = source.dtype
    column = helper.make_node(
        "Reshape", [source.output_name, "graphprune.column"], ["graphprune.z"]
    )
    moved = helper.make_node("Sub", ["graphprune.z", "graphprune.at"], ["graphprune.moved"])
    unit = helper.make_node("Mul", ["graphprune.moved", "graphprune.unit"], ["graphprune.scores"])
    constants = {
        "column": np.array([-1, 1]), "at": np.array([[at]], kind), "unit": np.array([[0, 1]], kind),
    }  # fmt: skip
    return _above(network, [column, moved, unit], constants)


def with_margin(network: Network, label: int, margin: float) -> Network:
    """A network in which another class wins only if its score is `margin` above the label's.

    Parameters
    ----------
    label
        The class whose score is raised.
    margin
        At least 0; at 0 the network itself is returned.

    Raises
    ------
    GraphpruneError
        A negative or infinite margin.
    """
    if not 0.0 <= margin < inf:
        raise GraphpruneError(f"a margin must be 0 or more and finite, not {margin}")
    if margin == 0.0:
        return network
    return network.cached(("margin", label, margin), lambda: _raised(network, label, margin))


def _raised(network: Network, label: int, margin: float) -> Network:
    source = network.source
    layout = source.output_layout
    row = np.zeros(network.classes)
    row[label] = margin
    shape = [1 if axis == layout.batch else n for axis, n in enumerate(layout.shape)]
    node = helper.make_node("Add", [source.output_name, "graphprune.margin"], ["graphprune.scores"])
    return _above(network, [node], {"margin": row.reshape(shape).astype(source.dtype)})


def _above(
    network: Network, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]
) -> Network:
    """The network of the file's model with nodes above its scores."""
    source = network.source
    if network.model.metadata_props.get("graphprune.rewrites") and source.path is None:
        raise UnsupportedError("a network that passes have rewritten is asked as it is")
    proto = onnx.ModelProto()
    proto.CopyFrom(source.proto)
    graph = proto.graph
    graph.node.extend(nodes)
    graph.initializer.extend(
        numpy_helper.from_array(array, f"graphprune.{name}") for name, array in constants.items()
    )
    kind = helper.np_dtype_to_tensor_dtype(source.dtype)
    result = helper.make_tensor_value_info("graphprune.scores", kind, None)
    graph.ClearField("output")
    graph.output.append(result)
    made = canonicalise(ModelFile(proto, source.path, source.sha256), whole=True)
    props = made.model.metadata_props
    props.update(network.model.metadata_props)
    return Network(made.model, replace(made.source, file_output=made.source.output_name))
