"""All three distances of one input, and the point that shows the upper one.

python examples/distances.py [MODEL] [ANCHORS]
"""

import sys
from pathlib import Path

import graphprune as gp

MODELS = Path(__file__).parent.parent / "models"
model = sys.argv[1] if len(sys.argv) > 1 else MODELS / "toy-2d.onnx"
anchors = sys.argv[2] if len(sys.argv) > 2 else MODELS / "toy-2d-anchors.npz"

network = gp.load(model)
anchor = gp.load_anchors(anchors, network)[0]

attack = gp.attack(network, anchor)
certificate = gp.certify(network, anchor, upper=attack.distance)
distance = gp.distance(
    network, anchor, time_limit=60, known_attack=attack, known_certificate=certificate
)
print(f"proven free of adversarial points up to {certificate.radius:.5f}")
print(f"distance in [{distance.lower:.5f}, {distance.upper}] ({distance.status})")
if distance.witness is not None:
    print(
        f"the nearest class is {distance.witness.target}, at {distance.witness.x.reshape(-1)[:4]}"
    )
