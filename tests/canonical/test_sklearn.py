"""Linear models and preparations of scikit-learn exports, against ONNX Runtime on the file."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import graphprune as gp
from graphprune.canonical.linear_models import ML, written_out
from graphprune.errors import UnsupportedError
from graphprune.runtime.reference import forward64
from graphprune.runtime.session import Executable
from tests.canonical.models import agrees, close, model_of, node
from tests.conftest import random_points

RNG = np.random.default_rng(3)
WIDE = [float(c) for c in RNG.normal(size=12)]
THREE: dict[str, Any] = {"coefficients": WIDE, "intercepts": [0.1, -0.2, 0.3]}
ROW: dict[str, Any] = {"coefficients": WIDE[:4], "intercepts": [0.1]}
TWO = {"coefficients": [*(-c for c in WIDE[:4]), *WIDE[:4]], "intercepts": [-0.1, 0.1]}


def classifier(**attributes: Any) -> onnx.ModelProto:
    """A model of one LinearClassifier: label and scores, as skl2onnx writes it."""
    attributes = {"post_transform": "NONE", "multi_class": 1, **attributes}
    made = node("LinearClassifier", "x", "label p", domain=ML, **attributes)
    kind = TensorProto.STRING if "classlabels_strings" in attributes else TensorProto.INT64
    return model_of([made], ["n", 4], ["label", "p"], kinds={"label": kind}, ml=True)


CLASSIFIERS: dict[str, dict[str, Any]] = {
    "ridge": {**THREE, "classlabels_ints": [4, 5, 9]},
    "multinomial": {**THREE, "classlabels_ints": [0, 1, 2], "post_transform": "SOFTMAX"},
    "one against the rest": {
        **THREE, "classlabels_strings": ["a", "b", "c"], "post_transform": "LOGISTIC"
    },
    "two rows": {**TWO, "classlabels_ints": [0, 1], "post_transform": "LOGISTIC"},
    "two rows, softmax": {**TWO, "classlabels_ints": [0, 1], "post_transform": "SOFTMAX"},
    "one row": {**ROW, "classlabels_ints": [3, 7], "post_transform": "LOGISTIC"},
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_linear_classifier(name: str) -> None:
    """Scores and labels of the written out file are those of the file; scores are affine."""
    model = classifier(**CLASSIFIERS[name])
    network = gp.from_proto(model)
    assert network.classes == len(CLASSIFIERS[name].get("classlabels_ints", "abc"))
    x = random_points(network, 40, low=-3, high=3)
    label, scores = Executable(model)({"x": x})
    again, written = Executable(written_out(model))({"x": x})
    assert np.array_equal(label, again)
    assert close(written, scores, 1e-6)
    logits = forward64(network, x)[0]
    names = CLASSIFIERS[name].get("classlabels_ints") or ["a", "b", "c"]
    assert np.array_equal(np.array(names)[logits.argmax(axis=1)], label)
    assert close(Executable(gp.to_proto(network))({"x": x})[0], scores, 1e-6)


def test_a_label_alone_is_that_of_the_scores() -> None:
    model = classifier(**THREE, classlabels_ints=[4, 5, 9], post_transform="SOFTMAX")
    del model.graph.output[1]
    network = gp.from_proto(model)
    x = random_points(network, 40, low=-3, high=3)
    (label,) = Executable(model)({"x": x})
    assert np.array_equal(np.array([4, 5, 9])[forward64(network, x)[0].argmax(axis=1)], label)


def test_the_pipeline_of_a_logistic_regression() -> None:
    """Imputer, feature selection, scaling, classifier, normaliser, ZipMap; a known distance."""
    chosen = {"kept": np.array([3, 0], dtype=np.int64)}
    nodes = [
        node("Imputer", "x", "a", domain=ML, imputed_value_floats=[0.5], replaced_value_float=np.nan),
        node("ArrayFeatureExtractor", "a kept", "b", domain=ML),
        node("Scaler", "b", "c", domain=ML, offset=[1.0, 0.0], scale=[0.5, 2.0]),
        node("LinearClassifier", "c", "label p", domain=ML, coefficients=[-1.0, -0.5, 1.0, 0.5],
             intercepts=[0.0, 0.0], classlabels_ints=[0, 1], post_transform="LOGISTIC"),
        node("Normalizer", "p", "q", domain=ML, norm="L1"),
        node("ZipMap", "q", "z", domain=ML, classlabels_int64s=[0, 1]),
    ]  # fmt: skip
    model = model_of(nodes, ["n", 4], ["label", "z"], kinds={"label": 7}, ml=True, constants=chosen)
    pair = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(1, []))
    model.graph.output[1].type.CopyFrom(helper.make_sequence_type_proto(pair))
    network = gp.from_proto(model)
    # z = 0.5 (x3 - 1) + x0, to which the boundary is |z| / 1.5 away.
    x = np.array([[0.25, 0, 0, 0.75]], dtype=np.float32)
    logits = forward64(network, x)[0][0]
    assert logits[1] - logits[0] == pytest.approx(2 * 0.125)
    found = gp.distance(network, gp.Anchor(x[0], 1), domain=gp.Domain(0.0, 1.0))
    assert found.upper is not None
    assert found.lower <= 0.125 / 1.5 <= found.upper
    assert found.upper - found.lower <= 1e-3


@pytest.mark.parametrize("targets", [1, 3])
def test_a_linear_regressor(targets: int) -> None:
    given: dict[str, Any] = {"coefficients": WIDE[: 4 * targets], "targets": targets}
    more: dict[str, Any] = {"intercepts": [0.5, 1.0, -1.0]} if targets == 3 else {}
    model = model_of(
        [node("LinearRegressor", domain=ML, **given, **more)], ["n", 4], ml=True
    )  # fmt: skip
    agrees(model)


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("LinearClassifier", {**ROW, "classlabels_ints": [3, 7]}),
        ("LinearClassifier", {**THREE, "classlabels_ints": [3, 7, 9], "post_transform": "PROBIT"}),
        ("LinearRegressor", {**ROW, "post_transform": "LOGISTIC"}),
        ("LinearClassifier", {"coefficients": WIDE, "classlabels_ints": [3, 7, 9]}),
        (
            "LinearClassifier",
            {"coefficients": WIDE[:4], "classlabels_ints": [3, 7], "post_transform": "LOGISTIC"},
        ),
        ("TreeEnsembleRegressor", {}),
        ("SVMClassifier", {}),
    ],
)
def test_other_models_are_refused_by_name(op: str, attributes: dict[str, Any]) -> None:
    outputs = ["l", "y"] if op.endswith("Classifier") else ["y"]
    made = helper.make_node(op, ["x"], outputs, "it", domain=ML, **attributes)
    said = {"Linear": "post_transform", "Tree": "decision trees", "SVMCla": "support vectors"}
    reason = next(text for start, text in said.items() if op.startswith(start))
    with pytest.raises(UnsupportedError, match=rf"'it' \(ai.onnx.ml::{op}\).*{reason}"):
        gp.from_proto(model_of([made], ["n", 4], ml=True))


def test_an_imputer_of_a_number_is_refused() -> None:
    made = node("Imputer", domain=ML, imputed_value_floats=[0.5], replaced_value_float=-1.0)
    with pytest.raises(UnsupportedError, match="replaces the number -1"):
        gp.from_proto(model_of([made], ["n", 4], ml=True))
