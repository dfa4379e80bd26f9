"""Several input tensors are one point."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import graphprune as gp
from graphprune.cli.app import run
from graphprune.runtime.original import run_file, run_original
from graphprune.runtime.reference import forward64
from tests.canonical.models import close, encloses, node

FLOAT, DOUBLE, HALF = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16
RNG = np.random.default_rng(0)


def model_of_inputs(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[int | str]]],
    constants: dict[str, np.ndarray] | None = None,
) -> onnx.ModelProto:
    given = [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()]
    out = [helper.make_tensor_value_info("y", next(iter(inputs.values()))[0], None)]
    tensors = [numpy_helper.from_array(c, n) for n, c in (constants or {}).items()]
    graph = helper.make_graph(nodes, "m", given, out, tensors)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def two(batch: int | str = "n", **more: Any) -> onnx.ModelProto:
    """Scores of a state (3) and an image (1, 2, 2)."""
    nodes = [
        node("Flatten", "image", "f"), node("Concat", "state f", "c", axis=1),
        node("MatMul", "c w", "z"), node("Relu", "z", "r"), node("MatMul", "r v"),
    ]  # fmt: skip
    constants = {
        "w": RNG.normal(size=(7, 6)).astype(np.float32),
        "v": RNG.normal(size=(6, 4)).astype(np.float32),
    }
    shapes: dict[str, Any] = {"state": (FLOAT, [batch, 3]), "image": (FLOAT, [batch, 1, 2, 2])}
    return model_of_inputs(nodes, shapes | more, constants)


def parted(model: onnx.ModelProto, network: gp.Network, x: np.ndarray) -> np.ndarray:
    """The file's scores in ONNX's reference implementation, point by point."""
    results = []
    for point in x:
        feeds: dict[str, np.ndarray] = {}
        start = 0
        for value in model.graph.input:
            dims = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
            end = start + int(np.prod(dims))
            kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            feeds[value.name] = point[start:end].reshape(dims).astype(kind)
            start = end
        scores = next(iter(ReferenceEvaluator(model).run(None, feeds)))
        results.append(np.asarray(scores).reshape(-1))
    return np.stack(results)


def agrees(model: onnx.ModelProto, tolerance: float = 1e-5) -> gp.Network:
    network = gp.from_proto(model)
    x = np.random.default_rng(1).uniform(-1, 1, (4, *network.input_shape)).astype(np.float32)
    expected = parted(model, network, x)
    assert close(forward64(network, x)[0], expected, tolerance)
    assert close(run_original(network, x), expected, tolerance)
    exported = gp.to_proto(network)
    onnx.checker.check_model(exported, full_check=True)
    assert [v.name for v in exported.graph.input] == [v.name for v in model.graph.input]
    assert close(run_original(gp.from_proto(exported), x), expected, tolerance)
    assert close(run_file(network, x), expected, tolerance)
    encloses(network)
    return network


@pytest.mark.parametrize("batch", ["n", 1])
def test_two_inputs_are_one_point(batch: int | str) -> None:
    network = agrees(two(batch))
    assert network.input_shape == (7,)
    assert [part.name for part in network.source.inputs] == ["state", "image"]


def test_inputs_without_a_batch() -> None:
    nodes = [node("Concat", "a b", "c", axis=0), node("MatMul", "c w")]
    weight = {"w": RNG.normal(size=(5, 3)).astype(np.float32)}
    agrees(model_of_inputs(nodes, {"a": (FLOAT, [3]), "b": (FLOAT, [2])}, weight))


@pytest.mark.parametrize("batch", ["n", 1])
def test_one_input_with_a_batch_and_one_without(batch: int | str) -> None:
    """Points are run one by one then."""
    network = agrees(
        model_of_inputs([node("Add", "a b")], {"a": (FLOAT, [batch, 3]), "b": (FLOAT, [3])})
    )
    assert network.source.batch_size == 1


def test_a_fixed_batch_of_several() -> None:
    nodes = [node("Concat", "a b", axis=1)]
    model = model_of_inputs(nodes, {"a": (FLOAT, [3, 2]), "b": (FLOAT, [3, 1])})
    network = gp.from_proto(model)
    assert network.source.batch_size == 3
    x = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(run_original(network, x), x)


@pytest.mark.parametrize(("first", "second"), [(FLOAT, HALF), (HALF, FLOAT), (FLOAT, DOUBLE)])
def test_inputs_of_different_types(first: int, second: int) -> None:
    nodes = [node("Cast", "b", "c", to=first), node("Concat", "a c", axis=1)]
    model = model_of_inputs(nodes, {"a": (first, ["n", 2]), "b": (second, ["n", 3])})
    agrees(model, 2e-3)


def test_an_integer_input_is_refused_with_a_remedy() -> None:
    model = two(step=(TensorProto.INT64, ["n", 1]))
    cast = node("Cast", "step", "s", to=FLOAT)
    add = node("Add", "s state", "state_")
    model.graph.node.insert(0, add)
    model.graph.node.insert(0, cast)
    model.graph.node[3].input[0] = "state_"
    with pytest.raises(
        gp.GraphpruneError, match="input 'step' has type INT64.*constant in its place"
    ):
        gp.from_proto(model)
    # One that the scores do not hang on is no matter.
    assert gp.from_proto(two(step=(TensorProto.INT64, ["n", 1]))).input_shape == (7,)


def test_anchors_by_name(tmp_path: Path) -> None:
    network = gp.from_proto(two())
    state, image = RNG.random((3, 3)), RNG.random((3, 1, 2, 2))
    both = np.concatenate([state, image.reshape(3, 4)], axis=1)
    np.savez(tmp_path / "a.npz", state=state, image=image, y=np.array([0, 1, 2]))
    anchors = gp.load_anchors(tmp_path / "a.npz", network)
    assert [a.label for a in anchors] == [0, 1, 2]
    assert np.array_equal([a.x for a in anchors], both)
    np.savez(tmp_path / "flat.npz", x=both)
    assert np.array_equal([a.x for a in gp.load_anchors(tmp_path / "flat.npz", network)], both)
    np.savez(tmp_path / "b.npz", state=(255 * state).astype(np.uint8), image=image)
    assert np.all(gp.load_anchors(tmp_path / "b.npz", network)[0].x <= 1)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"state": np.zeros((2, 3))}, "inputs state, image; the file has no array 'image'"),
        ({"state": np.zeros((2, 3)), "image": np.zeros((1, 4))}, "different numbers of points"),
        (
            {"state": np.zeros((2, 4)), "image": np.zeros((2, 4))},
            r"'state': points have shape \(4,\)",
        ),
        ({"other": np.zeros((2, 7))}, "no array 'state'"),
    ],
)
def test_anchors_that_do_not_fit(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(gp.AnchorError, match=said):
        gp.load_anchors(tmp_path / "a.npz", gp.from_proto(two()))


def test_properties_number_the_inputs_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [node("Concat", "a b", axis=1)]
    onnx.save(
        model_of_inputs(nodes, {"a": (FLOAT, [1, 2]), "b": (FLOAT, [1, 1])}), tmp_path / "m.onnx"
    )
    declared = "".join(f"(declare-const {v}_{i} Real)" for v in "XY" for i in range(3))
    box = "".join(f"(assert (>= X_{i} {i}))(assert (<= X_{i} {i}.5))" for i in range(3))
    for limit, verdict in (("2.25", "sat"), ("2.75", "unsat")):
        (tmp_path / "p.vnnlib").write_text(f"{declared}{box}(assert (>= Y_2 {limit}))")
        assert run(["verify", str(tmp_path / "m.onnx"), str(tmp_path / "p.vnnlib"), "--quiet"]) == 0
        assert capsys.readouterr().out.splitlines()[0] == verdict


def test_distances_of_two_inputs() -> None:
    """The nearest point moves both inputs: |a - b| over two."""
    nodes = [node("Sub", "a b", "d"), node("Neg", "d", "e"), node("Concat", "d e", axis=1)]
    network = gp.from_proto(
        model_of_inputs(nodes, {"a": (FLOAT, ["n", 1]), "b": (FLOAT, ["n", 1])})
    )
    found = gp.distance(network, gp.Anchor(np.array([0.75, 0.25]), 0))
    assert found.status == "exact"
    assert found.upper == pytest.approx(0.25, abs=1e-5)
