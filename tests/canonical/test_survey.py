"""Everything that keeps a file from being read, at once."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from graphprune.canonical.survey import survey
from graphprune.ir.load import ModelFile, check_model
from tests.canonical.models import model_of, node
from tests.canonical.test_fold import f32, i64
from tests.canonical.test_inputs import model_of_inputs


def lines(model: onnx.ModelProto, output: str | None = None) -> list[str]:
    return survey(check_model(ModelFile(model, None, "")), output=output).lines


def drawn(source: str, out: str) -> list[onnx.NodeProto]:
    return [node("Bernoulli", source, out)]


def test_nothing_where_a_file_loads() -> None:
    assert lines(model_of([node("Relu")], ["n", 3])) == []


def test_every_node_is_met_also_above_refused_ones() -> None:
    nodes = [
        *drawn("x", "a"),
        *drawn("a", "b"),
        *drawn("b", "c"),
        *drawn("c", "d"),
        node("Mod", "d d", "e", fmod=1),
        node("RandomNormalLike", "e"),
    ]
    found = lines(model_of(nodes, ["n", 3]))
    assert len(found) == 3
    assert found[0].startswith(
        "Bernoulli, 4 nodes ('the Bernoulli a', 'the Bernoulli b', 'the Bernoulli c' and 1 more): draws"
    )
    assert "Mod, 1 node ('the Mod e'): the operator is not supported" in found[1]
    assert "RandomNormalLike, 1 node ('the RandomNormalLike y')" in found[2]


def test_dynamic_axes_are_said_and_looked_past() -> None:
    weight = {"w": np.ones((1, 1, 3, 3), np.float32)}
    nodes = [
        node("Conv", "x w", "c"),
        *drawn("c", "d"),
        node("GlobalAveragePool", "d", "p"),
        node("Flatten", "p"),
    ]
    found = lines(model_of(nodes, ["n", 1, "h", "w"], constants=weight))
    assert len(found) == 2
    assert "--fix-shape x=1,1,SIZE,SIZE" in found[0]
    assert "random" in found[1]


def test_competing_outputs_are_all_looked_at() -> None:
    nodes = [*drawn("x", "a"), node("Mod", "x x", "b", fmod=1), node("Relu", "x", "c")]
    found = lines(model_of(nodes, ["n", 3], ["a", "b", "c"]))
    assert "several outputs could be the scores" in found[0]
    assert [text.split(",")[0] for text in found[1:]] == ["Bernoulli", "Mod"]
    (only,) = lines(model_of(nodes, ["n", 3], ["a", "b", "c"]), "b")
    assert only.startswith("Mod")


def test_every_infinite_weight_beside_refused_nodes() -> None:
    nodes = [
        node("Add", "x c", "d"),
        *drawn("d", "e"),
        node("Mul", "e k", "f"),
        node("Relu", "f"),
    ]
    constants = {"c": f32(np.inf), "k": f32(np.nan)}
    found = lines(model_of(nodes, ["n", 3], constants=constants))
    assert any("'c' holds infinite" in text for text in found)
    assert any("'k' holds NaN" in text for text in found)
    assert any(text.startswith("Bernoulli, 1 node") for text in found)


def test_an_input_of_integers_does_not_hide_operators() -> None:
    inputs: dict[str, Any] = {
        "x": (TensorProto.FLOAT, ["n", 3]),
        "i": (TensorProto.INT64, ["n", 3]),
    }
    nodes = [node("Cast", "i", "f", to=1), node("Add", "x f", "a"), node("Mod", "a a", fmod=1)]
    found = lines(model_of_inputs(nodes, inputs))
    assert "input 'i' has type INT64" in found[0]
    assert found[1].startswith("Mod, 1 node")


def test_the_batch_has_its_name() -> None:
    nodes = [node("Reshape", "x t", "a"), *drawn("a", "b"), node("Flatten", "b")]
    found = lines(model_of(nodes, ["many", 2, 4], constants={"t": i64(3, 8)}))
    assert "cannot reshape (many, 2, 4)" in found[0]
    assert not any("10007" in text for text in found)
    assert "random" in found[1]
