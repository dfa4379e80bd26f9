"""Scalar functions of the dialect: one class in one file each, found through the registry.

A class states its formulas, where it bends, and where it is defined; intervals, tangents and chords
with proven rounding, gradients and ONNX forms follow from these once for all (``scalar.py``).

Read first: ``tanh.py`` (a short one), ``calculus.py`` (what formulas are written with),
``scalar.py`` (the bounds).
"""

from graphprune.functions.atan import Atan
from graphprune.functions.ceil import Ceil
from graphprune.functions.cos import Cos
from graphprune.functions.cosh import Cosh
from graphprune.functions.elu import Elu
from graphprune.functions.erf import Erf
from graphprune.functions.exp import Exp
from graphprune.functions.factor import Factor
from graphprune.functions.floor import Floor
from graphprune.functions.gelu import Gelu, GeluTanh
from graphprune.functions.hard_swish import HardSwish
from graphprune.functions.log import Log
from graphprune.functions.mish import Mish
from graphprune.functions.nearest_integer import NearestInteger
from graphprune.functions.power import Power
from graphprune.functions.product import Product
from graphprune.functions.reciprocal import Reciprocal
from graphprune.functions.scalar import ScalarFunction
from graphprune.functions.selu import Selu
from graphprune.functions.sigmoid import Sigmoid
from graphprune.functions.sign import Sign
from graphprune.functions.silu import Silu
from graphprune.functions.sin import Sin
from graphprune.functions.sinh import Sinh
from graphprune.functions.softplus import Softplus
from graphprune.functions.softsign import Softsign
from graphprune.functions.sqrt import Sqrt
from graphprune.functions.step import Step
from graphprune.functions.tanh import Tanh

__all__ = [
    "Atan",
    "Ceil",
    "Cos",
    "Cosh",
    "Elu",
    "Erf",
    "Exp",
    "Factor",
    "Floor",
    "Gelu",
    "GeluTanh",
    "HardSwish",
    "Log",
    "Mish",
    "NearestInteger",
    "Power",
    "Product",
    "Reciprocal",
    "ScalarFunction",
    "Selu",
    "Sigmoid",
    "Sign",
    "Silu",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Step",
    "Tanh",
]
