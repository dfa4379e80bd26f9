"""Networks written anew, operator by operator."""

import numpy as np
import onnx_ir as ir
from hypothesis import given

import graphprune as gp
from graphprune.ir.network import operator, pre_activation
from graphprune.ir.rebuild import NetworkBuilder, Values, map_operators
from graphprune.operators import Relu
from graphprune.testing import assert_equivalent, networks


@given(networks())
def test_a_map_that_changes_nothing_copies_the_network(network: gp.Network) -> None:
    copy = map_operators(network, lambda builder, node, values: None)
    assert copy.source is network.source
    assert [n.name for n in copy.nodes] == [n.name for n in network.nodes]
    assert [operator(n) for n in copy.nodes] == [operator(n) for n in network.nodes]
    points = np.random.default_rng(0).uniform(size=(5, *network.input_shape))
    assert_equivalent(network, copy, on=points)


@given(networks())
def test_values_that_nothing_reads_any_more_are_left_out(network: gp.Network) -> None:
    def skip(builder: NetworkBuilder, node: ir.Node, values: Values) -> ir.Value | None:
        """Take every ReLU for the identity."""
        return values[pre_activation(node)] if isinstance(operator(node), Relu) else None

    straight = map_operators(network, skip)
    assert not straight.activations
    assert straight.input_shape == network.input_shape
