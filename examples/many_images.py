"""A durable run over several images with a substitute's estimates, and its report.

python examples/many_images.py [RUN_DIR]
"""

import sys
from pathlib import Path

import graphprune as gp
from graphprune.evaluate.archive import read_run
from graphprune.evaluate.results import Job
from graphprune.evaluate.run import evaluate
from graphprune.evaluate.settings import Settings
from graphprune.report.page import write_report

MODELS = Path(__file__).parent.parent / "models"

# Worker processes import this file again: what starts them stands behind this line.
if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example")
    network = gp.load(MODELS / "toy-2d.onnx")
    anchors = gp.load_anchors(MODELS / "toy-2d-anchors.npz", network)
    settings = Settings(time_limit=20.0, estimates=("linearize-secant{layers=1}, fuse-affine",))
    outcome = evaluate([Job(network, anchors)], settings, run_dir=folder)
    print(outcome.documents[0]["summary"]["mean"])
    write_report(read_run(folder), folder / "report.html")
    print(f"see {folder / 'report.html'}")
