"""Operators that cannot be supported: for each the reason and what to do about it."""

from collections.abc import Container, Iterable

from graphprune.canonical.memory import NODES, STEPS

_CONTROL = "control flow is not supported: export one fixed branch or an unrolled graph"
_STEPS = (
    "is written out step by step where the number of its steps is known, is the same for every"
    " batch, and makes at most {}: fix the length of the sequence, or export the unrolled graph"
)
_INTEGER = "integer arithmetic rounds computed values: load the float model it was quantised from"
_STATE = (
    "a recurrent layer "
    + _STEPS.format(f"{STEPS} steps")
    + "; samples must not have lengths of their own, and its weights must fit"
)

_TREES = (
    "decision trees are constant in boxes: every distance would be one to the edge of a box; only"
    " the linear models and neural networks of scikit-learn are supported"
)
_KERNEL = "support vectors multiply computed values (or distances of them): not piecewise linear"
_LINEAR_MODEL = (
    "is supported with post_transform NONE, SOFTMAX and LOGISTIC and a row of coefficients per"
    " class (one row for two classes: with LOGISTIC; one target: with NONE), and an intercept for"
    " each row of a classifier"
)

# Operators that give something else at every run, also where all of their inputs are constants.
RANDOM = (
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)
_RANDOM = "draws random numbers; export the model with eval()"

REASONS: dict[str, str] = {
    **dict.fromkeys(RANDOM, _RANDOM),
    "Loop": f"a loop {_STEPS.format(f'{NODES} nodes')}; its trip count must be a"
    " constant above 0, and its condition one that is always true",
    "If": f"chooses between subgraphs: {_CONTROL}",
    "Scan": f"a scan {_STEPS.format(f'{NODES} nodes')}",
    "QuantizeLinear": _INTEGER,
    "DequantizeLinear": _INTEGER,
    "DynamicQuantizeLinear": _INTEGER,
    "QLinearConv": _INTEGER,
    "QLinearMatMul": _INTEGER,
    "ConvInteger": _INTEGER,
    "MatMulInteger": _INTEGER,
    "LSTM": _STATE,
    "GRU": _STATE,
    "RNN": _STATE,
    "TreeEnsemble": _TREES,
    "TreeEnsembleClassifier": _TREES,
    "TreeEnsembleRegressor": _TREES,
    "SVMClassifier": _KERNEL,
    "SVMRegressor": _KERNEL,
    "LinearClassifier": _LINEAR_MODEL,
    "LinearRegressor": _LINEAR_MODEL,
}

REMEDY = "the operator is not supported; docs/operators.md lists what is"


def folds(op_type: str, inputs: Iterable[str], constants: Container[str]) -> bool:
    """True where an operator's outputs are constants, given the constants known."""
    return op_type not in RANDOM and all(name in constants for name in inputs)


def reason(op_type: str, domain: str) -> str:
    """Why an operator without a rule is refused."""
    if domain == "com.microsoft.nchwc":
        return (
            "ONNX Runtime laid this out for the vector instructions of one machine: take the file"
            " before it was optimised, or optimise it at the level 'extended'"
        )
    if domain not in ("", "ai.onnx") and not (domain == "ai.onnx.ml" and op_type in REASONS):
        return f"operators of domain '{domain}' are not supported; export with standard operators"
    return REASONS.get(op_type, REMEDY)
