"""Plugins: the documented examples, through real entry points."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graphprune.errors import GraphpruneError, PluginError
from graphprune.passes.base import ANALYSES
from graphprune.pipeline.text import known_passes
from graphprune.plugins import Registry
from graphprune.region import NORMS, norm_of, register_norm
from graphprune.region.norms.l2 import L2Norm

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def install(folder: Path, modules: dict[str, str], entry_points: str) -> None:
    """A distribution as pip leaves it: modules, metadata and entry points."""
    for name, code in modules.items():
        (folder / f"{name}.py").write_text(code)
    info = folder / "acme_graphprune-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-graphprune\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(entry_points)


def documented() -> dict[str, str]:
    """Modules of docs/extending.md by name."""
    found = re.findall(r"`(\w+)\.py`:\n\n```python\n(.*?)```", PAGE, flags=re.S)
    return dict(found)


def entry_points() -> str:
    """Entry points of docs/extending.md, as an installed distribution has them."""
    found = re.search(r"```toml\n(.*?)```", PAGE, flags=re.S)
    assert found is not None
    return re.sub(r'\[project\.entry-points\."(.*?)"\]', r"[\1]", found[1]).replace('"', "")


def graphprune(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "graphprune", *arguments],
        capture_output=True, text=True, cwd=folder, check=False, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip


def custom_model() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    tensors = {"w": rng.normal(size=(5, 3)), "v": rng.normal(size=(2, 5))}
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["z"], transB=1),
        helper.make_node("ShiftedRelu", ["z"], ["h"], domain="com.acme", name="it", shift=0.25),
        helper.make_node("Gemm", ["h", "v"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes, "custom", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in tensors.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]
    return helper.make_model(graph, ir_version=8, opset_imports=opsets)


def test_each_example_is_short() -> None:
    modules = documented()
    assert set(modules) == set(re.findall(r'= "(acme_\w+)"', PAGE))
    for code in modules.values():
        assert len(code.strip().splitlines()) <= 30


def test_the_documented_plugin_works(tmp_path: Path) -> None:
    install(tmp_path, documented(), entry_points())
    listed = graphprune(tmp_path, "passes")
    assert "acme-freeze" in listed.stdout, listed.stderr
    assert "layer=1  (int)" in listed.stdout

    model = custom_model()
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    x = np.random.default_rng(1).random((4, 3)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    done = graphprune(tmp_path, "opt", "m.onnx", "-o", "canonical.onnx")
    assert done.returncode == 0, done.stderr
    w, v = (numpy_helper.to_array(t) for t in model.graph.initializer)
    expected = np.maximum(x @ w.T - np.float32(0.25), 0) @ v.T
    import onnxruntime

    written = onnxruntime.InferenceSession(
        tmp_path / "canonical.onnx", providers=["CPUExecutionProvider"]
    )
    assert np.allclose(written.run(None, {"x": x})[0], expected, atol=1e-5)

    done = graphprune(
        tmp_path, "opt", "m.onnx", "-o", "frozen.onnx", "--anchors", "x.npz", "--index", "2",
        "--verify-each", "--passes", "acme-freeze{layer=1}, fuse-affine",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    frozen = onnxruntime.InferenceSession(
        tmp_path / "frozen.onnx", providers=["CPUExecutionProvider"]
    )
    got = frozen.run(None, {"x": x})[0]
    assert np.allclose(got[2], expected[2], atol=1e-5)
    assert np.allclose(got, got[2], atol=1e-5)


def test_the_documented_threat_model_works(tmp_path: Path) -> None:
    install(tmp_path, documented(), entry_points())
    listed = graphprune(tmp_path, "passes", "acme-tint")
    assert "most=1.0  (float)" in listed.stdout, listed.stderr
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    graph = helper.make_graph(
        nodes, "m", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(np.array([[1, -1], [-1, 1]], np.float32), "w")],
    )  # fmt: skip
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    np.savez(tmp_path / "x.npz", x=np.array([[0.6, 0.3]], np.float32))
    done = graphprune(
        tmp_path, "distance", "m.onnx", "--anchors", "x.npz", "--threat", "acme-tint{most=0.5}"
    )
    assert "0.15000" in done.stdout, done.stderr


def test_the_documented_edit_of_the_graph_works(tmp_path: Path) -> None:
    install(tmp_path, documented(), entry_points())
    (tmp_path / "m.onnx").write_bytes(custom_model().SerializeToString())
    done = graphprune(
        tmp_path, "opt", "m.onnx", "-o", "coarse.onnx", "--passes", "acme-coarse{step=0.5}"
    )
    assert done.returncode == 0, done.stderr
    written = onnx.load(tmp_path / "coarse.onnx").graph.initializer
    weights = [numpy_helper.to_array(t) for t in written if len(t.dims) == 2]
    assert len(weights) == 2
    assert all(np.allclose(w / 0.5, np.round(w / 0.5), atol=1e-6) for w in weights)


def test_the_documented_test_of_the_rule_passes_and_can_fail(tmp_path: Path) -> None:
    install(tmp_path, documented(), entry_points())
    (code,) = (c for c in re.findall(r"```python\n(.*?)```", PAGE, flags=re.S) if "def test_" in c)
    (tmp_path / "test_good.py").write_text(code)
    (tmp_path / "test_bad.py").write_text(code.replace("shift = 0.5", "shift = 0.25"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path),
         str(tmp_path)],
        capture_output=True, text=True, cwd=tmp_path, check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
    )  # fmt: skip
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert "test_bad.py::test_shifted_relu" in done.stdout


def test_the_reference_names_facts_and_operators() -> None:
    from graphprune import operators

    known_passes()
    page = (ROOT / "docs" / "plugin-reference.md").read_text(encoding="utf-8")
    for kind, provider in ANALYSES.items():
        row = f"| `{kind.__module__}.{kind.__name__}` | `{provider.name}` |"  # type: ignore[attr-defined]
        assert row in page
    classes = {name for name in operators.__all__ if name[0].isupper() and name != "REGISTRY"}
    assert classes <= set(re.findall(r"\w+", page.split("## Operators of the dialect")[1]))


def test_the_documented_function_is_bounded(tmp_path: Path) -> None:
    install(tmp_path, documented(), entry_points())
    model = custom_model()
    model.graph.node[1].op_type = "LogCosh"
    del model.graph.node[1].attribute[:]
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(1).random((2, 3)).astype(np.float32))
    done = graphprune(tmp_path, "certify", "m.onnx", "--anchors", "x.npz", "--json", "r.json")
    assert done.returncode == 0, done.stderr
    anchors = json.loads((tmp_path / "r.json").read_text())["anchors"]
    assert all(anchor["d_rob"]["value"] > 1e-3 for anchor in anchors)


def test_without_the_plugin_the_node_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(custom_model().SerializeToString())
    done = graphprune(tmp_path, "opt", "m.onnx", "-o", "o.onnx")
    assert done.returncode == 2
    assert "node 'it' (com.acme::ShiftedRelu)" in done.stderr


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named"),
        ("raise RuntimeError('first line\\nsecond')", "RuntimeError: first line second"),
        (
            "from graphprune.passes import register_pass\nfrom graphprune.passes.analysis.attack"
            " import AttackPass\n@register_pass\nclass Mine(AttackPass): pass",
            "two passes are called 'attack'",
        ),
    ],
)
def test_a_broken_plugin_names_its_distribution(tmp_path: Path, code: str, said: str) -> None:
    install(tmp_path, {"acme_pass": code}, "[graphprune.passes]\nfreeze = acme_pass\n")
    done = graphprune(tmp_path, "passes")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "plugin 'freeze' (acme_pass) of distribution 'acme-graphprune 1.2'" in done.stderr
    assert said in done.stderr


def test_lines_and_scores_of_a_distribution_are_options_of_substitutes(tmp_path: Path) -> None:
    install(tmp_path, documented(), entry_points())
    listed = graphprune(tmp_path, "passes")
    assert "constant|secant|ball|segment|relaxation|acme-middle" in listed.stdout, listed.stderr
    assert "range|gap|influence|acme-last" in listed.stdout
    rng = np.random.default_rng(0)
    tensors = {"w": rng.normal(size=(5, 3)), "v": rng.normal(size=(2, 5))}
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["z"], transB=1),
        helper.make_node("Relu", ["z"], ["h"]),
        helper.make_node("Gemm", ["h", "v"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes, "plain", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in tensors.items()],
    )  # fmt: skip
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    np.savez(tmp_path / "x.npz", x=rng.random((2, 3)).astype(np.float32))
    text = "substitute{by=acme-middle rank=acme-last gamma=0.4 only=1 radius=0.1}"
    done = graphprune(
        tmp_path, "opt", "m.onnx", "-o", "o.onnx", "--anchors", "x.npz", "--verify-each",
        "--passes", text,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    props = {p.key: p.value for p in onnx.load(tmp_path / "o.onnx").metadata_props}
    assert json.loads(props["graphprune.replaced"]) == {"acme-middle": 2}
    refused = graphprune(
        tmp_path, "opt", "m.onnx", "-o", "o.onnx", "--anchors", "x.npz",
        "--passes", "substitute{by=acme-one}",
    )  # fmt: skip
    assert refused.returncode == 2
    assert "option 'by' takes constant|secant|ball|segment|relaxation|acme-middle" in refused.stderr


def test_the_documented_estimator_and_solver_work(tmp_path: Path) -> None:
    install(tmp_path, documented(), entry_points())
    models = ROOT / "models"
    done = graphprune(
        tmp_path, "evaluate", str(models / "toy-2d.onnx"), "--anchors",
        str(models / "toy-2d-anchors.npz"), "--limit", "1", "--json", "r.json",
        "--estimate", "acme-halfway", "--solver", "acme-search",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = json.loads((tmp_path / "r.json").read_text())["anchors"]
    assert record["d_bnd"]["status"] == "exact"
    (estimate,) = record["estimates"]
    assert estimate["lower"] <= record["d_bnd"]["lower"] <= estimate["upper"]
    assert estimate["value"] == (estimate["lower"] + estimate["upper"]) / 2


NORM = """\
from graphprune.region import register_norm
from graphprune.region.norms.l2 import L2Norm

register_norm(L2Norm("acme-euclid"))
"""


def test_a_norm_of_a_distribution_is_one_to_attack_in(tmp_path: Path) -> None:
    install(tmp_path, {"acme_norm": NORM}, "[graphprune.norms]\neuclid = acme_norm\n")
    model, points = (str(ROOT / "models" / name) for name in ("toy-2d.onnx", "toy-2d-anchors.npz"))
    found = []
    for norm in ("l2", "acme-euclid"):
        done = graphprune(
            tmp_path, "attack", model, "--anchors", points, "--limit", "1", "--norm", norm,
            "--json", "r.json",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (record,) = json.loads((tmp_path / "r.json").read_text())["anchors"]
        found.append(record["d_adv"]["value"])
    # Programs of the polish belong to the norms that are shipped.
    assert found[1] == pytest.approx(found[0], rel=1e-2)


def test_a_registry_takes_a_name_once() -> None:
    known: Registry[object] = Registry("score", "graphprune.scores")
    first = object()
    known.add("first", first)
    known.add("first", first)
    with pytest.raises(PluginError, match="two scores are called 'first'"):
        known.add("first", object())
    assert known["first"] is first
    assert dict(known.known()) == {"first": first}
    with pytest.raises(GraphpruneError, match="unknown score 'frist'; did you mean 'first'"):
        known["frist"]


def test_a_norm_is_not_replaced_by_another_one_of_its_name() -> None:
    with pytest.raises(PluginError, match="two norms are called 'l2'"):
        register_norm(L2Norm("l2"))
    assert norm_of("l2") is NORMS["l2"]
