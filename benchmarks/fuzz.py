"""Hostile files: mutate real ones and see that each loads rightly or is refused in one line.

    python benchmarks/fuzz.py [--count N] [--seed S] [--seconds S] [--keep DIR]

Bytes and structure of the shipped networks, of generated ones and, with GRAPHPRUNE_TRUTH, of
networks from elsewhere are mutated. A file that is not `loaded` (and then agrees with ONNX
Runtime on samples) or `refused` (with one line) is a finding: it is kept in DIR.
"""

import argparse
import os
from collections import Counter
from pathlib import Path
from time import monotonic

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings

from graphprune.testing import models
from graphprune.testing.mutations import mutate
from graphprune.testing.sandbox import Sandbox

MODELS = Path(__file__).parent.parent / "models"
# Larger files cost time, and their structure is that of smaller ones.
LARGEST = 300_000


def generated(count: int) -> list[bytes]:
    """Files of the property tests' own strategy, always the same ones."""
    found: list[bytes] = []

    @settings(
        max_examples=count, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(models())
    def collect(model: onnx.ModelProto) -> None:
        found.append(model.SerializeToString())

    collect()
    return found


def seeds() -> list[bytes]:
    """Valid files to start from."""
    files = sorted(MODELS.glob("*.onnx"))
    truth = os.environ.get("GRAPHPRUNE_TRUTH")
    if truth:
        files += sorted(Path(truth).rglob("*.onnx"))
    else:
        print("GRAPHPRUNE_TRUTH names no folder: shipped and generated networks only")
    small = [file.read_bytes() for file in files if file.stat().st_size <= LARGEST]
    return small + generated(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="Number of the first mutated file.")
    parser.add_argument("--seconds", type=float, default=np.inf, help="Stop after this long.")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    options = parser.parse_args()
    pool = seeds()
    verdicts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    start = monotonic()
    with Sandbox() as sandbox:
        for number in range(options.first, options.first + options.count):
            if monotonic() - start > options.seconds:
                break
            rng = np.random.default_rng([options.seed, number])
            data = mutate(pool[int(rng.integers(len(pool)))], rng, pool)
            outcome = sandbox.judge(data)
            verdicts[outcome.verdict] += 1
            if not outcome.good:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"{options.seed}-{number}.onnx").write_bytes(data)
                print(f"{options.seed}-{number}: {outcome.verdict}: {outcome.detail}", flush=True)
            elif outcome.detail.startswith("not run"):
                reasons[outcome.detail[:60]] += 1
            if (number + 1) % 1000 == 0:
                rate = (number + 1 - options.first) / (monotonic() - start)
                print(f"... {number + 1}: {dict(verdicts)}, {rate:.0f} files/s", flush=True)
    total = sum(verdicts.values())
    print(f"{total} mutated files of {len(pool)} in {monotonic() - start:.0f} s")
    print("| verdict | files | share |")
    print("|---|---|---|")
    for verdict, count in verdicts.most_common():
        print(f"| {verdict} | {count} | {100 * count / max(total, 1):.1f} % |")
    for reason, count in reasons.most_common(10):
        print(f"loaded, {reason}: {count}")


if __name__ == "__main__":
    main()
