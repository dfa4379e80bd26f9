"""The file's own model, which has the last word on every point."""

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.onnxruntime.runtime import Executable
from graphprune.ir.network import Network


def run_original(network: Network, x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Logits (N, classes) of points (N, *sample) by the original model in ONNX Runtime.

    A fixed batch is filled up with copies; an absent one is run point by point.
    """
    source = network.source
    session = network.cached(("original", "cpu"), lambda: Executable(source.proto))
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
