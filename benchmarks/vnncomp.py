"""Verdicts on properties of VNN-COMP: what is decided in the time limit, and is any wrong?

    GRAPHPRUNE_TRUTH=DIR python benchmarks/vnncomp.py [--time-limit S] [--only TEXT]...
                                 [--set NAME] [--load FACTOR | --processor] [--out FILE.csv]

DIR/NAME/index.csv (``vnncomp``, or ``vnncomp2``: families of 2022 to 2025) names networks,
properties and the verdict that the competition's tools
agree on. Every property runs in a process of its own, one thread. With ``--out`` finished rows
are kept, and the same command goes on where it stopped. Exits with 1 on a wrong verdict.

On a busy machine wall clock says little: ``--load 4`` gives four times the time and counts what was
decided within S seconds of CPU; with ``--processor`` limits are CPU seconds themselves.
"""

import argparse
import csv
import os
import pkgutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from time import monotonic

import graphprune
from benchmarks.exact import processor_limits
from graphprune.cli.verify_worker import Decider

DECIDED = ("sat", "unsat")


@dataclass(frozen=True)
class Row:
    """One property's result."""

    benchmark: str
    onnx: str
    vnnlib: str
    agreed: str
    verdict: str
    seconds: float
    cpu: float

    @property
    def wrong(self) -> bool:
        return self.verdict in DECIDED and self.agreed in DECIDED and self.verdict != self.agreed


def measure(folder: Path, entry: dict[str, str], time_limit: float, *, processor: bool) -> Row:
    """Run the command line on one property, or the same by processor seconds."""
    files = [str(folder / entry[kind]) for kind in ("onnx", "vnnlib")]
    command = [sys.executable, "-m", "graphprune", "verify", *files, "--quiet"]
    if processor:
        command = [sys.executable, "-m", "benchmarks.vnncomp", "--one", *files]
    command += ["--time-limit", str(time_limit)]
    before = os.times()
    start = monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds, after = monotonic() - start, os.times()
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    verdict = done.stdout.split("\n", 1)[0] if done.returncode == 0 else "error"
    if verdict == "error":
        print(done.stderr.strip(), file=sys.stderr)
    return Row(
        entry["benchmark"], entry["onnx"], entry["vnnlib"], entry["agreed_verdict"],
        verdict, round(seconds, 2), round(cpu, 2),
    )  # fmt: skip


def decide(model: str, question: str, time_limit: float) -> None:
    """Print the verdict on one property, with limits in processor seconds."""
    # Clocks of modules that are imported later would be the wall's.
    for module in pkgutil.walk_packages(graphprune.__path__, "graphprune."):
        if not module.name.endswith("__main__") and ".testing" not in module.name:
            import_module(module.name)
    options: dict[str, object] = {
        "model": model, "output": None, "fix_shape": [], "save_images": None, "seed": 0,
        "threads": 1, "provider": "auto", "threat": None,
    }  # fmt: skip
    with ExitStack() as stack:
        for one in processor_limits():
            stack.enter_context(one)
        record = Decider(options).record(question, time_limit, lambda _: None)
    print(record["verdict"])
    print({k: v for k, v in record.items() if k not in ("verdict", "x", "y")}, file=sys.stderr)


def kept(path: Path | None) -> dict[tuple[str, str], Row]:
    """Rows of an earlier run."""
    if path is None or not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = [
            Row(**{**r, "seconds": float(r["seconds"]), "cpu": float(r["cpu"])})  # type: ignore[arg-type]
            for r in csv.DictReader(file)
        ]
    return {(row.onnx, row.vnnlib): row for row in rows}


def table(rows: list[Row], limit: float) -> str:
    """Per network: share decided within `limit` seconds of CPU, wrong verdicts, CPU times."""
    lines = [
        "| network | properties | sat | unsat | decided of known | wrong | mean CPU s | max |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[str, list[Row]] = {}
    for row in rows:
        name = Path(row.onnx).stem
        name = "ACASXU" if name.startswith("ACASXU") else name
        groups.setdefault(f"{row.benchmark} {name}", []).append(row)
    for name, group in sorted(groups.items()):
        known = [row for row in group if row.agreed in DECIDED]
        decided = sum(row.verdict in DECIDED and row.cpu <= limit for row in known)
        cells = [
            name, str(len(group)), *(str(sum(r.verdict == v for r in group)) for v in DECIDED),
            f"{decided}/{len(known)}", str(sum(row.wrong for row in group)),
            f"{sum(row.cpu for row in group) / len(group):.1f}",
            f"{max(row.cpu for row in group):.1f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--load", type=float, default=1.0, help="wall seconds per CPU second")
    parser.add_argument("--only", action="append", help="part of a network's or property's path")
    parser.add_argument("--set", default="vnncomp", help="folder of networks and properties")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--processor", action="store_true", help="limits in CPU seconds")
    parser.add_argument("--one", nargs=2, metavar=("ONNX", "VNNLIB"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        model, question = options.one
        decide(model, question, options.time_limit)
        return 0
    truth = os.environ.get("GRAPHPRUNE_TRUTH")
    folder = Path(truth or ".") / options.set
    if truth is None or not (folder / "index.csv").exists():
        print(f"skipped: GRAPHPRUNE_TRUTH names no folder with {options.set}/index.csv")
        return 0
    with (folder / "index.csv").open(newline="") as file:
        entries = list(csv.DictReader(file))
    results = kept(options.out)
    rows = []
    for entry in entries:
        paths = entry["onnx"] + " " + entry["vnnlib"]
        if options.only and not any(text in paths for text in options.only):
            continue
        row = results.get((entry["onnx"], entry["vnnlib"]))
        if row is None:
            limit = options.time_limit * options.load
            row = measure(folder, entry, limit, processor=options.processor)
            mark = "  WRONG" if row.wrong else ""
            print(f"{row.onnx} {row.vnnlib}: {row.verdict} {row.cpu} CPU s{mark}", flush=True)
            if options.out is not None:
                fresh = not options.out.exists()
                with options.out.open("a", newline="") as file:
                    writer = csv.DictWriter(file, list(asdict(row)))
                    if fresh:
                        writer.writeheader()
                    writer.writerow(asdict(row))
        rows.append(row)
    print(table(rows, options.time_limit))
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())
