"""Bounds of pre-activations and rows over boxes and balls, and certified radii.

In come a network, :class:`Boxes` and a method; out come :class:`LayerBounds` of every activation
layer, and lower bounds of linear combinations of the logits. Bounds hold in real arithmetic: every
rounding is paid for.

Read first: `propagate.py` (layer by layer, any engine), `protocol.py` (an engine's four methods),
`certify.py` (the largest radius whose margins are positive).
"""

from graphprune.bounds.engines import using_engine
from graphprune.bounds.problem import METHODS, Boxes, LayerBounds, Method, round_down, round_up
from graphprune.bounds.propagate import (
    Forms,
    PreActivationBounds,
    linear_bounds,
    optimised_bounds,
    pre_activation_bounds,
)
from graphprune.bounds.protocol import Ascent

__all__ = [
    "METHODS",
    "Ascent",
    "Boxes",
    "Forms",
    "LayerBounds",
    "Method",
    "PreActivationBounds",
    "linear_bounds",
    "optimised_bounds",
    "pre_activation_bounds",
    "round_down",
    "round_up",
    "using_engine",
]
