"""The adversarial point behind an upper bound, by running the model."""

import numpy as np
from numpy.typing import NDArray

from graphprune.check.container import Proof, ProofFile, Refused
from graphprune.check.forms import MORE, UNIT, Floats, gamma, times
from graphprune.check.steps import AffineStep, Model


def check_point(file: ProofFile, model: Model, proof: Proof) -> None:
    """The point lies in the domain, at the stated distance, and its target wins.

    The label's logit may not exceed the target's in ONNX Runtime, nor in float64 by more than
    float64 can be wrong.

    Raises
    ------
    Refused
        One of these does not hold.
    """
    if proof.upper is None:
        if proof.point is not None or proof.target != -1:
            raise Refused("it has a point or a target, but no upper bound")
        return
    point = proof.point
    if point is None or point.shape != model.shape or point.dtype != model.dtype:
        raise Refused("its point is missing or has another shape or type than the model's input")
    if not 0 <= proof.target < model.classes or proof.target == proof.label:
        raise Refused("its point's target is no other class of the model")
    # The domain's ends as the model's input type can express them.
    low, high = point.dtype.type(file.low), point.dtype.type(file.high)
    if np.any(point < low) or np.any(point > high):
        raise Refused("its point lies outside the domain")
    step = np.abs(point.astype(np.float64) - proof.anchor.astype(np.float64))
    if proof.fixed is not None and np.any(step.reshape(-1)[proof.fixed == 1]):
        raise Refused("its point changes an element that is fixed")
    distance = float(np.max(step))
    if abs(distance - proof.upper) > 4.0 * UNIT * max(1.0, float(np.max(np.abs(point)))):
        raise Refused(f"its point is at distance {distance!r}, not {proof.upper!r}")
    if proof.lower > proof.upper:
        raise Refused("its lower bound exceeds its upper bound")
    logits = run(model, point)
    if not np.all(np.isfinite(logits)) or logits[proof.label] > logits[proof.target]:
        raise Refused("its point is not adversarial in ONNX Runtime")
    values, error = evaluate(model, point)
    slack = error[proof.label] + error[proof.target]
    if values[proof.label] - values[proof.target] > slack:
        raise Refused("its point is not adversarial in float64")


def run(model: Model, point: NDArray[np.floating]) -> NDArray[np.floating]:
    """Logits of the file in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(model.data, options, ["CPUExecutionProvider"])
        logits: NDArray[np.floating] = session.run([model.output], model.feeds(point))[0][0]
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise Refused(f"ONNX Runtime does not run the model: {reason}") from None
    return logits


def evaluate(model: Model, point: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Logits in float64, and what they can be wrong by."""
    x = point.astype(np.float64).reshape(-1)
    values = {model.input: (x, np.zeros(len(x)))}
    for step in model.steps:
        value, error = values[step.input]
        if not isinstance(step, AffineStep):
            # relu is 1-Lipschitz.
            values[step.output] = np.maximum(value, 0.0), error
            continue
        size = np.abs(value)
        if step.matrix is not None:
            most = int(np.max(np.diff(step.matrix.indptr), initial=0))
            error = times(abs(step.matrix), error + gamma(most + 8) * size)
            value = times(step.matrix, value)
        for other, more in (
            values[step.input2] if step.input2 is not None else (None, 0.0),
            (step.bias, 0.0),
        ):
            if other is not None:
                error = error + more + gamma(4) * (np.abs(value) + np.abs(other))
                value = value + other
        values[step.output] = value, MORE * error
    return values[model.output]
