"""The time that a graph takes: the best of many runs, which noise only makes longer."""

from collections.abc import Callable
from time import perf_counter

import numpy as np
import onnx

from graphprune.ir.network import Network
from graphprune.runtime.session import Executable

Times = tuple[float, float]
# Two models are timed by turns, so many times for so many seconds.
ROUNDS, SHARE = 7, 0.06


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

    run = _run(network, to_proto(network) if proto is None else proto, batch)
    if run is None:
        return float("nan")
    best, start, count = np.inf, perf_counter(), 0
    while count < 5 or perf_counter() - start < seconds:
        best = min(best, _seconds(run))
        count += 1
    return 1e3 * float(best)


def _run(network: Network, proto: onnx.ModelProto, batch: int = 1) -> Callable[[], object] | None:
    """A run of a model on a random batch; None where ONNX Runtime cannot open it."""
    source = network.source
    if source.input_layout.batch is None:
        batch = 1
    try:
        executable = Executable(proto, source.folder)
    except Exception:  # ONNX Runtime has no float64 convolution, for one
        return None
    x = np.random.default_rng(0).random((source.batch_size or batch, *network.input_shape))
    feeds = source.feeds(x)
    return lambda: executable(feeds)


def _seconds(run: Callable[[], object]) -> float:
    before = perf_counter()
    run()
    return perf_counter() - before


def race(network: Network, first: onnx.ModelProto, second: onnx.ModelProto) -> Times:
    """Milliseconds of two models, measured by turns; NaN where one fails.

    The second time is the first one times the median ratio of a turn, in which both run by turns
    too: other work on the machine slows both. Sessions are opened anew for each turn, since where
    their memory lies makes a difference.
    """
    turns = np.array([_turn(network, first, second) for _ in range(ROUNDS)])
    best = float(np.min(turns[:, 0]))
    return best, best * float(np.median(turns[:, 1] / turns[:, 0]))


def _turn(network: Network, first: onnx.ModelProto, second: onnx.ModelProto) -> Times:
    one, other = _run(network, first), _run(network, second)
    if one is None or other is None:
        return float("nan"), float("nan")
    best, start, count = [np.inf, np.inf], perf_counter(), 0
    while count < 5 or perf_counter() - start < SHARE:
        for place, run in enumerate((one, other)):
            best[place] = min(best[place], _seconds(run))
        count += 1
    return 1e3 * best[0], 1e3 * best[1]
