"""The file's own model, which has the last word on every point."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from graphprune.errors import UnsupportedError
from graphprune.ir.export import to_proto
from graphprune.ir.load import read_model
from graphprune.ir.network import Network, size
from graphprune.ir.source import Source
from graphprune.ir.trim import ending_at
from graphprune.region import Anchor, Domain
from graphprune.runtime.session import Executable

log = logging.getLogger("graphprune")

# Elements of the widest value of the points that run as one batch, at most.
ELEMENTS = 1 << 24


def run_original(network: Network, x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Logits (N, classes) of points (N, *sample) by the original model in ONNX Runtime.

    A fixed batch is filled up with copies; an absent one is run point by point. Points of a threat
    model go through it to the network behind.
    """
    if network.source.entry is not None:
        return run_original(network.source.entry.behind, network.source.entry.image(x))
    session = network.cached(
        ("original", "cpu"), lambda: _executable(network.source, network.source.proto)
    )
    return _run(network, session, network.source.output_name, x)


def as_asked(network: Network, anchor: Anchor, domain: Domain) -> Anchor:
    """An anchor as questions take it: bytes as numbers, and the network's label where it has none.

    Raises
    ------
    AnchorError
        It has no label and does not fit the network, or its bytes do not fit the domain.
    """

    def predicted(x: NDArray[np.floating]) -> int:
        return int(np.argmax(run_original(network, x[None])[0]))

    return anchor.read_for(network.input_shape, network.classes, domain, predicted)


def run_file(network: Network, x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Outputs (N, outputs) of the whole file, a Softmax that was cut above the logits included.

    A network made in memory has no file: its export, head included, speaks for it.

    Raises
    ------
    UnsupportedError
        The file's output is no tensor, or ONNX Runtime cannot run it.
    """
    source = network.source
    if source.entry is not None:
        return run_file(source.entry.behind, source.entry.image(x))
    if source.file_output == source.output_name:
        return run_original(network, x)
    session = network.cached(("file", "cpu"), lambda: _executable(source, _whole(network)))
    return _run(network, session, source.file_output, x)


def _whole(network: Network) -> onnx.ModelProto:
    """The file's model with the chosen output alone."""
    source = network.source
    if source.path is None:
        return to_proto(network)
    proto = read_model(source.path).proto
    kept = [value for value in proto.graph.output if value.name == source.file_output]
    if not all(value.type.HasField("tensor_type") for value in kept):
        raise UnsupportedError(f"{source.path}: the output '{source.file_output}' is no tensor")
    return ending_at(proto, source.file_output)


def _run(
    network: Network, session: "Executable | _Reference", output: str, x: NDArray[np.floating]
) -> NDArray[np.floating]:
    source = network.source
    step = 1 if source.input_layout.batch is None else source.batch_size or _at_once(network)
    results = []
    for start in range(0, len(x), step):
        chunk = x[start : start + step]
        count = len(chunk)
        if source.batch_size is not None and count < step:
            chunk = np.concatenate([chunk, np.repeat(chunk[-1:], step - count, axis=0)])
        outputs = session(source.feeds(chunk))
        logits = outputs[session.outputs.index(output)]
        results.append(source.from_file(logits)[:count])
    return np.concatenate(results) if results else np.zeros((0, network.classes))


def _at_once(network: Network) -> int:
    """Points whose widest value fits into `ELEMENTS` elements."""

    def widest() -> int:
        return max(size(v) for v in (network.input, *(n.outputs[0] for n in network.nodes)))

    return max(1, ELEMENTS // max(network.cached("widest value", widest), 1))


def _executable(source: Source, proto: onnx.ModelProto) -> "Executable | _Reference":
    """The file in ONNX Runtime, or where that has no kernel (double convolutions) in ONNX's own
    reference implementation."""
    try:
        return Executable(proto, source.folder)
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        label = source.path or "model"
        with suppress(Exception):
            executable = Executable(proto, source.folder, optimised=False)
            log.warning("%s: ONNX Runtime runs it with its optimisation off only (%s)", label, said)
            return executable
        if source.dtype != np.float64:
            raise UnsupportedError(f"{label}: ONNX Runtime cannot run it: {said}") from None
        log.info("%s: run by the ONNX reference implementation (%s)", label, said)
        return _Reference(proto)


class _Reference:
    """``onnx.reference`` with the calling convention of an executable."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        from onnx.reference import ReferenceEvaluator

        from graphprune.functions.reference import NEW_OPS

        self._evaluator = ReferenceEvaluator(proto, new_ops=NEW_OPS)
        self.outputs = tuple(value.name for value in proto.graph.output)

    def __call__(self, feeds: Mapping[str, NDArray[np.generic]]) -> list[NDArray[Any]]:
        with np.errstate(all="ignore"):
            return list(self._evaluator.run(None, dict(feeds)))
