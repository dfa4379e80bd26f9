"""Properties that must not be called unsat: values above a cut, and polytopes without constraints."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from graphprune.backends.verify import network_for, verify
from graphprune.errors import UnsupportedError
from graphprune.runtime.original import run_file
from graphprune.vnnlib import parse_property
from graphprune.vnnlib.parser import PropertyError
from tests.oracles import Perceptron

# Scores that are far apart, so that the values above differ from them.
BIAS = np.array([20.0, 1.0, 1.0])


def model(folder: Path, inputs: int, ends: list[tuple[str, str]], bias: np.ndarray = BIAS) -> Path:
    """A perceptron with operators above its scores, each an operator and the norm it has."""
    rng = np.random.default_rng(0)
    weights = [0.2 * rng.normal(size=(8, inputs)), rng.normal(size=(3, 8))]
    proto = Perceptron(weights, [np.zeros(8), bias]).model()
    last = proto.graph.output[0].name
    for number, (op_type, norm) in enumerate(ends):
        options = {"domain": "ai.onnx.ml", "norm": norm} if norm else {}
        proto.graph.node.append(helper.make_node(op_type, [last], [f"e{number}"], **options))
        last = f"e{number}"
    if any(norm for _, norm in ends):
        proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    del proto.graph.output[:]
    value = helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, ["N", 3])
    proto.graph.output.append(value)
    onnx.save(proto, folder / "model.onnx")
    return folder / "model.onnx"


def declared(inputs: int, said: str, size: float = 0.1) -> str:
    names = [f"X_{i}" for i in range(inputs)]
    lines = [f"(declare-const {n} Real)" for n in (*names, "Y_0", "Y_1", "Y_2")]
    lines += [f"(assert (>= {n} -{size})) (assert (<= {n} {size}))" for n in names]
    return "\n".join([*lines, said])


TWO = "(assert (or (and (<= X_0 0) {0}) (and (>= X_0 0) {0})))"
ONE = "(assert {0})"


@pytest.mark.parametrize("regions", [ONE, TWO])
@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ([("Normalizer", "L2")], "(and (<= Y_0 1) (>= Y_0 -1))"),
        ([("Softmax", ""), ("Normalizer", "L2")], "(>= (+ Y_0 Y_1 Y_2) 1.0001)"),
        ([("Sigmoid", ""), ("Normalizer", "L1")], "(and (<= Y_0 0.45) (<= Y_1 0.45))"),
    ],
)
def test_values_of_a_normaliser_are_not_those_below_it(
    tmp_path: Path, ends: list[tuple[str, str]], said: str, regions: str
) -> None:
    """It is cut, and what the file says above it is true at the centre: never unsat."""
    path = model(tmp_path, 2, ends, np.array([0.5, 0.4, 0.3]) if len(ends) > 1 else BIAS)
    prop = parse_property(declared(2, regions.format(said)))
    centre = np.zeros((1, 2), np.float32)
    assert any(r.violated_by(run_file(network_for(path, prop), centre)[0]) for r in prop.regions)
    with pytest.raises(UnsupportedError, match="values above"):
        verify(network_for(path, prop), prop, time_limit=60.0)


@pytest.mark.parametrize("regions", [ONE, TWO])
def test_the_order_of_what_a_normaliser_makes_is_that_of_the_scores(
    tmp_path: Path, regions: str
) -> None:
    path = model(tmp_path, 2, [("Normalizer", "L2")])
    prop = parse_property(declared(2, regions.format("(<= Y_0 Y_1)")))
    assert verify(network_for(path, prop), prop, time_limit=60.0).answer == "unsat"


@pytest.mark.parametrize("inputs", [2, 25])
@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("", "(assert (> X_0 0.05)) (assert (< X_0 0.0500000000000000000000000000001))"),
        ("Sigmoid", "(assert (< Y_0 1))"),
        ("Softmax", "(assert (<= (+ Y_0 Y_1 Y_2) 1))"),
    ],
)
def test_what_every_point_may_satisfy_is_not_unsat(
    tmp_path: Path, inputs: int, end: str, said: str
) -> None:
    """True in the reals, though no float confirms it: the answer is not that nothing does."""
    path = model(tmp_path, inputs, [(end, "")] if end else [], BIAS + 40.0)
    prop = parse_property(declared(inputs, said))
    verdict = verify(network_for(path, prop), prop, time_limit=60.0)
    assert verdict.answer in ("sat", "unknown")
    assert verdict.answer == "sat" or "every point of the box" in verdict.reason


@pytest.mark.parametrize(
    "said",
    [
        "(assert (<= (* 1e-300 X_0) 1e300))",
        "(assert (<= (* 1e300 1e300 Y_0) 1))",
        "(assert (<= X_1 (* 1e300 1e300)))",
        "(assert (>= (+ (* 1e-300 1e-300 X_0) Y_0) 1))",
        "(assert (<= Y_0 (* 1e300 1e300)))",
    ],
)
def test_numbers_that_no_float_holds_are_refused(said: str) -> None:
    with pytest.raises(PropertyError, match="1e300"):
        parse_property(declared(2, said))
