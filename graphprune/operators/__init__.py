"""Operators of the canonical dialect: one class in one file each, found through the registry.

An operator comes in as the attributes and weights of an ONNX node; its class gives its ONNX node,
its adjoint, its absolute-value form and its sparse matrix, from which all analyses follow. Pairs of
operators come in and one goes out where they are the same affine map (``merge.py``).

Read first: ``dense.py`` (the shortest affine operator), ``relu.py`` (an activation), ``merge.py``
(the algebra of fusion).
"""

from graphprune.operators.add import Add
from graphprune.operators.clip import Clip
from graphprune.operators.concat import Concat
from graphprune.operators.conv import Conv
from graphprune.operators.conv_transpose import ConvTranspose
from graphprune.operators.dense import Dense
from graphprune.operators.gather import Gather
from graphprune.operators.matmul import MatMul
from graphprune.operators.pad import Pad
from graphprune.operators.reduce_sum import ReduceSum
from graphprune.operators.registry import REGISTRY, register
from graphprune.operators.relu import Relu
from graphprune.operators.reshape import Reshape
from graphprune.operators.scale import Scale
from graphprune.operators.shift import Shift
from graphprune.operators.transpose import Transpose

__all__ = [
    "REGISTRY",
    "Add",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Dense",
    "Gather",
    "MatMul",
    "Pad",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Scale",
    "Shift",
    "Transpose",
    "register",
]
