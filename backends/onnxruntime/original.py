"""The file's own model, which has the last word on every point."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from graphprune.backends.onnxruntime.runtime import Executable
from graphprune.errors import UnsupportedError
from graphprune.ir.network import Network
from graphprune.ir.source import Source

log = logging.getLogger("graphprune")


def run_original(network: Network, x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Logits (N, classes) of points (N, *sample) by the original model in ONNX Runtime.

    A fixed batch is filled up with copies; an absent one is run point by point.
    """
    source = network.source
    session = network.cached(("original", "cpu"), lambda: _executable(source))
    step = 1 if source.input_layout.batch is None else source.batch_size or max(len(x), 1)
    results = []
    for start in range(0, len(x), step):
        chunk = x[start : start + step]
        count = len(chunk)
        if source.batch_size is not None and count < step:
            chunk = np.concatenate([chunk, np.repeat(chunk[-1:], step - count, axis=0)])
        outputs = session({source.input_name: source.to_file(chunk)})
        logits = outputs[session.outputs.index(source.output_name)]
        results.append(source.from_file(logits)[:count])
    return np.concatenate(results) if results else np.zeros((0, network.classes))


def _executable(source: Source) -> "Executable | _Reference":
    """The file in ONNX Runtime, or where that has no kernel (double convolutions) in ONNX's own
    reference implementation."""
    try:
        return Executable(source.proto)
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        label = source.path or "model"
        if source.dtype != np.float64:
            raise UnsupportedError(f"{label}: ONNX Runtime cannot run it: {said}") from None
        log.info("%s: run by the ONNX reference implementation (%s)", label, said)
        return _Reference(source.proto)


class _Reference:
    """``onnx.reference`` with the calling convention of an executable."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        from onnx.reference import ReferenceEvaluator

        from graphprune.operators.reference import NEW_OPS

        self._evaluator = ReferenceEvaluator(proto, new_ops=NEW_OPS)
        self.outputs = tuple(value.name for value in proto.graph.output)

    def __call__(self, feeds: Mapping[str, NDArray[np.generic]]) -> list[NDArray[Any]]:
        return list(self._evaluator.run(None, dict(feeds)))
