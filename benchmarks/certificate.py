"""Certificates: time to prove and to check, leaves and bytes, beside the search that found them.

    python benchmarks/certificate.py [MODEL] [--anchors 0,1,2] [--radius R] [--time-limit SECONDS]
        [--no-trace]

MODEL is a name in `models/` or a path. One row per anchor, CPU seconds of one thread. `proven` is
the certified lower end as a share of the search's. `--no-trace` proves without what the search
knew.
"""

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from time import process_time

import graphprune as gp
from graphprune.check import ProofFile, verify, write
from graphprune.evaluate.distance import distance
from graphprune.evaluate.proofs import checkable, prove
from graphprune.evaluate.settings import Settings
from graphprune.evaluate.warm import warm_up

MODELS = Path(__file__).parent.parent / "models"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="mnist-a-stable")
    parser.add_argument("--anchors", default=",".join(map(str, range(10))))
    parser.add_argument("--radius", type=float)
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--no-trace", action="store_true")
    asked = parser.parse_args()
    path = Path(asked.model)
    network = gp.load(path if path.suffix else MODELS / f"{path}.onnx")
    model = checkable(network)
    settings = Settings(metrics=("bnd",), time_limit=asked.time_limit, radius=asked.radius)
    images = gp.load_anchors(MODELS / "mnist-test-100.npz", network)
    warm_up()
    print(f"{'anchor':>6} {'lower':>9} {'upper':>9} {'proven':>7} {'search':>7} {'prove':>7}"
          f" {'check':>7} {'leaves':>7} {'kB':>8}")  # fmt: skip
    totals = [0.0] * 4
    for anchor in (images[int(i)] for i in asked.anchors.split(",")):
        times = [process_time()]
        found = distance(
            network, anchor, radius=asked.radius, time_limit=settings.limit, record=True
        )  # fmt: skip
        times.append(process_time())
        if asked.no_trace:
            found = replace(found, trace=None)
        proof = prove(
            settings.query(network, anchor), found, settings.resources().within(settings.limit)
        ).proof
        assert proof is not None
        times.append(process_time())
        file = ProofFile(model.sha256, 0.0, 1.0, (proof,))
        (result,) = verify(file, model)
        times.append(process_time())
        row = [b - a for a, b in pairwise(times)]
        size = len(write(file)) / 1e3
        totals = [total + value for total, value in zip(totals, (*row, size), strict=True)]
        upper = float("nan") if result.upper is None else result.upper
        share = result.lower / found.lower if found.lower else 1.0
        print(f"{anchor.index:>6} {result.lower:>9.5f} {upper:>9.5f} {share:>7.4f} {row[0]:>7.2f}"
              f" {row[1]:>7.2f} {row[2]:>7.2f} {result.leaves:>7} {size:>8.1f}")  # fmt: skip
    print(f"{'all':>6} {'':>27} {totals[0]:>7.2f} {totals[1]:>7.2f} {totals[2]:>7.2f} {'':>7}"
          f" {totals[3]:>8.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
