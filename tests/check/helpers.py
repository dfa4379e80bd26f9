"""Certificates of small networks, and their brute-force truth."""

from dataclasses import dataclass, replace

import numpy as np

from graphprune.backends.certificate import BallQuery, prove_ball
from graphprune.check import Proof, ProofFile, parse_model
from graphprune.check.steps import Model
from tests.oracles import Perceptron, brute_force_distance

WIDTHS = ([2, 4, 2], [3, 3, 3, 3], [2, 4, 4, 2], [1, 5, 2], [4, 2, 2, 2, 3])


@dataclass(frozen=True, eq=False)
class Case:
    """A perceptron, an anchor of [0, 1], and its true distance (inf: none)."""

    net: Perceptron
    model: Model
    x: np.ndarray
    label: int
    distance: float

    @classmethod
    def random(cls, seed: int, widths: list[int]) -> "Case":
        rng = np.random.default_rng(seed)
        net = Perceptron.random(rng, widths)
        return cls.of(net, rng.uniform(0.1, 0.9, widths[0]).astype(np.float32))

    @classmethod
    def of(cls, net: Perceptron, x: np.ndarray) -> "Case":
        """The case of the class that `net` gives `x`."""
        label = int(np.argmax(net.logits(x.astype(float))))
        distance = brute_force_distance(net, x.astype(float), label, 0.0, 1.0)
        model = parse_model(net.model().SerializeToString())
        return cls(net, model, x, label, distance)

    def proof(self, radius: float) -> Proof:
        """A proof of the ball of `radius`; raises UnprovenError where there is none."""
        question = BallQuery(self.model, self.x, self.label, radius, 0.0, 1.0)
        scopes, margins = prove_ball(question)
        return Proof(0, self.label, self.x, radius, None, -1, None, scopes, margins)

    def file(self, proof: Proof) -> ProofFile:
        return ProofFile(self.model.sha256, 0.0, 1.0, (proof,))


def with_radius(file: ProofFile, radius: float) -> ProofFile:
    return replace(file, proofs=tuple(replace(p, lower=radius) for p in file.proofs))
