"""Throughput of `evaluate`: processor seconds of all processes, by the number of workers.

    python -m benchmarks.throughput [--network NAME] [--anchors N] [--workers W]... [--metrics LIST]
        [--images FILE] [--labels FILE] [--keep] [--time-limit S]

Each number of workers is an evaluation in a process of its own, of the same anchors, with a run
directory (`--keep`) or without. Wall time means little on a machine that does other work, so the
columns are processor seconds: of all processes, of the parent alone, and of the parent while tasks
run, per anchor: a parent that takes a share of an anchor's own time keeps no more workers busy than
one by that share. Efficiency is the first row's total over this one's: what workers cost beyond
their work. By default the anchors are the shipped ones, over and over.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from multiprocessing import active_children
from pathlib import Path

import graphprune as gp
from benchmarks.tables import head, row
from graphprune.evaluate import run
from graphprune.evaluate.results import Job
from graphprune.evaluate.settings import Settings

MODELS = Path(__file__).parent.parent / "models"
HEAD = (
    "network", "anchors", "workers", "run directory", "CPU s in all", "of tasks", "of the parent",
    "of it per anchor, ms", "efficiency",
)  # fmt: skip


@dataclass(frozen=True)
class Spending:
    """Processor seconds of one evaluation; of the parent while tasks run: `driving`."""

    total: float
    tasks: float
    parent: float
    driving: float


def spent(who: int = resource.RUSAGE_SELF) -> float:
    """Processor seconds so far."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def anchors_of(options: argparse.Namespace, network: gp.Network) -> list[gp.Anchor]:
    """As many as asked for, each with a number of its own."""
    found = gp.load_anchors(options.images, network, labels=options.labels)
    return [
        gp.Anchor(one.x, one.label, index)
        for index in range(options.anchors)
        for one in [found[index % len(found)]]
    ]


def measure(options: argparse.Namespace, workers: int) -> Spending:
    """Evaluate in this process, which does nothing else."""
    network = gp.load(MODELS / f"{options.network}.onnx")
    job = Job(network, anchors_of(options, network))
    settings = Settings(
        metrics=tuple(options.metrics.split(",")), workers=workers, time_limit=options.time_limit
    )
    drive, driving = run._Run.drive, [0.0]

    def timed(*given: object) -> None:
        start = spent()
        drive(*given)  # type: ignore[arg-type]
        driving[0] = spent() - start

    run._Run.drive = timed  # type: ignore[method-assign, assignment]
    with tempfile.TemporaryDirectory() as folder:
        outcome = run.evaluate([job], settings, run_dir=folder if options.keep else None)
    tasks = sum(
        one[metric]["cpu_seconds"]
        for one in outcome.documents[0]["anchors"]
        for metric in ("d_adv", "d_rob", "d_bnd")
        if isinstance(one.get(metric), dict)
    )
    _end_server()
    return Spending(spent() + spent(resource.RUSAGE_CHILDREN), tasks, spent(), driving[0])


def _end_server() -> None:
    """Wait for what workers were forked from, so that its time and theirs are counted."""
    assert not active_children()
    server = vars(sys.modules.get("multiprocessing.forkserver", os)).get("_forkserver")
    if server is not None:
        server._stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="mnist-tiny")
    parser.add_argument("--anchors", type=int, default=200)
    parser.add_argument("--workers", type=int, action="append")
    parser.add_argument("--metrics", default="adv,rob,bnd")
    parser.add_argument("--images", default=str(MODELS / "mnist-test-100.npz"))
    parser.add_argument("--labels")
    parser.add_argument("--keep", action="store_true", help="with a run directory")
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--here", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here is not None:
        print(json.dumps(asdict(measure(options, options.here))))
        return
    print(head(HEAD))
    base = None
    for workers in options.workers or (1, 2):
        found = Spending(**json.loads(_alone(workers)))
        base = base or found.total
        print(row((
            options.network, options.anchors, workers, "yes" if options.keep else "no",
            f"{found.total:.1f}", f"{found.tasks:.1f}", f"{found.parent:.1f}",
            f"{1000 * found.driving / options.anchors:.1f}" if workers > 1 else "-",
            f"{base / found.total:.2f}",
        )), flush=True)  # fmt: skip


def _alone(workers: int) -> str:
    """Run `measure` in a process of its own; the line that it prints."""
    command = [sys.executable, "-m", "benchmarks.throughput", *sys.argv[1:]]
    done = subprocess.run(
        [*command, f"--here={workers}"], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.splitlines()[-1]


if __name__ == "__main__":
    main()
