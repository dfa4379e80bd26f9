"""The adversarial point behind an upper bound, by running the model."""

import numpy as np
from numpy.typing import NDArray

from graphprune.check.asked import Asked, slack_of, wins
from graphprune.check.container import Refused
from graphprune.check.forms import MORE, Floats, gamma, times
from graphprune.check.steps import AffineStep, Model


def check_point(asked: Asked) -> None:
    """The point lies in the domain, at the stated distance, and its target wins.

    The label's logit may not exceed the target's in ONNX Runtime, nor in float64 by more than
    float64 can be wrong.

    Raises
    ------
    Refused
        One of these does not hold.
    """
    proof, model = asked.proof, asked.file
    if proof.upper is None:
        if proof.point is not None or proof.target != -1:
            raise Refused("it has a point or a target, but no upper bound")
        return
    if not 0 <= proof.target < model.classes or proof.target == proof.label:
        raise Refused("its point's target is no other class of the model")
    if proof.counting is not None and proof.target not in asked.counting:
        raise Refused("its point's target is none of the classes that count")
    _check_form(asked)
    x = asked.image()
    # The domain's ends as the model's input type can express them.
    low, high = (x.dtype.type(end) for end in asked.ends)
    if np.any(x < low) or np.any(x > high):
        raise Refused("its point lies outside the domain")
    z = asked.variables()
    distance = asked.norm.length(z - asked.center)
    if abs(distance - proof.upper) > _rounding(asked, x):
        raise Refused(f"its point is at distance {distance!r}, not {proof.upper!r}")
    if proof.lower > proof.upper:
        raise Refused("its lower bound exceeds its upper bound")
    logits = run(model, asked.fed(x))
    if not np.all(np.isfinite(logits)) or not wins(logits, proof.label, proof.top_k, proof.target):
        raise Refused("its point is not adversarial in ONNX Runtime")
    own = asked.model if asked.directed else asked.raw
    values, error = evaluate(own, z if asked.directed else x)
    values, error = values[: model.classes], error[: model.classes]
    # By no more than float64 can be wrong, for the target and for as many others.
    lifted = values + error
    lifted[proof.label] = values[proof.label] - error[proof.label]
    if not wins(lifted, proof.label, proof.top_k, proof.target):
        raise Refused("its point is not adversarial in float64")


def _check_form(asked: Asked) -> None:
    """Refuse a point of another shape or type, and one that moves what may not move."""
    proof, model, point = asked.proof, asked.file, asked.proof.point
    shape, kind = (asked.model.shape, np.dtype(np.float64)) if asked.directed else (
        model.shape, model.dtype
    )  # fmt: skip
    if point is None or point.shape != shape or point.dtype != kind:
        raise Refused("its point is missing or has another shape or type than the model's input")
    if asked.directed:
        if np.any(point < asked.low) or np.any(point > asked.high):
            raise Refused("its point lies beyond the ends of its directions")
        return
    step = point.astype(np.float64).reshape(-1) - proof.anchor.astype(np.float64).reshape(-1)
    if np.any(step[asked.low == asked.high]):
        raise Refused("its point changes an element that is fixed")


def _rounding(asked: Asked, x: NDArray[np.floating]) -> float:
    """The most that a distance in float64 can differ from another computation of it."""
    if asked.directed:
        return slack_of(asked.variables(), asked.norm)
    size = np.abs(x.astype(np.float64).reshape(-1)) + np.abs(
        asked.proof.anchor.astype(np.float64).reshape(-1)
    )
    front = asked.proof.front
    if front is not None and front.weights is not None:
        moves = front.weights > 0.0
        size = np.divide(size, front.weights, out=np.zeros(len(size)), where=moves)
    return slack_of(size, asked.norm)


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
