"""The condensed network: the same however its rows are kept, and in time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.relaxation import condensed
from graphprune.backends.relaxation.condensed import bounds_of, condense
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.errors import OutOfTimeError
from graphprune.ir import Query
from graphprune.runtime.reference import pre_activations
from graphprune.testing import anchors, networks


@given(st.data(), st.sampled_from([1e-3, 0.1, 1.0]))
def test_dense_and_sparse_rows_are_the_networks(data: st.DataObject, radius: float) -> None:
    network = data.draw(networks())
    ball = Query(network, data.draw(anchors(network))).ball(radius)
    bounds = bounds_of(pre_activation_bounds(network, Boxes.of(ball)))
    found = []
    for share, chunk in ((2.0, 1 << 22), (-1.0, 1)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(condensed, "DENSE", share)
            patch.setattr(condensed, "CHUNK", chunk)
            found.append(condense(network, bounds, ball))
    one, other = found
    assert np.allclose(one.logits, other.logits, rtol=1e-12, atol=1e-14)
    rng = np.random.default_rng(0)
    x = rng.uniform(ball.lower, ball.upper).reshape(network.input_shape)
    values = pre_activations(network, x)
    basis = [x.reshape(-1)]
    for layer, twin, z in zip(one.layers, other.layers, values, strict=True):
        assert np.allclose(layer.rows.toarray(), twin.rows.toarray(), rtol=1e-12, atol=1e-14)
        assert np.array_equal(layer.neurons, twin.neurons)
        own = layer.rows @ np.concatenate(basis) + layer.offset
        assert np.all(np.abs(own - z[0][layer.neurons]) <= layer.error + 1e-9)
        basis.append(np.maximum(z[0][layer.neurons], 0.0))


def test_a_deadline_ends_it(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    ball = Query(tiny, images[0]).ball(0.1)
    bounds = bounds_of(pre_activation_bounds(tiny, Boxes.of(ball)))
    with pytest.raises(OutOfTimeError):
        condense(tiny, bounds, ball, 0.0)
