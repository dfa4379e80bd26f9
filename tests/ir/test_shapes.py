"""Dynamic axes of inputs, and the sizes that users give them."""

from pathlib import Path

import numpy as np
import onnx
import pytest

import graphprune as gp
from graphprune.canonical import load
from graphprune.cli.app import run
from graphprune.ir.shapes import parse_shapes
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from tests.canonical.models import close, model_of, node


def convolution(*shape: int | str) -> onnx.ModelProto:
    """Three scores of an image of any size."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(size=(3, 2, 3, 3)).astype(np.float32),
    }
    nodes = [
        node("Conv", "x w", "c"), node("Relu", "c", "r"), node("GlobalAveragePool", "r", "p"),
        node("Flatten", "p"),
    ]  # fmt: skip
    return model_of(nodes, list(shape), constants=constants)


@pytest.mark.parametrize("batch", [-1, "n", 1])
@pytest.mark.parametrize("asked", [-1, 1])
def test_sizes_of_dynamic_axes(batch: int | str, asked: int) -> None:
    model = convolution(batch, 2, -1, "width")
    network = gp.from_proto(model, fix_shape={"x": (asked, 2, 5, 7)})
    assert network.input_shape == (2, 5, 7)
    assert network.source.batch_size == (None if asked == -1 and batch != 1 else 1)
    x = np.random.default_rng(0).random((2, 2, 5, 7)).astype(np.float32)
    assert close(forward64(network, x)[0], run_original(network, x), 1e-5)


def test_a_batch_of_minus_one_is_dynamic() -> None:
    network = gp.from_proto(convolution(-1, 2, 5, 5))
    assert network.source.batch_size is None
    assert network.input_shape == (2, 5, 5)


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (None, "axis 2 .*is dynamic.*--fix-shape x=1,2,SIZE,SIZE"),
        ({"z": (1, 2, 5, 5)}, "no input 'z'.*'x'|known: x"),
        ({"x": (1, 2, 5)}, r"'x' has the shape \(n, 2, h, w\), which 3 sizes do not fit"),
        ({"x": (1, 3, 5, 5)}, "its axis 1 is 2, not 3"),
        ({"x": (1, 2, 0, 5)}, "axis 2 cannot have the size 0"),
        ({"x": (1, 2, -1, 5)}, "axis 2 .*is dynamic"),
    ],
)
def test_wrong_sizes_are_refused(shapes: dict[str, tuple[int, ...]] | None, said: str) -> None:
    with pytest.raises(gp.GraphpruneError, match=said):
        gp.from_proto(convolution("n", 2, "h", "w"), fix_shape=shapes)


@pytest.mark.parametrize("text", ["x", "x=", "=1,2", "x=1,a", "x=1.5"])
def test_texts_that_are_no_shapes(text: str) -> None:
    with pytest.raises(gp.GraphpruneError, match="--fix-shape takes NAME="):
        parse_shapes([text])


def test_texts_of_shapes() -> None:
    assert parse_shapes(["a=b=1,2", "x=-1"]) == {"a=b": (1, 2), "x": (-1,)}
    with pytest.raises(gp.GraphpruneError, match="'x' twice"):
        parse_shapes(["x=1", "x=1"])


def test_every_command_takes_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, anchors, out = (str(tmp_path / name) for name in ("m.onnx", "a.npy", "o.onnx"))
    onnx.save(convolution("n", 2, "h", "w"), path)
    np.save(anchors, np.random.default_rng(0).random((1, 2, 4, 4)).astype(np.float32))
    point = "".join(
        f"(declare-const X_{i} Real)(assert (>= X_{i} 0.5))(assert (<= X_{i} 0.5))"
        for i in range(32)
    )
    scores = "".join(f"(declare-const Y_{i} Real)" for i in range(3))
    (tmp_path / "p.vnnlib").write_text(f"{point}{scores}(assert (>= Y_0 -1000.0))")
    fixed = ["--fix-shape", "x=1,2,4,4"]
    assert run(["inspect", path]) == 2
    assert "--fix-shape x=1,2,SIZE,SIZE" in capsys.readouterr().out
    assert run(["inspect", path, *fixed]) == 0
    assert run(["opt", path, "-o", out, "--quiet", *fixed]) == 0
    assert load(out).input_shape == (2, 4, 4)
    assert run(["attack", path, "--anchors", anchors, "--quiet", *fixed]) == 0
    capsys.readouterr()
    assert run(["verify", path, str(tmp_path / "p.vnnlib"), "--quiet", *fixed]) == 0
    assert capsys.readouterr().out.startswith("sat")
    assert run(["certify", path, "--anchors", anchors, "--fix-shape", "z=1"]) == 2
    assert "no input 'z'" in capsys.readouterr().err
