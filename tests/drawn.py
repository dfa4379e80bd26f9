"""Strategies of small fully connected networks that independent oracles answer for."""

import numpy as np
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.search.settings import TreeSettings
from graphprune.testing.arrays import layers, points
from tests.oracles import Perceptron


def perceptrons(*widths: list[int]) -> st.SearchStrategy[Perceptron]:
    """Networks of one of these `widths`, which shrink to the first of them."""
    return layers(st.sampled_from(widths)).map(lambda drawn: Perceptron(*drawn))


@st.composite
def labelled(
    draw: st.DrawFn, *widths: list[int], low: float = 0.1, high: float = 0.9
) -> tuple[Perceptron, gp.Network, gp.Anchor]:
    """A perceptron, its network, and a point of [low, high] with the class it has there."""
    net = draw(perceptrons(*widths))
    x = draw(points(net.weights[0].shape[1], low=low, high=high)).astype(np.float32)
    label = int(np.argmax(net.logits(x.astype(float))))
    return net, gp.from_proto(net.model()), gp.Anchor(x, label)


def tree_settings() -> st.SearchStrategy[TreeSettings]:
    """Trees in either order, with programs before or after the ascent, often and seldom."""
    return st.builds(
        TreeSettings,
        depth_first=st.sampled_from([0.9, 0.0]),
        refresh_splits=st.sampled_from([4, 1]),
        refresh_share=st.sampled_from([1e9, 0.0]),
        lp_most=st.sampled_from([1e9, 0.0]),
        lp_splits=st.sampled_from([4, 1]),
        lp_share=st.sampled_from([8, 1000]),
        lp_first=st.booleans(),
        by_bound=st.booleans(),
    )
