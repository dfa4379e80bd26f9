"""An independent verifier on original and exactly pruned networks: same answers, which times.

    python benchmarks/marabou.py [--python PATH] [--limit S] [--anchors N]

Marabou (Katz et al. 2019; `pip install maraboupy`, which wants an environment of its own: name
its interpreter with --python) reads the file graphprune writes with `opt --sequential` after
`prune-stable` on a ball, and the original file with the same ball. For every anchor and the
runner-up class t it is asked for a point of the ball with f_t >= f_y.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import graphprune as gp
from graphprune.evaluate.anchors import load_anchors
from graphprune.runtime.original import run_original

MODELS = Path(__file__).parent.parent / "models"

# Runs in Marabou's interpreter: argv is a JSON query, the answer is the last line.
ASK = r"""
import json, sys, time
import numpy as np
from maraboupy import Marabou
q = json.loads(sys.argv[1])
net = Marabou.read_onnx(q["model"])
x = np.array(net.inputVars[0]).flatten()
y = np.array(net.outputVars[0]).flatten()
lower, upper = (np.load(q["box"])[k].flatten() for k in ("lower", "upper"))
for v, l, u in zip(x, lower, upper):
    net.setLowerBound(int(v), float(l)); net.setUpperBound(int(v), float(u))
net.addInequality([int(y[q["label"]]), int(y[q["target"]])], [1.0, -1.0], 0.0)
start = time.time()
options = Marabou.createOptions(timeoutInSeconds=q["limit"], verbosity=0)
code, values, stats = net.solve(verbose=False, options=options)
point = [values[int(v)] for v in x] if values else None
print(json.dumps([code, time.time() - start, point]))
"""


def ask(python: str, query: dict[str, object], limit: float) -> tuple[str, float, object]:
    """(sat, unsat, timeout or an error's last line), seconds, the point."""
    command = [python, "-c", ASK, json.dumps(query)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * limit + 120)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        return f"error: {lines[-1][:60]}", 0.0, None
    code, seconds, point = json.loads(done.stdout.strip().splitlines()[-1])
    return str(code).lower(), float(seconds), point


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--anchors", type=int, default=4)
    parser.add_argument("--model", default="mnist-tiny")
    options = parser.parse_args()
    probe = subprocess.run([options.python, "-c", "import maraboupy"], capture_output=True)
    if probe.returncode:
        print(f"skipped: {options.python} has no maraboupy; pip install maraboupy, then --python")
        return
    network = gp.load(MODELS / f"{options.model}.onnx")
    print("| anchor | radius/d_adv | ReLUs | pruned | answer | pruned | s | s pruned | ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    for anchor in load_anchors(MODELS / "mnist-test-100.npz", network)[: options.anchors]:
        found = gp.attack(network, anchor).distance
        if found is None:
            continue
        for share in (0.3, 0.6, 1.1):
            radius = share * found
            print(row(network, anchor, radius, share, options.python, options.limit), flush=True)


def row(
    network: gp.Network, anchor: gp.Anchor, radius: float, share: float, python: str, limit: int
) -> str:
    text = f"bounds{{radius={radius}}}, prune-stable, fuse-affine, sequential"
    pruned = gp.Pipeline.parse(text).run(network, anchor, verify=True).network
    ball = anchor.ball(radius, gp.Domain())
    logits = run_original(network, anchor.x[None])[0]
    target = int(np.argsort(-np.where(np.arange(len(logits)) == anchor.label, -np.inf, logits))[0])
    with tempfile.TemporaryDirectory() as folder:
        box = f"{folder}/box.npz"
        np.savez(box, lower=ball.lower, upper=ball.upper)
        answers = []
        for name, model in (("original", network), ("pruned", pruned)):
            gp.save(model, f"{folder}/{name}.onnx")
            query = {
                "model": f"{folder}/{name}.onnx", "box": box, "limit": limit,
                "label": anchor.label, "target": target,
            }  # fmt: skip
            answers.append(ask(python, query, limit))
    for answer, _, point in answers:
        if answer == "sat":  # Marabou's point, judged by the original network
            x = np.array(point, np.float64).reshape(1, *anchor.x.shape).astype(np.float32)
            logits = run_original(network, x)[0]
            assert logits[target] >= logits[anchor.label] - 1e-3 * np.abs(logits).max()
    (first, t0, _), (second, t1, _) = answers
    ratio = f"{t0 / t1:.2f}" if t1 and "timeout" not in (first, second) else "-"
    cells = [
        anchor.index, share, network.live_neurons, pruned.live_neurons, first, second,
        f"{t0:.2f}", f"{t1:.2f}", ratio,
    ]  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
