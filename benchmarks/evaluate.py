"""Whole evaluations of the shipped networks: distances, seconds, peak memory.

    python benchmarks/evaluate.py [--anchors N] [--time-limit S] [--only NAME]...

Every network runs in a process of its own, one thread, so that its peak memory is its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic

MODELS = Path(__file__).parent.parent / "models"
METRICS = {"mnist-tiny": "adv,rob,bnd", "mnist-a-stable": "adv,rob,bnd"}


def measure(name: str, anchors: int, time_limit: float) -> str:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "r.json"
        command = [
            sys.executable, "-m", "graphprune", "evaluate", str(MODELS / f"{name}.onnx"),
            "--anchors", str(MODELS / "mnist-test-100.npz"), "--limit", str(anchors),
            "--time-limit", str(time_limit), "--metrics", METRICS.get(name, "adv,rob"),
            "--json", str(out), "--quiet",
        ]  # fmt: skip
        start = monotonic()
        subprocess.run(command, check=False)
        seconds = monotonic() - start
        summary = json.loads(out.read_text())["summary"]
    mean = summary["mean"]
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    cells = [
        name,
        f"{summary['ok']}/{summary['anchors']}",
        str(summary["exact"]),
        *(
            f"{mean[key]:.5f}" if key in mean else "-"
            for key in ("d_rob", "d_bnd.lower", "d_bnd.upper", "d_adv")
        ),
        f"{seconds:.1f}",
        f"{memory:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--anchors", type=int, default=10)
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--only", action="append")
    options = parser.parse_args()
    print(
        "| network | ok | exact | d_rob | d_bnd lower | upper | d_adv | seconds | peak MB so far |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in options.only or ["mnist-tiny", "mnist-a-stable", "mnist-e"]:
        print(measure(name, options.anchors, options.time_limit), flush=True)


if __name__ == "__main__":
    main()
