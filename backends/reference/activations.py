"""Smooth activations for the reference evaluator: the dialect's own float64 values."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from graphprune import operators


class Softplus(OpRun):
    """Without the overflow of log(1 + exp(z))."""

    op_domain = ""

    def _run(self, z: NDArray[Any]) -> tuple[NDArray[Any]]:
        return (operators.Softplus().value(np.asarray(z)),)


class Gelu(OpRun):
    """Which ONNX defines as a function of other operators only."""

    op_domain = ""

    def _run(self, z: NDArray[Any], *, approximate: str = "none") -> tuple[NDArray[Any]]:
        kind = operators.GeluTanh() if approximate == "tanh" else operators.Gelu()
        return (kind.value(np.asarray(z)),)
