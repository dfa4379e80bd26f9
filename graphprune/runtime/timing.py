"""The time that a graph takes: the best of many runs, which noise only makes longer."""

from time import perf_counter

import numpy as np
import onnx

from graphprune.ir.network import Network
from graphprune.runtime.session import Executable

Times = tuple[float, float]
# Two models are timed by turns, so many times for so many seconds each.
ROUNDS, SHARE = 6, 0.05


def milliseconds(
    network: Network,
    batch: int = 1,
    *,
    proto: onnx.ModelProto | None = None,
    seconds: float = 0.2,
) -> float:
    """Milliseconds per run of `proto` (the network's export unless given) on a random batch.

    NaN where ONNX Runtime cannot open the file.

    Parameters
    ----------
    batch
        Number of points, where the file's batch is symbolic.
    seconds
        Time to go on measuring; at least 5 runs.
    """
    from graphprune.ir.export import to_proto

    source = network.source
    if source.input_layout.batch is None:
        batch = 1
    try:
        run = Executable(to_proto(network) if proto is None else proto, source.folder)
    except Exception:  # ONNX Runtime has no float64 convolution, for one
        return float("nan")
    rng = np.random.default_rng(0)
    x = rng.random((source.batch_size or batch, *network.input_shape))
    feeds = source.feeds(x)
    best, start, count = np.inf, perf_counter(), 0
    while count < 5 or perf_counter() - start < seconds:
        before = perf_counter()
        run(feeds)
        best = min(best, perf_counter() - before)
        count += 1
    return 1e3 * float(best)


def race(network: Network, first: onnx.ModelProto, second: onnx.ModelProto) -> Times:
    """Milliseconds of two models by turns, so that other work slows both; NaN where one fails.

    Sessions are opened anew for every turn: where their memory lies makes a difference too.
    """
    best = [float("inf")] * 2
    for _ in range(ROUNDS):
        for place, proto in enumerate((first, second)):
            took = milliseconds(network, proto=proto, seconds=SHARE)
            best[place] = float(np.minimum(best[place], took))
    return best[0], best[1]
