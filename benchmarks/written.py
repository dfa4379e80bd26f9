"""Files that ``opt`` writes: bytes and ONNX Runtime's time before and after pruning.

    python -m benchmarks.written [--only NAME]... [--largest BYTES] [--radius R]

``bounds, prune-stable, fuse-affine`` on a small ball around a random point, checked after every
pass, as ``opt`` writes it for runtimes and for verifiers. One thread, batch 1, by turns. A file for
runtimes that takes over 1/0.98 of the time of its input is marked, and so is a file that plain
``opt`` changes.
"""

import argparse

import numpy as np
import onnx

import graphprune as gp
from benchmarks.fusion import anchor_of, files
from graphprune.ir.export import written
from graphprune.ir.load import read_model
from graphprune.pipeline.no_slower import SLOWER, no_slower
from graphprune.runtime.resources import Resources, using
from graphprune.runtime.timing import race

PASSES = "bounds{{method=ibp radius={radius}}}, prune-stable, fuse-affine"


def same_nodes(proto: onnx.ModelProto, path: str) -> bool:
    """True where a written file has nodes of its input alone, unchanged."""
    known = {node.SerializeToString() for node in read_model(path).proto.graph.node}
    return all(node.SerializeToString() in known for node in proto.graph.node)


def row(path: str, name: str, radius: float) -> list[float]:
    """Print the row of a network; the ratios of times, of the file for runtimes first."""
    network = gp.load(path)
    anchor, own = anchor_of(network), written(network)
    pipeline = gp.Pipeline.parse(PASSES.format(radius=radius))
    whole, every = (
        pipeline.run(network, anchor, verify=True, whole_units=flag).network
        for flag in (True, False)
    )
    chosen, why, _ = no_slower(network, whole)
    lowered = written(every, lowered=True)
    ratios, cells = [], []
    for proto in (chosen, lowered):
        rounds = [(1.0, 1.0)] if proto == own else [race(network, own, proto) for _ in range(3)]
        ratios.append(float(np.median([old / new for old, new in rounds])))
        cells.append(f"{proto.ByteSize():,} | {ratios[-1]:.2f}x")
    marks = " SLOWER" * (ratios[0] * SLOWER < 1.0) + " CHANGED" * (not same_nodes(own, path))
    gone = f"as it was: {why}" if why else f"{network.live_neurons} -> {whole.live_neurons}"
    print(f"| {name}{marks} | {own.ByteSize():,} | {cells[0]} | {gone} | {cells[1]} |", flush=True)
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="Part of a file's path; repeatable.")
    parser.add_argument("--largest", type=int, default=3_000_000)
    parser.add_argument("--radius", type=float, default=0.01)
    options = parser.parse_args()
    print("| network | bytes | for runtimes | time | neurons | for verifiers | time |")
    print("|---|---|---|---|---|---|---|")
    found = []
    with using(Resources(provider="cpu")):
        for path in files(options.largest):
            if options.only and not any(part in str(path) for part in options.only):
                continue
            name = f"{path.parent.name}/{path.stem}"
            try:
                found.append(row(str(path), name, options.radius))
            except gp.GraphpruneError as error:
                print(f"| {name} | refused: {str(error).split(': ', 1)[-1][:80]} |", flush=True)
    ratios = np.array(found).reshape(-1, 2)
    faster, changed = int((ratios[:, 0] > 1.02).sum()), int((ratios[:, 0] != 1.0).sum())
    print(
        f"{len(ratios)} files, {changed} rewritten, {faster} faster by 2 % and more; least"
        f" {ratios[:, 0].min():.2f}x for runtimes, {ratios[:, 1].min():.2f}x for verifiers"
    )


if __name__ == "__main__":
    main()
