"""Networks from elsewhere: every file loads and agrees; one line each with the largest deviation.

    python benchmarks/truth.py FOLDER

The deviation of the canonical form (float64, ONNX reference) is relative to the largest output,
against ONNX Runtime on the file and, where an .npz lies beside it, against its float64 outputs.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import graphprune as gp
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64

POINTS = 4


def deviation(got: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """Largest difference relative to the largest expected number."""
    scale = max(1e-6, float(np.max(np.abs(expected))))
    return float(np.max(np.abs(got.reshape(-1) - expected.reshape(-1)))) / scale


def deviations(path: Path) -> tuple[gp.Network, float, float | None]:
    """(network, against ONNX Runtime, against the recorded outputs or None)."""
    network = gp.load(path)
    rng = np.random.default_rng(0)
    count = network.source.batch_size or POINTS
    x = rng.uniform(0, 1, (count, *network.input_shape)).astype(network.source.dtype)
    runtime = deviation(forward64(network, x)[0], run_original(network, x))
    recorded = path.with_suffix(".npz")
    if not recorded.exists():
        return network, runtime, None
    with np.load(recorded) as data:
        arrays = [data[key] for key in data.files]
    into = next(a for a in arrays if a.shape[1:] == network.input_shape)
    out = next(a for a in arrays if a is not into and a.size == len(into) * network.classes)
    return network, runtime, deviation(forward64(network, into)[0], out)


def main(folder: Path) -> int:
    print(f"{'network':52} {'neurons':>8} {'added':>6} {'ONNX Runtime':>13} {'recorded':>9}")
    worst = 0.0
    for path in sorted(folder.rglob("*.onnx")):
        network, runtime, recorded = deviations(path)
        worst = max(worst, runtime, recorded or 0.0)
        name = str(path.relative_to(folder))[-52:]
        last = "" if recorded is None else f"{recorded:.1e}"
        print(
            f"{name:52} {network.neurons:8} {network.auxiliary_neurons:6} {runtime:13.1e} {last:>9}"
        )
    print(f"largest deviation {worst:.1e}")
    return int(worst > 1e-5)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python benchmarks/truth.py FOLDER")
    sys.exit(main(Path(sys.argv[1])))
