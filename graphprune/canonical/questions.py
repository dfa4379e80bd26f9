"""Networks asked about otherwise than by their largest score: one output, a margin, the K best.

All put operators above the scores of the file's model and load that again, so that every metric,
engine and confirmation takes them as it takes any other network.
"""

from collections.abc import Callable
from dataclasses import replace
from math import inf, isfinite
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from graphprune.canonical.increasing import inverse
from graphprune.canonical.legalise import canonicalise
from graphprune.canonical.names import fresh
from graphprune.errors import GraphpruneError
from graphprune.ir import Network, Query
from graphprune.ir.export import speaks_for_itself, with_own_source
from graphprune.ir.load import ModelFile
from graphprune.ir.query import Target, require_one_question
from graphprune.region import LINF, Anchor, Domain, norm_of

# Writes a node with inputs that are names or constants; the name of its output.
Write = Callable[..., str]


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

    def above(write: Write, score: str) -> str:
        score = write("Reshape", score, np.array([-1, 1]))
        score = write("Sub", score, np.array([[at]], kind))
        return write("Mul", score, np.array([[0, 1]], kind))

    return _above(network, above)


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
    return _above(network, lambda write, scores: write("Add", scores, row.reshape(shape)))


def with_rank(network: Network, label: int, top_k: int) -> Network:
    """A network with one class more: its score is the `top_k`-th best of the others than `label`.

    Where that is at least the label's, the label has left the `top_k` best: so many others are no
    worse. The comparisons are neurons, so that whatever answers about one class answers this.

    Raises
    ------
    GraphpruneError
        Not a number of classes that a label can be driven out of.
    """
    require_rank(network, top_k)
    return network.cached(("rank", label, top_k), lambda: _ranked(network, label, top_k))


def require_rank(network: Network, top_k: int) -> None:
    """Refuse what is no number of best classes of a network.

    Raises
    ------
    GraphpruneError
        It says how many classes there are.
    """
    if isinstance(top_k, bool) or not isinstance(top_k, int | np.integer):
        raise GraphpruneError(f"top-k is no integer, but {top_k!r}")
    # The query itself says what a network of one output lacks.
    if not 1 <= top_k < max(network.classes, 2):
        raise GraphpruneError(
            f"top-k {top_k}: the network has {network.classes} classes, of which a label can leave"
            f" the 1 to {network.classes - 1} best"
        )


def _ranked(network: Network, label: int, top_k: int) -> Network:
    classes = network.classes
    # Counted from the nearer end: every round compares all that are left.
    largest = 2 * top_k <= classes
    count = top_k if largest else classes - top_k

    def above(write: Write, scores: str) -> str:
        scores = write("Reshape", scores, np.array([-1, classes]))
        others = write("Gather", scores, np.delete(np.arange(classes), label), axis=1)
        best = write("TopK", others, np.array([count]), axis=1, largest=int(largest))
        return write("Concat", scores, write("Gather", best, np.array([count - 1]), axis=1), axis=1)

    return _above(network, above)


def question(
    network: Network,
    anchor: Anchor,
    domain: Domain,
    *,
    norm: str = LINF,
    seed: int = 0,
    target: Target = None,
    top_k: int = 1,
) -> Query:
    """The question about an anchor of a network: where do other classes win?

    Parameters
    ----------
    target
        The only classes that count, for `Query`.
    top_k
        They win where the label is no longer among so many best ones.

    Raises
    ------
    GraphpruneError
        The question does not fit the network, or has a target and another rank than 1.
    AnchorError
        The anchor does not.
    """
    require_rank(network, top_k)
    if top_k == 1:
        return Query(network, anchor, domain, norm_of(norm), seed, target)
    require_one_question(target, top_k)
    anchor.require(network.input_shape, network.classes, domain)
    asked = with_rank(network, int(anchor.label), int(top_k))
    return Query(asked, anchor, domain, norm_of(norm), seed, network.classes, int(top_k), network)


def _above(network: Network, above: Callable[[Write, str], str]) -> Network:
    """The network of the file's model with operators above its scores.

    A network of which passes have made another function is asked as it is, not as its file.
    """
    given = network if speaks_for_itself(network) else with_own_source(network)
    source = given.source
    if source.entry is not None:
        return source.entry.before(_above(source.entry.behind, above))
    proto = onnx.ModelProto()
    proto.CopyFrom(source.proto)
    graph = proto.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    taken |= {tensor.name for tensor in graph.initializer}

    def write(op_type: str, *inputs: str | NDArray[np.generic], **attributes: Any) -> str:
        names = []
        for given in inputs:
            if not isinstance(given, str):
                name = fresh(f"{op_type}_by", taken)
                graph.initializer.append(numpy_helper.from_array(given, name))
                taken.add(name)
                given = name
            names.append(given)
        count = 2 if op_type == "TopK" else 1
        results = [fresh(f"{op_type}_scores", taken)]
        results += [fresh(f"{op_type}_places", taken)] * (count - 1)
        taken.update(results)
        made = helper.make_node(op_type, names, results, name=results[0], **attributes)
        graph.node.append(made)
        return results[0]

    last = above(write, source.output_name)
    kind = helper.np_dtype_to_tensor_dtype(source.dtype)
    graph.ClearField("output")
    graph.output.append(helper.make_tensor_value_info(last, kind, None))
    made = canonicalise(ModelFile(proto, source.path, source.sha256), whole=True)
    made.model.metadata_props.update(network.model.metadata_props)
    return Network(made.model, replace(made.source, file_output=made.source.output_name))
