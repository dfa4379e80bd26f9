"""Ablation of substitutes: which neurons are replaced, and by what line.

    python benchmarks/substitutes.py [--network NAME] [--metric rob|bnd] [--anchors N] [--gamma G]

One row per rank and line: the mean relative error of the metric on the substitute, its neurons,
and processor seconds as a share of the metric on the network itself; one thread.
"""

import argparse
from pathlib import Path
from statistics import mean
from time import process_time
from typing import Any

import graphprune as gp
from graphprune.evaluate.estimates import estimate
from graphprune.evaluate.results import Known, Result, Task
from graphprune.evaluate.serialise import value_of
from graphprune.evaluate.settings import Metric, Settings
from graphprune.evaluate.tasks import perform
from graphprune.substitutes import replacements, scores

MODELS = Path(__file__).parent.parent / "models"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="mnist-c")
    parser.add_argument("--metric", choices=("rob", "bnd"), default="rob")
    parser.add_argument("--anchors", type=int, default=5)
    parser.add_argument("--gamma", type=float, default=0.5)
    parser.add_argument("--time-limit", type=float, default=60.0)
    options = parser.parse_args()
    network = gp.load(MODELS / f"{options.network}.onnx")
    anchors = gp.load_anchors(MODELS / "mnist-train-100.npz", network)[: options.anchors + 1]
    metric = Metric(options.metric)
    settings = Settings(metrics=("adv", metric), time_limit=options.time_limit)
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    # The first anchor compiles everything and is not counted.
    for number, anchor in enumerate(anchors):
        start = process_time()
        found = gp.attack(network, anchor)
        task = Task(network.source.sha256, anchor.index, metric)
        full = value_of(perform(network, anchor, task, settings, Known()))
        seconds = process_time() - start
        truth = full["value"] if metric is Metric.ROB else full["upper"]
        for rank in scores():
            for by in replacements():
                spec = f"substitute{{by={by} rank={rank} gamma={options.gamma}}}"
                start = process_time()
                record = value_of(
                    Result(estimate(settings.query(network, anchor), settings, spec, metric, found))
                )
                record["share"] = (process_time() - start) / seconds
                if number and record["value"] is not None:
                    record["error"] = abs(record["value"] - truth) / truth
                    rows.setdefault((rank, by), []).append(record)
    print(
        f"{options.network}, d_{options.metric}, gamma {options.gamma}, {options.anchors} anchors"
    )
    print("| rank | line | error | neurons left | time, share of full | found a boundary |")
    print("|---|---|---|---|---|---|")
    for (rank, by), records in rows.items():
        print(
            f"| {rank} | {by} | {mean(r['error'] for r in records):.3f} |"
            f" {mean(r['neurons_left'] for r in records):.0f} |"
            f" {mean(r['share'] for r in records):.2f} | {len(records)}/{options.anchors} |"
        )


if __name__ == "__main__":
    main()
