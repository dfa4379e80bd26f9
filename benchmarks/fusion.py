"""Effect of fuse-affine on networks: nodes, parameters, multiply-adds, ONNX Runtime time.

    python benchmarks/fusion.py [--only NAME]... [--largest BYTES]

Three graphs per network: the canonical form, `prune-stable` on a small ball, `linearize-secant`
of one layer; each before and after fuse-affine. One thread, batch 1, best of many runs, measured
in turns. A row whose graph grew or slowed by more than the clock's noise is marked.
"""

import argparse
import os
from pathlib import Path

import numpy as np

import graphprune as gp
from graphprune.runtime.original import run_original
from graphprune.runtime.resources import Resources, using
from graphprune.runtime.timing import milliseconds

MODELS = Path(__file__).parent.parent / "models"
PIPELINES = {
    "canonical": "",
    "prune-stable": "bounds{method=ibp radius=0.01}, prune-stable",
    "linearize-secant": "linearize-secant{layers=1}",
}
NOISE = 1.1


def files(largest: int) -> list[Path]:
    """The shipped networks, and those of GRAPHPRUNE_TRUTH, up to so many bytes."""
    found = sorted(MODELS.glob("*.onnx"))
    truth = os.environ.get("GRAPHPRUNE_TRUTH")
    if truth:
        found += sorted(Path(truth).rglob("*.onnx"))
    else:
        print("GRAPHPRUNE_TRUTH names no folder: shipped networks only")
    return [path for path in found if path.stat().st_size <= largest]


def anchor_of(network: gp.Network) -> gp.Anchor:
    """A point of the unit box with the class the network gives it."""
    x = np.random.default_rng(0).random(network.input_shape).astype(np.float32)
    return gp.Anchor(x, int(np.argmax(run_original(network, x[None])[0])))


def rows(path: Path) -> None:
    network = gp.load(path)
    anchor = anchor_of(network)
    for name, text in PIPELINES.items():
        try:
            before = gp.Pipeline.parse(text).run(network, anchor).network if text else network
        except gp.GraphpruneError as error:
            print(f"| {path.stem} | {name} | - | {error} |")
            continue
        after = gp.Pipeline.parse("fuse-affine").run(before, anchor, verify=True).network
        times = [np.inf, np.inf]
        for _ in range(3):
            for i, graph in enumerate((before, after)):
                times[i] = min(times[i], milliseconds(graph, seconds=0.08))
        pairs = [
            (len(before.nodes), len(after.nodes)),
            (before.parameters, after.parameters),
            (before.multiply_adds, after.multiply_adds),
        ]
        # Skips may add reshapes; size is what is stored and multiplied.
        worse = any(b > a for a, b in pairs[1:]) or times[1] > NOISE * times[0]
        cells = [f"{a} -> {b}" for a, b in pairs]
        cells.append(f"{times[0]:.4f} -> {times[1]:.4f} ({times[0] / times[1]:.2f}x)")
        mark = " WORSE" if worse else ""
        print(f"| {path.stem} | {name}{mark} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="Part of a file's name; repeatable.")
    parser.add_argument("--largest", type=int, default=8_000_000)
    options = parser.parse_args()
    print("| network | graph | nodes | parameters | multiply-adds | ms (ratio) |")
    print("|---|---|---|---|---|---|")
    with using(Resources(provider="cpu")):
        for path in files(options.largest):
            if options.only and not any(part in path.name for part in options.only):
                continue
            try:
                rows(path)
            except gp.GraphpruneError as error:
                print(f"| {path.stem} | refused | {error} |", flush=True)


if __name__ == "__main__":
    main()
