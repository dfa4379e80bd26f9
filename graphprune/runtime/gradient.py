"""Scores and gradients of a network at points, by its gradient graph in ONNX Runtime."""

import numpy as np
from numpy.typing import NDArray

from graphprune import transforms
from graphprune.ir.network import Network
from graphprune.runtime.session import compiled


def scores_and_gradients(
    network: Network, points: NDArray[np.floating], rows: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
    """Return the scores (N, classes) at points, and the gradient of one row of scores at each.

    Parameters
    ----------
    points
        (N, ...) flat or in the sample's shape; rounded to float32.
    rows
        (N, classes) coefficients of what is differentiated at each point.

    Returns
    -------
    (scores, gradients)
        (N, classes) as the runtime computes them, and (N, inputs).
    """
    run = compiled(network, "gradient", lambda: transforms.gradient(network))
    x = points.astype(np.float32).reshape(len(points), *network.input_shape)
    scores, slope = run({"x": x, "rows": rows.astype(np.float32)})
    return scores, slope.reshape(len(x), -1).astype(np.float64)
