"""Attack and polish on smooth activations, against grids of the square."""

import numpy as np
import pytest

import graphprune as gp
from graphprune.attacks.confirm import Witness, confirm
from graphprune.attacks.polish import polish
from graphprune.ir import Query
from graphprune.region import NORMS, Norm
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from tests.oracles import Perceptron

KINDS = ["Sigmoid", "Tanh", "Softplus", "Gelu"]
SIDE = np.linspace(0, 1, 301)
GRID = np.stack(np.meshgrid(SIDE, SIDE), axis=-1).reshape(-1, 2).astype(np.float32)


def case(kind: str, seed: int) -> tuple[gp.Network, gp.Anchor]:
    """Two inputs, two layers of the kind (of even seeds, the second is a ReLU's), an anchor."""
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, [2, 6, 5, 3])
    net.weights[0] *= 3
    model = net.model()
    model.opset_import[0].version, model.ir_version = 20, 9
    relus = [node for node in model.graph.node if node.op_type == "Relu"]
    for node in relus[: 1 + seed % 2]:
        node.op_type = kind
    # A tie in the middle, so that there is a boundary.
    bias = model.graph.initializer[-1]
    tie = forward64(gp.from_proto(model), np.full((1, 2), 0.6))[0][0]
    shifted = np.frombuffer(bias.raw_data, np.float32) - tie
    bias.raw_data = shifted.astype(np.float32).tobytes()
    network = gp.from_proto(model)
    x = rng.uniform(0.2, 0.5, 2).astype(np.float32)
    return network, gp.Anchor(x, int(run_original(network, x[None])[0].argmax()))


def check(network: gp.Network, anchor: gp.Anchor, norm: Norm, witness: Witness) -> None:
    assert gp.Domain().contains(witness.x)
    assert norm.length(witness.x.astype(float) - anchor.x.astype(float)) == witness.distance
    for logits in (
        run_original(network, witness.x[None])[0],
        forward64(network, witness.x[None])[0][0],
    ):
        assert logits[witness.target] >= logits[anchor.label]


@pytest.mark.parametrize("norm", NORMS.values())
@pytest.mark.parametrize("kind", KINDS)
def test_the_nearest_point_of_a_grid_is_not_nearer(kind: str, norm: Norm) -> None:
    for seed in range(4):
        network, anchor = case(kind, seed)
        other = forward64(network, GRID)[0].argmax(axis=1) != anchor.label
        assert other.any()
        away = norm.lengths(GRID[other] - anchor.x.astype(float))
        found = gp.attack(network, anchor, norm=norm).witness
        assert found is not None
        check(network, anchor, norm, found)
        # The spacing of the grid is 1 / 300.
        assert found.distance >= away.min() - 2.0 / 300
        # Only the best of two targets' ends is finished.
        assert found.distance <= 1.01 * away.min()


@pytest.mark.parametrize("norm", NORMS.values())
@pytest.mark.parametrize("kind", KINDS)
def test_a_polished_point_is_confirmed_and_not_farther(kind: str, norm: Norm) -> None:
    shorter = 0
    for seed in range(4):
        network, anchor = case(kind, seed)
        points = np.random.default_rng(seed).uniform(0, 1, (16, 2)).astype(np.float32)
        query = Query(network, anchor, norm=norm)
        witness = confirm(query, points)
        if witness is None:
            continue
        polished = polish(query, witness)
        assert polished.distance <= witness.distance
        check(network, anchor, norm, polished)
        shorter += polished.distance < 0.9 * witness.distance
    assert shorter >= 1
