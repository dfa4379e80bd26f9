"""Transforms: network to graph. Each returns an ONNX model for an executor to run."""

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
