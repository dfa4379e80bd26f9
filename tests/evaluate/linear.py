"""A network whose scores are its inputs, in a folder with anchors, and commands about them."""

import json
from pathlib import Path

import numpy as np
import onnx

from graphprune.cli.app import run
from tests.oracles import Perceptron


def write_linear(folder: Path, x: list[list[float]], labels: list[int]) -> Path:
    """Write the network of so many classes and the anchors; the folder."""
    classes = len(x[0])
    net = Perceptron([np.eye(classes)], [np.zeros(classes)])
    onnx.save(net.model(), folder / "m.onnx")
    np.savez(folder / "a.npz", x=np.array(x, np.float32), y=labels)
    return folder


def run_about(folder: Path, command: str, *more: str) -> tuple[int, dict[str, object]]:
    """Run a command on both; its exit code and document."""
    out = folder / "out.json"
    code = run([
        command, str(folder / "m.onnx"), "--anchors", str(folder / "a.npz"), "--quiet",
        "--json", str(out), *more,
    ])  # fmt: skip
    return code, json.loads(out.read_text()) if out.exists() else {}
