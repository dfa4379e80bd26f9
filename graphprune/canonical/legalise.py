"""The driver: bind the batch, infer shapes, fold constants, apply one rule per node."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from graphprune.canonical import rules
from graphprune.canonical.batch import check_batch, said_of_any
from graphprune.canonical.context import RULES, RUNTIME, Context, Rule, Tracked, rule_key
from graphprune.canonical.finite import check_finite
from graphprune.canonical.fold import SHAPES, count, fold, fold_repeated, fold_shape, widen
from graphprune.canonical.heads import (
    Head,
    PartialHeadError,
    SeveralOutputsError,
    check_axis,
    choose,
)
from graphprune.canonical.inputs import Point, point_of, track_parts
from graphprune.canonical.memory import NUMBER, VALUE, constant_too_large, value_too_large
from graphprune.canonical.patterns import recognise
from graphprune.canonical.refusals import folds, reason
from graphprune.canonical.restore import islands_of
from graphprune.errors import GraphpruneError, ModelError, UnsupportedError
from graphprune.ir.export import with_own_source
from graphprune.ir.load import ModelFile, half_precision, model_in_memory, read_model
from graphprune.ir.network import Network
from graphprune.ir.origin import form_of
from graphprune.ir.rebuild import NetworkBuilder
from graphprune.ir.shapes import Shapes, inputs_of, with_shapes
from graphprune.ir.source import Layout, Origin, Source
from graphprune.operators.simplify import simplify

log = logging.getLogger("graphprune")

# A tensor has no more axes than this: the length of a shape.
MAX_RANK = 64
# Operators that round where their numbers are whole.
ROUNDING = ("Div", "Mean", "ReduceMean", "Pow", "Mod")
# Domains whose operators ONNX Runtime runs.
RUNTIME_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", RUNTIME)


def load(
    model: str | Path | bytes | onnx.ModelProto,
    *,
    output: str | None = None,
    whole: bool = False,
    fix_shape: Shapes | None = None,
) -> Network:
    """Load an ONNX model as a canonical network.

    Parameters
    ----------
    model
        The path of a file (external data must lie in its folder or below), the bytes of one, or a
        model in memory.
    output
        Which graph output holds the scores; by default the only one of a floating type.
    whole
        Keep increasing functions of every score (a last Sigmoid) as layers. They change no
        decision, so that they are left above the scores otherwise.
    fix_shape
        Sizes for the dynamic axes of an input, by its name: ``{"x": (1, 3, 224, 224)}``; -1 leaves
        an axis as it is.

    Returns
    -------
    Network
        Affine operators and activations in float64, batch first. A Softmax above the logits and
        the ArgMax, ZipMap or label lookup of a classifier are cut.

    Raises
    ------
    ModelError
        The file is missing, damaged, invalid, or holds NaN or infinite weights.
    UnsupportedError
        An operator, attribute or shape outside the supported language; the message names the
        node and the reason.
    """
    if isinstance(model, bytes | onnx.ModelProto):
        file = model_in_memory(model)
    else:
        file = read_model(model)
    network = canonicalise(with_shapes(file, fix_shape), output=output, whole=whole)
    origin = network.source.origin
    if origin is None:
        return network
    origin = replace(
        origin, path=file.path, sha256=file.sha256, fix_shape=fix_shape,
        proto=file.proto if file.path is None else None,
    )  # fmt: skip
    return Network(network.model, replace(network.source, origin=origin))


def from_proto(
    proto: onnx.ModelProto, *, output: str | None = None, fix_shape: Shapes | None = None
) -> Network:
    """`load` for a model in memory."""
    return load(proto, output=output, fix_shape=fix_shape)


def canonicalise(file: ModelFile, *, output: str | None = None, whole: bool = False) -> Network:
    """Legalise a checked model; see `load`."""
    rules.install()
    try:
        head = choose(file, output, whole=whole)
    except SeveralOutputsError as error:
        if (only := _only_varying(file, error.names, whole=whole)) is None:
            raise
        return only
    try:
        return _legalised(file, head)
    except PartialHeadError:
        # Scores of many positions at once: a Softmax over the classes of each is a layer of them.
        if head.softmax is None or head.argmax is not None:
            raise
    return _legalised(file, choose(file, output, whole=whole, parts=True))


def _legalised(file: ModelFile, head: Head) -> Network:
    with said_of_any(batch_name(head.proto)):
        begun = begin(file, head)
        for node in begun.model.graph:
            lower(begun.context, node)
        return finish(file, head, begun)


def _only_varying(file: ModelFile, outputs: Sequence[str], *, whole: bool) -> Network | None:
    """The network of the one output that the input changes, if all others are constants.

    An output that nobody can read might change.
    """
    found: list[Network | None] = []
    for name in outputs:
        try:
            network = canonicalise(file, output=name, whole=whole)
        except GraphpruneError:
            found.append(None)
        else:
            found += [network] * network.varies
        if len(found) > 1:
            return None
    return found[0] if found else None


def batch_name(proto: onnx.ModelProto) -> str:
    """The file's name for its batch."""
    dims = [value.type.tensor_type.shape.dim for value in proto.graph.input]
    return next((d[0].dim_param for d in dims if d and d[0].dim_param), "N")


@dataclass(frozen=True, eq=False)
class Begun:
    """A legalisation before its first node.

    Attributes
    ----------
    model
        The file's model with its batch bound, shapes inferred and patterns recognised.
    context
        Knows the inputs and the stored constants.
    point
        The point that the inputs are.
    """

    model: ir.Model
    context: Context
    point: Point


def begin(file: ModelFile, head: Head) -> Begun:
    """Infer shapes and recognise patterns."""
    inputs = inputs_of(head.proto.graph)
    if not inputs:
        raise UnsupportedError(
            f"{file.label}: the output '{head.output}' does not depend on an input"
        )
    if halves := half_precision(head.proto):
        log.info("%s: %s; computed in wider types", file.label, halves)
    point = point_of(file.label, inputs, head.proto)
    model = _infer(file, head.proto, point.shapes)
    builder = NetworkBuilder(point.name, point.layout.sample)
    context = Context(file.label, builder, point.layout, model.opset_imports)
    track_parts(context, point)
    for name, value in model.graph.initializers.items():
        if value.const_value is not None:
            context.constants[name] = widen(value.const_value.numpy())
            context.stored += NUMBER * value.const_value.size
    return Begun(model, context, point)


def finish(file: ModelFile, head: Head, begun: Begun) -> Network:
    """The network, when every node is lowered."""
    context, point, layout = begun.context, begun.point, begun.point.layout
    if head.scores not in context.tracked:
        raise UnsupportedError(
            f"{file.label}: the output '{head.output}' does not depend on the input"
        )
    result = context.tracked[head.scores]
    for cut in (head.softmax, head.argmax):
        if cut is not None:
            check_axis(file.label, cut, result.layout, context.opset)
    if layout.batch is not None and result.layout.batch is None and context.batch_size != 1:
        raise UnsupportedError(f"{file.label}: the output '{head.output}' has lost the batch axis")
    logits = context.logits(result)
    if not logits.layout.size:
        raise UnsupportedError(f"{file.label}: the output '{head.output}' is empty")
    source = Source(
        head.proto, file.path, file.sha256, point.name, head.scores,
        layout, result.layout, point.batch_size, point.dtype,
        head.output, head.kept, point.parts if len(point.parts) > 1 else (), head.dropped,
    )  # fmt: skip
    built = context.builder.finish(logits.value, head.proto.graph.name or "network")
    check_finite(context, built.graph)
    # A file's own description stays on what is made of it, notes of earlier pipelines too.
    built.metadata_props.update({p.key: p.value for p in file.proto.metadata_props})
    built.producer_name, built.producer_version = (
        file.proto.producer_name, file.proto.producer_version,
    )  # fmt: skip
    built.domain, built.model_version = file.proto.domain, file.proto.model_version
    built.doc_string, built.graph.doc_string = (
        file.proto.doc_string, file.proto.graph.doc_string,
    )  # fmt: skip
    network = simplify(Network(built, source))
    # ONNX Runtime does not know operators that plugins legalise: such a file cannot speak for
    # itself, and points are confirmed by its canonical form.
    if any(node.domain not in RUNTIME_DOMAINS for node in begun.model.graph):
        return with_own_source(network)
    form = form_of(network.nodes, [network.input])
    origin = Origin(form, islands_of(context, tuple(begun.model.graph), network))
    return Network(network.model, replace(source, origin=origin))


def _infer(
    file: ModelFile,
    proto: onnx.ModelProto,
    shapes: dict[str, tuple[int, ...]],
) -> ir.Model:
    """The model with its batch bound and every shape inferred."""
    bound = onnx.ModelProto()
    bound.CopyFrom(proto)
    for value in bound.graph.input:
        for dim, length in zip(
            value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False
        ):
            dim.dim_value = length
    # Recorded shapes may speak of another batch; the output's is checked against ours later.
    del bound.graph.value_info[:]
    for value in bound.graph.output:
        if value.HasField("type"):
            value.type.tensor_type.ClearField("shape")
    _check_propagated(file, proto)
    try:
        bound = onnx.shape_inference.infer_shapes(
            bound, check_type=True, strict_mode=True, data_prop=True
        )
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise ModelError(f"{file.label}: shape inference fails: {said}") from None
    model = ir.from_proto(bound)
    if file.path is not None:  # of tensors that were left outside
        ir.external_data.set_base_dir(model.graph, file.path.parent)
    recognise(model)
    model.graph.sort()
    return model


def _check_propagated(file: ModelFile, proto: onnx.ModelProto) -> None:
    """Shape inference carries vectors of constants along: refuse those that grow without end."""
    lengths = {t.name: prod(t.dims) for t in proto.graph.initializer if len(t.dims) <= 1}
    for node in proto.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and len(attribute.t.dims) <= 1:
                lengths[node.output[0]] = prod(attribute.t.dims)
        names = [name for name in node.input if name]
        if node.op_type in ("Shape", "Size") and node.output:
            lengths[node.output[0]] = MAX_RANK
        elif names and node.output and all(name in lengths for name in names):
            found = [lengths[name] for name in names]
            length = sum(found) if node.op_type == "Concat" else max(found)
            if (size := NUMBER * length) > VALUE:
                raise UnsupportedError(
                    f"{file.label}: node '{node.name or node.output[0]}' ({node.op_type}):"
                    f" {constant_too_large(size)}"
                )
            lengths[node.output[0]] = length


def lower(context: Context, node: ir.Node) -> None:
    """Fold a node, or apply the rule of its operator."""
    key = rule_key(node.domain, node.op_type)
    if key in SHAPES:
        fold_shape(context, node)
    elif folds(node.op_type, _asked(node), context.constants):
        fold(context, node)
    elif context.repeats(node) and (value := fold_repeated(context, node)) is not None:
        context.tracked[str(node.outputs[0].name)] = value
    elif key not in RULES:
        raise context.fail(node, reason(node.op_type, node.domain))
    elif not _empty(context, node):
        results = _apply(context, node, RULES[key])
        for out, value in zip(node.outputs, results, strict=False):
            if str(out.name) in context.constants:
                continue
            _check_shape(context, node, out, value.layout)
            context.tracked[str(out.name)] = value


def _empty(context: Context, node: ir.Node) -> bool:
    """True where all outputs are empty; empty ones are constants, with no numbers."""
    for out in node.outputs:
        if out.name and out.shape is not None and count(out) == 0:
            sizes = [int(dim) for dim in out.shape.dims if isinstance(dim, int)]
            context.constants[out.name] = np.zeros(sizes)
    named = [out.name for out in node.outputs if out.name]
    return bool(named) and all(name in context.constants for name in named)


def _asked(node: ir.Node) -> list[str]:
    """The inputs whose numbers a node asks for: of the other one CastLike asks for the type."""
    inputs = node.inputs[:1] if node.op_type == "CastLike" else node.inputs
    return [str(value.name) for value in inputs if value is not None]


def _apply(context: Context, node: ir.Node, rule: Rule) -> tuple[Tracked, ...]:
    """Run a rule; what it stumbles over is said of the node."""
    check_batch(context, node)
    if node.op_type in ROUNDING and node.outputs[0].dtype in (ir.DataType.INT64, ir.DataType.INT32):
        raise context.fail(
            node, "rounds what it computes of whole numbers: cast them to float first"
        )
    for out in node.outputs:
        size = NUMBER * (count(out) or 0) // context.batch_size
        if size > VALUE:
            raise context.fail(node, f"computes {value_too_large(size)}")
    context.node = node
    try:
        with np.errstate(all="ignore"):  # what is not finite is judged where it is used
            result = rule(context, node)
    except GraphpruneError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, ArithmeticError) as error:
        reason = " ".join(str(error).split())[:200]
        raise context.fail(node, f"its attributes and inputs do not fit: {reason}") from error
    return result if isinstance(result, tuple) else (result,)


def _check_shape(context: Context, node: ir.Node, out: ir.Value, layout: Layout) -> None:
    """Our layout against ONNX's own shape inference: a difference is never let through.

    After a pool with ceil_mode they may differ: ONNX Runtime and PyTorch leave out windows that
    start in the padding at the end, ONNX's inference counts them. So may they after a Resize by a
    factor, which runtimes multiply in float32.
    """
    context.differs |= bool(node.attributes.get_int("ceil_mode", 0))
    if context.differs:
        return
    shape = out.shape
    if shape is None or not all(isinstance(dim, int) for dim in shape.dims):
        return
    if tuple(shape.dims) != layout.shape:
        raise context.fail(node, f"output shape {layout.shape}, but ONNX infers {shape}")
