"""Exact pruning: the same function on a ball, with fewer neurons, as an ONNX file.

python examples/smaller_network.py [OUT.onnx]
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

import graphprune as gp

MODELS = Path(__file__).parent.parent / "models"
out = sys.argv[1] if len(sys.argv) > 1 else "smaller.onnx"
radius = 0.02

network = gp.load(MODELS / "mnist-tiny.onnx")
anchor = gp.load_anchors(MODELS / "mnist-test-100.npz", network)[0]
pipeline = gp.Pipeline.parse(f"bounds{{radius={radius}}}, prune-stable, fuse-affine")
small = pipeline.run(network, anchor).network
gp.save(small, out)
print(f"{network.neurons} -> {small.neurons} neurons, {network.parameters} -> {small.parameters}")

# It loads in any ONNX consumer.
x = anchor.x + np.float32(radius) * np.sign(np.random.default_rng(0).normal(size=anchor.x.shape))
x = np.clip(x, 0, 1).astype(np.float32)[None]
before, after = (
    ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    for path in (MODELS / "mnist-tiny.onnx", out)
)
print(f"largest difference of the logits in the ball: {np.abs(before - after).max():.1e}")
assert np.allclose(before, after, atol=1e-4)
