"""Segments as matrices: equal to the graph, with sizes that bound the composition's rounding."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import graphprune as gp
from graphprune.ir.network import affine, data_inputs, is_affine, sample_shape, size
from graphprune.runtime.reference import run_segment
from graphprune.testing import networks
from graphprune.transforms.matrix import _by_units, matrices, segment_matrix


@given(networks(), st.integers(0, 1000))
def test_matrices_apply_the_segment(network: gp.Network, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for segment in network.segments:
        sources = [rng.normal(size=(2, *sample_shape(s))) for s in segment.sources]
        expected = run_segment(network, segment, sources, linear=False).reshape(2, -1)
        found = segment_matrix(segment)
        value = np.repeat(found.offset[None], 2, 0)
        for weight, size_, x in zip(found.weights, found.sizes, sources, strict=True):
            value = value + (weight @ x.reshape(2, -1).T).T
            assert np.all((abs(weight) - size_).toarray() <= 1e-12)
        assert np.allclose(value, expected if segment.sources else expected[:1], atol=1e-9)
        assert np.all(np.abs(found.offset) <= found.offset_size * (1 + 1e-12))
        assert found.weights == () or found.weights[0].shape[0] == size(segment.target)


@given(networks())
def test_direct_matrices_equal_the_pushed_units(network: gp.Network) -> None:
    for node in network.nodes:
        if is_affine(node):
            shapes = [sample_shape(v) for v in data_inputs(node)]
            for i, direct in enumerate(matrices(affine(node), shapes)):
                pushed = _by_units(affine(node), shapes, i)
                assert np.allclose(direct.toarray(), pushed.toarray())
