"""Networks asked about otherwise than by their largest score: one output, and a margin.

Both put an affine operator above the scores of the file's model and load that again, so that every
metric, engine and confirmation takes them as it takes any other network.
"""

from dataclasses import replace
from math import inf, isfinite

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from graphprune.canonical.increasing import inverse
from graphprune.canonical.legalise import canonicalise
from graphprune.canonical.names import fresh
from graphprune.errors import GraphpruneError
from graphprune.ir import Network
from graphprune.ir.export import speaks_for_itself, with_own_source
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
    return _above(
        network,
        ("Reshape", np.array([-1, 1])),
        ("Sub", np.array([[at]], kind)),
        ("Mul", np.array([[0, 1]], kind)),
    )


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
    layout = network.source.output_layout
    row = np.zeros(network.classes, network.source.dtype)
    row[label] = margin
    shape = [1 if axis == layout.batch else n for axis, n in enumerate(layout.shape)]
    return _above(network, ("Add", row.reshape(shape)))


def _above(network: Network, *steps: tuple[str, NDArray[np.generic]]) -> Network:
    """The network of the file's model with operators above its scores, each with a constant.

    A network of which passes have made another function is asked as it is, not as its file.
    """
    given = network if speaks_for_itself(network) else with_own_source(network)
    source = given.source
    if source.entry is not None:
        return source.entry.before(_above(source.entry.behind, *steps))
    proto = onnx.ModelProto()
    proto.CopyFrom(source.proto)
    graph = proto.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    taken |= {tensor.name for tensor in graph.initializer}
    last = source.output_name
    for op_type, constant in steps:
        operand, result = (fresh(f"{op_type}_{part}", taken) for part in ("by", "scores"))
        taken |= {operand, result}
        graph.initializer.append(numpy_helper.from_array(constant, operand))
        graph.node.append(helper.make_node(op_type, [last, operand], [result], name=result))
        last = result
    kind = helper.np_dtype_to_tensor_dtype(source.dtype)
    graph.ClearField("output")
    graph.output.append(helper.make_tensor_value_info(last, kind, None))
    made = canonicalise(ModelFile(proto, source.path, source.sha256), whole=True)
    made.model.metadata_props.update(network.model.metadata_props)
    return Network(made.model, replace(made.source, file_output=made.source.output_name))
