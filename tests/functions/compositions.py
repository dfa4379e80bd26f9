"""Layers of several functions and products, of a value ``z`` (n, width) to one ``h`` alike."""

from typing import Any

import numpy as np


def _unequal(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


CONSTANTS: dict[str, np.ndarray] = {
    "axis0": np.array([0]), "axis1": np.array([1]), "axis2": np.array([2]),
    "axes23": np.array([2, 3]), "one": np.array([1.5], np.float32), "none": np.array([0.25], np.float32),
    "lstm_w": _unequal(1, 4, 1), "lstm_r": _unequal(1, 4, 1), "lstm_b": _unequal(1, 8),
    "gru_w": _unequal(1, 3, 1), "gru_r": _unequal(1, 3, 1), "gru_b": _unequal(1, 6),
}  # fmt: skip
# From (n, width) to steps, one number each, and back.
STEPS: list[tuple[Any, ...]] = [
    ("Transpose", "z", "s", {"perm": [1, 0]}),
    ("Unsqueeze", "s axis2", "t"),
]
BACK: list[tuple[Any, ...]] = [
    ("Squeeze", "u axis1", "v"),
    ("Squeeze", "v axis2", "w"),
    ("Transpose", "w", "h", {"perm": [1, 0]}),
]
COMPOSED: dict[str, list[tuple[Any, ...]]] = {
    "softmax": [("Softmax", "z", "h", {"axis": 1})],
    "log softmax": [("LogSoftmax", "z", "h", {"axis": 1})],
    "standardised": [("MeanVarianceNormalization", "z", "h", {"axes": [1]})],
    "instance": [
        ("Unsqueeze", "z axis1", "s"), ("InstanceNormalization", "s one none", "t"),
        ("Squeeze", "t axis1", "h"),
    ],
    "length": [("LpNormalization", "z", "h", {"axis": 1, "p": 2})],
    "root of squares": [("ReduceL2", "z axis1", "s"), ("Div", "z s", "h")],
    "neighbours": [
        ("Unsqueeze", "z axes23", "s"), ("LRN", "s", "t", {"size": 3, "alpha": 0.5, "bias": 1.0}),
        ("Squeeze", "t axes23", "h"),
    ],
    "sum of exponentials": [("ReduceLogSumExp", "z axis1", "s"), ("Sub", "z s", "h")],
    "outer": [("Tanh", "z", "s"), ("Einsum", "z s", "h", {"equation": "ni,nj->ni"})],
    "attention": [
        ("Unsqueeze", "z axis2", "s"), ("Unsqueeze", "z axis1", "t"), ("MatMul", "s t", "u"),
        ("Softmax", "u", "v", {"axis": 2}), ("MatMul", "v s", "w"), ("Squeeze", "w axis2", "h"),
    ],
    "lstm": [*STEPS, ("LSTM", "t lstm_w lstm_r lstm_b", "u", {"hidden_size": 1}), *BACK],
    "gru": [*STEPS, ("GRU", "t gru_w gru_r gru_b", "u", {"hidden_size": 1}), *BACK],
}  # fmt: skip
