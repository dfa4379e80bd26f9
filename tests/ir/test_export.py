"""Written files: names, types, batch and provenance of the original, and back again."""

import hashlib
import json
import os
import stat
from pathlib import Path

import numpy as np
import onnx
import pytest

import graphprune as gp
from graphprune.evaluate.documents import check_writable
from graphprune.ir.export import write_bytes
from graphprune.region import Box
from graphprune.runtime.original import run_original
from tests.conftest import random_points
from tests.oracles import Perceptron


def props_of(proto: onnx.ModelProto) -> dict[str, str]:
    return {p.key: p.value for p in proto.metadata_props}


@pytest.mark.parametrize("batch", ["batch_size", "n", 3])
def test_the_signature_is_the_original_one(batch: str | int) -> None:
    model = Perceptron.random(np.random.default_rng(0), [3, 5, 2]).model()
    for value in (*model.graph.input, *model.graph.output):
        dim = value.type.tensor_type.shape.dim[0]
        dim.Clear()
        if isinstance(batch, str):
            dim.dim_param = batch
        else:
            dim.dim_value = batch
    written = gp.to_proto(gp.from_proto(model))
    onnx.checker.check_model(written, full_check=True)
    for kind in ("input", "output"):
        old, new = (list(getattr(m.graph, kind)) for m in (model, written))
        assert [v.SerializeToString() for v in old] == [v.SerializeToString() for v in new]


def test_what_a_file_says_of_itself_stays() -> None:
    model = Perceptron.random(np.random.default_rng(0), [3, 5, 2]).model()
    model.producer_name, model.producer_version = "pytorch", "2.8"
    model.domain, model.model_version = "com.example", 7
    model.doc_string, model.graph.doc_string = "A model.", "A graph."
    onnx.helper.set_model_props(model, {"author": "Ada", "classes": "0: no, 1: yes"})
    for network in (
        gp.from_proto(model),
        gp.Pipeline.parse("fuse-affine").run(gp.from_proto(model)).network,
    ):
        written = gp.to_proto(network)
        for name in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
            assert getattr(written, name) == getattr(model, name), name
        assert written.graph.doc_string == "A graph."
        assert props_of(written).items() >= props_of(model).items()


def test_provenance_names_version_pipeline_anchor_ball_and_neurons(
    tiny: gp.Network, images: list[gp.Anchor], tmp_path: Path
) -> None:
    text = "bounds{radius=0.02}, prune-stable, fuse-affine"
    result = gp.Pipeline.parse(text).run(tiny, images[0]).network
    gp.save(result, tmp_path / "p.onnx")
    props = props_of(onnx.load(tmp_path / "p.onnx"))
    assert props["graphprune.version"] == gp.__version__
    assert props["graphprune.pipeline"] == text
    x = np.ascontiguousarray(images[0].x.astype(np.float64))
    assert props["graphprune.anchor"] == hashlib.sha256(x.tobytes()).hexdigest()
    assert float(props["graphprune.radius"]) == 0.02
    assert props["graphprune.domain"] == "0.0,1.0"
    replaced = json.loads(props["graphprune.replaced"])
    assert set(replaced) == {"active", "inactive"}
    assert tiny.live_neurons - result.live_neurons == sum(replaced.values())


@pytest.mark.parametrize("radii", [(0.02, 0.08), (0.08, 0.02)])
def test_a_file_is_valid_where_the_file_it_was_made_from_is(
    radii: tuple[float, float], tiny: gp.Network, images: list[gp.Anchor], tmp_path: Path
) -> None:
    network = tiny
    for radius in radii:
        text = f"bounds{{radius={radius}}}, prune-stable"
        gp.save(gp.Pipeline.parse(text).run(network, images[0]).network, tmp_path / "a.onnx")
        network = gp.load(tmp_path / "a.onnx")
    assert float(props_of(onnx.load(tmp_path / "a.onnx"))["graphprune.radius"]) == 0.02


def test_a_file_pruned_around_two_anchors_claims_neither_ball(
    tiny: gp.Network, images: list[gp.Anchor], tmp_path: Path
) -> None:
    network = tiny
    for anchor in images[:2]:
        gp.save(
            gp.Pipeline.parse("bounds{radius=0.02}, prune-stable").run(network, anchor).network,
            tmp_path / "a.onnx",
        )
        network = gp.load(tmp_path / "a.onnx")
    props = props_of(onnx.load(tmp_path / "a.onnx"))
    assert not {"graphprune.anchor", "graphprune.radius", "graphprune.label"} & set(props)
    made = [entry["anchor"] for entry in json.loads(props["graphprune.rewrites"])]
    assert len(set(made)) == 2


def test_provenance_survives_the_next_round(
    tiny: gp.Network, images: list[gp.Anchor], tmp_path: Path
) -> None:
    first = gp.Pipeline.parse("bounds{radius=0.02}, prune-stable").run(tiny, images[0]).network
    gp.save(first, tmp_path / "a.onnx")
    again = gp.load(tmp_path / "a.onnx")
    box = Box(np.full(again.input_shape, 0.4), np.full(again.input_shape, 0.6))
    second = gp.Pipeline.parse("bounds, prune-stable").run(again, box=box).network
    props = props_of(gp.to_proto(second))
    done = json.loads(props["graphprune.rewrites"])
    assert [entry["pass"] for entry in done] == ["prune-stable", "prune-stable"]
    assert "radius" in done[0]
    assert done[1]["box"] == "0.4,0.6"
    # Valid where the ball and the box meet: neither alone.
    assert not {"graphprune.radius", "graphprune.box"} & set(props)
    x = random_points(again)
    gp.save(again, tmp_path / "b.onnx")
    assert np.allclose(
        run_original(gp.load(tmp_path / "b.onnx"), x), run_original(again, x), atol=1e-5
    )


@pytest.mark.skipif(os.name == "nt", reason="named pipes")
def test_what_is_no_file_is_written_and_links_are_followed(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_bytes(pipe, b"one")
    assert os.read(reader, 10) == b"one"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    # As a shell's >(command), or /dev/stdout into a pipe.
    reader, writer = os.pipe()
    check_writable(f"/dev/fd/{writer}")
    write_bytes(f"/dev/fd/{writer}", b"two")
    assert os.read(reader, 10) == b"two"
    os.close(reader)
    os.close(writer)
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"
    with pytest.raises(gp.GraphpruneError, match="cannot write"):
        write_bytes(tmp_path, b"folder")
