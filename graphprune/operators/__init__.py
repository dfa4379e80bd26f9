"""Operators of the canonical dialect: one class in one file each, found through the registry."""

from graphprune.operators.add import Add
from graphprune.operators.conv import Conv
from graphprune.operators.dense import Dense
from graphprune.operators.matmul import MatMul
from graphprune.operators.registry import REGISTRY, register
from graphprune.operators.relu import Relu
from graphprune.operators.reshape import Reshape
from graphprune.operators.scale import Scale
from graphprune.operators.shift import Shift
from graphprune.operators.transpose import Transpose

__all__ = [
    "REGISTRY",
    "Add",
    "Conv",
    "Dense",
    "MatMul",
    "Relu",
    "Reshape",
    "Scale",
    "Shift",
    "Transpose",
    "register",
]
