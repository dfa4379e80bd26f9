"""The reference implementation's runs: the same numbers, and no value kept longer than it is read."""

import tracemalloc

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

import graphprune as gp
from graphprune.functions.evaluator import Evaluator
from graphprune.functions.reference import NEW_OPS
from graphprune.testing import many_operator_models
from tests.canonical.models import model_of, node


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_numbers_are_those_of_onnx(data: st.DataObject) -> None:
    proto = gp.to_proto(gp.from_proto(data.draw(many_operator_models(smooth=True))))
    size = [dim.dim_value or 2 for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).normal(size=size).astype(np.float32)
    feeds = {proto.graph.input[0].name: x}
    expected = ReferenceEvaluator(proto, new_ops=NEW_OPS).run(None, feeds)
    for found, known in zip(Evaluator(proto).run(feeds), expected, strict=True):
        assert np.array_equal(found, known, equal_nan=True)


def test_values_are_given_up_after_their_last_use() -> None:
    steps = [node("Neg", f"h{i}", f"h{i + 1}") for i in range(20)]
    model = model_of([node("Abs", "x", "h0"), *steps, node("Add", "h20 x")], [1, 100_000])
    evaluator, x = Evaluator(model), np.ones((1, 100_000))
    tracemalloc.start()
    (found,) = evaluator.run({"x": x})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.all(found == 2.0)
    assert peak < 5 * x.nbytes


def test_control_flow_reads_values_around_it() -> None:
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2] x, bool c) => (float[2] y) {
          h = Neg (x)
          y = If (c) <
            then_branch = yes () => (float[2] a) { a = Abs (h) },
            else_branch = no () => (float[2] b) { b = Identity (h) } >
        }"""
    model = onnx.parser.parse_model(text)
    (found,) = Evaluator(model).run({"x": np.array([1, -2], np.float32), "c": np.array(True)})
    assert found.tolist() == [1.0, 2.0]
