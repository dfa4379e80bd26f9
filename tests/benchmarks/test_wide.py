"""Rows of wide networks: metrics in order, CIFAR networks by their shapes, limits that are held."""

import gzip
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import graphprune as gp
from benchmarks import random_networks, wide
from benchmarks.wide import Task, Wide
from graphprune.runtime.original import run_original
from tests.oracles import Perceptron

FOUND = Wide(
    7, 0.5, 0.1, 0.2, 0.25, 0.5, {"attack": 1.0, "crown": 2.0, "alpha": 3.0, "distance": 9.5}, 64.0
)


def as_cifar(folder: Path, points: list[float]) -> Path:
    """A folder of one CIFAR network, and one of another shape, with a property for every point."""
    rng = np.random.default_rng(0)
    folder = folder / "vnncomp"
    folder.mkdir()
    model = random_networks.vgg([[2]], [4], 32, 10)
    onnx.save(model, folder / "small.onnx")
    onnx.save(Perceptron.random(rng, [3, 4, 2]).model(), folder / "other.onnx")
    lines = ["benchmark,onnx,vnnlib"]
    for k, point in enumerate(points):
        text = [f"(declare-const X_{i} Real)" for i in range(3072)]
        text += [f"(declare-const Y_{i} Real)" for i in range(10)]
        text += [
            f"(assert (>= X_{i} {point - 0.25}))(assert (<= X_{i} {point + 0.25}))"
            for i in range(3072)
        ]
        text.append("(assert (<= Y_0 Y_1))")
        (folder / f"p{k}.vnnlib.gz").write_bytes(gzip.compress("\n".join(text).encode()))
        lines += [f"b,{name}.onnx,p{k}.vnnlib.gz" for name in ("small", "other")]
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_cifar_networks_are_told_by_their_shapes(tmp_path: Path) -> None:
    folder = as_cifar(tmp_path, [0.5, 0.5, 0.25])
    tasks = list(wide.cifar_tasks(tmp_path, lambda _: True, 2, 1.0))
    assert [(t.name, t.property) for t in tasks] == [
        ("small 1", folder / "p0.vnnlib.gz"),
        ("small 2", folder / "p2.vnnlib.gz"),
    ]
    anchor = tasks[1].anchor(gp.load(tasks[1].network))
    assert anchor.x.shape == (3, 32, 32)
    np.testing.assert_array_equal(anchor.x, np.float32(0.25))
    assert not list(wide.cifar_tasks(tmp_path, lambda name: name == "other", 2, 1.0))


def test_metrics_of_a_point_stand_in_order(tmp_path: Path) -> None:
    path = tmp_path / "n.onnx"
    onnx.save(Perceptron.random(np.random.default_rng(0), [3, 5, 4, 3]).model(), path)
    found = wide.perform(Task("n", path, None, 5.0))
    assert isinstance(found, Wide)
    assert found.neurons == 9
    assert 0 < found.crown <= found.alpha * 1.001
    assert found.alpha <= found.upper <= found.attack
    assert found.lower == pytest.approx(found.upper, rel=2e-4)
    assert list(found.seconds) == list(FOUND.seconds)
    assert found.memory > 1.0


def test_a_refused_network_has_its_reason_in_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "n.onnx"
    path.write_text("no network", encoding="utf-8")
    monkeypatch.setattr(wide, "alone", wide.perform)
    wide.table(iter([Task("n", path, None, 1.0)]), wide.CIFAR_HEAD, wide.cifar_row)
    assert f"| n | {path}" in capsys.readouterr().out


def test_rows_have_ratios_and_seconds_beyond_the_limit() -> None:
    task = Task("n", Path("n.onnx"), None, 2.5)
    text = wide.cifar_row(task, FOUND)
    assert "| 0.25000 | 0.50000 | 0.500 | 2.500 | 1.250 | 1.0 | 2.0 | 3.0 | 9.5 | 64 |" in text
    assert text.count("|") == len(wide.CIFAR_HEAD) + 1
    text = wide.random_row(task, FOUND)
    assert "| 2.5 | 0.0 | 0.0 | 0.5 | 7.0 |" in text
    assert "| yes |" in text
    assert text.count("|") == len(wide.RANDOM_HEAD) + 1
    nothing = Wide(7, math.inf, 0.0, 0.0, 0.0, math.inf, FOUND.seconds)
    assert "| no |" in wide.random_row(task, nothing)
    assert "| - | - |" in wide.cifar_row(task, nothing)


@pytest.mark.parametrize(
    ("model", "neurons"),
    [
        (random_networks.vgg([[4, 4], [8]], [5], 8, 3), 2 * 256 + 128 + 5),
        (random_networks.resnet([4, 8], 16, 3), 256 + 4 * 64 + 4 * 32),
    ],
)
def test_random_networks_load_and_tell_images_apart(model: onnx.ModelProto, neurons: int) -> None:
    network = gp.from_proto(model)
    assert network.neurons == neurons
    x = np.random.default_rng(0).uniform(0, 1, (32, *network.input_shape)).astype(np.float32)
    scores = run_original(network, x)
    assert scores.shape == (32, 3)
    assert 0.01 < np.abs(scores).max() < 100
    assert len(set(scores.argmax(axis=1))) > 1


def test_costs_are_drawn_against_the_size(tmp_path: Path) -> None:
    larger = replace(FOUND, neurons=900, memory=100.0)
    assert wide.cost_row(Task("n", tmp_path, None, 5.0), FOUND).startswith(
        "| n | 7 | 1.00 | 2.00 |"
    )
    wide.draw_costs([FOUND, larger], 5.0, tmp_path / "costs.svg")
    drawn = (tmp_path / "costs.svg").read_text(encoding="utf-8")
    assert "<svg" in drawn
    sizes = [wide.GROWING[name]().ByteSize() for name in list(wide.GROWING)[:3]]
    assert sizes == sorted(sizes)
