"""Certificates: time to prove and to check, leaves and bytes, beside the search that found them.

    python benchmarks/certificate.py [MODEL] [ANCHORS]

One row per anchor, CPU seconds of one thread.
"""

import sys
from itertools import pairwise
from pathlib import Path
from time import process_time

import graphprune as gp
from graphprune.check import verify, write
from graphprune.evaluate.proofs import checkable, prove_run
from graphprune.evaluate.run import Job, evaluate
from graphprune.evaluate.settings import Settings

MODELS = Path(__file__).parent.parent / "models"


def main(model: str = "mnist-a-stable", count: str = "10") -> None:
    """Print the table."""
    network = gp.load(MODELS / f"{model}.onnx")
    read = checkable(network)
    settings = Settings(metrics=("bnd",), time_limit=60.0)
    print(f"{'anchor':>6} {'lower':>9} {'upper':>9} {'search':>7} {'prove':>7} {'check':>7}"
          f" {'leaves':>7} {'kB':>7}")  # fmt: skip
    for anchor in gp.load_anchors(MODELS / "mnist-test-100.npz", network)[: int(count)]:
        job = Job(network, [anchor])
        times = [process_time()]
        outcome = evaluate([job], settings)
        times.append(process_time())
        file, _ = prove_run(read, job, outcome, settings)
        times.append(process_time())
        (result,) = verify(file, read)
        times.append(process_time())
        search, prove, check = (b - a for a, b in pairwise(times))
        upper = float("nan") if result.upper is None else result.upper
        print(f"{anchor.index:>6} {result.lower:>9.5f} {upper:>9.5f} {search:>7.2f} {prove:>7.2f}"
              f" {check:>7.2f} {result.leaves:>7} {len(write(file)) / 1e3:>7.1f}")  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
