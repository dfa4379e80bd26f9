"""Transforms of a network: to graphs that an executor runs, to matrices, to smaller networks.

In comes a canonical :class:`~graphprune.ir.network.Network`; out comes an ONNX model (values,
gradients, intervals, linear relaxations), or a network that computes the same.

Read first: `forward.py` (the smallest one), `relaxation.py` (bounds as a graph), `fuse.py`
(a network to a network).
"""

from graphprune.transforms.forward import forward
from graphprune.transforms.gradient import gradient
from graphprune.transforms.interval import interval, intervals
from graphprune.transforms.optimisation import optimisation
from graphprune.transforms.relaxation import relaxation
from graphprune.transforms.tangent import cotangent, linearise, tangent

__all__ = [
    "cotangent",
    "forward",
    "gradient",
    "interval",
    "intervals",
    "linearise",
    "optimisation",
    "relaxation",
    "tangent",
]
