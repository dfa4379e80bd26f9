"""Networks of softmax, normalisations, attention and recurrent cells, beside samples."""

import numpy as np
import pytest

import graphprune as gp
from graphprune.bounds import METHODS, Boxes, linear_bounds, pre_activation_bounds, using_engine
from graphprune.region import Box
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from tests.functions.compositions import COMPOSED
from tests.functions.test_networks import anchor_of, check_gradients, network_of

KINDS = list(COMPOSED)
# Beside a smooth function below, or above.
PAIRS = [pair for i, kind in enumerate(KINDS) for pair in [(("Tanh", kind), (kind, "silu"))[i % 2]]]


@pytest.mark.parametrize("kinds", PAIRS, ids=str)
def test_bounds_of_compositions_hold(kinds: tuple[str, str]) -> None:
    network = network_of(*kinds)
    rng = np.random.default_rng(1)
    centres, radius = rng.uniform(0, 1, (3, 1, 2)), np.array([0.1, 0.02, 1e-5]).reshape(3, 1, 1)
    boxes = [Box(c[0] - r[0], c[0] + r[0]) for c, r in zip(centres, radius, strict=True)]
    points = centres + radius * rng.uniform(-1, 1, (3, 400, 2)).round(rng.integers(0, 2))
    logits, *values = (v.reshape(3, 400, -1) for v in forward64(network, points.reshape(-1, 2)))
    rows = np.array([[1.0, -1.0, 0.0], [-1.0, 0.0, 1.0]])
    least = (logits @ rows.T).min(axis=1)
    bounded = 0
    for engine in ("compact", "graph"):
        for method in METHODS:
            for i, box in enumerate(boxes):
                with using_engine(engine):
                    try:
                        layers = pre_activation_bounds(network, Boxes.of(box), method)
                        found = linear_bounds(network, Boxes.of(box), layers, rows, method)[0]
                    except gp.GraphpruneError:  # beyond a domain, on larger boxes
                        assert i < 2
                        continue
                for layer, z in zip(layers, values, strict=True):
                    assert np.all(z[i] >= layer.lower), (engine, method, i)
                    assert np.all(z[i] <= layer.upper), (engine, method, i)
                assert np.all(found <= least[i] + 1e-12 * (1 + np.abs(least[i]))), (engine, method)
                bounded += 1
                if method == "crown" and i == 2:
                    assert np.all(found >= least[i] - 0.02 * (1 + np.abs(least[i]))), engine
    assert bounded >= 2 * len(METHODS)


@pytest.mark.parametrize("kinds", PAIRS, ids=str)
def test_gradients_of_compositions_are_differences(kinds: tuple[str, str]) -> None:
    check_gradients(network_of(*kinds))


@pytest.mark.parametrize("kinds", PAIRS, ids=str)
def test_distances_of_compositions_are_those_of_a_grid(kinds: tuple[str, str]) -> None:
    network = network_of(*kinds)
    anchor = anchor_of(network)
    axis = np.linspace(0.0, 1.0, 401)
    x = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    margins = forward64(network, x)[0]
    others = np.delete(margins, anchor.label, axis=1).max(axis=1) - margins[:, anchor.label]
    away = np.abs(x - anchor.x).max(axis=1)
    clear = away[others > 1e-9].min(initial=np.inf)
    result = gp.distance(network, anchor, time_limit=4.0)
    assert result.lower <= clear * (1 + 1e-9)
    if result.upper is not None:
        assert result.upper <= clear + 2.0 / 400 or result.status != "exact"
        assert result.lower > 0.0
    written = gp.from_proto(gp.to_proto(network))
    single = x[::997].astype(np.float32)
    assert np.allclose(run_original(written, single), run_original(network, single), atol=1e-4)
