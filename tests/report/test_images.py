"""Points as PNG files: the pixels are the numbers, and what is no image is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import graphprune as gp
from graphprune.cli.app import run as main
from graphprune.report.images import image_bytes, require_images, save_images
from tests.conftest import MODELS

TINY, IMAGES = str(MODELS / "mnist-tiny.onnx"), str(MODELS / "mnist-test-100.npz")


@pytest.mark.parametrize("shape", [(5, 6), (1, 5, 6), (3, 5, 6), (5, 6, 1), (5, 6, 3)])
def test_pixels_are_the_numbers(shape: tuple[int, ...], tmp_path: Path) -> None:
    bytes_ = np.random.default_rng(0).integers(0, 256, shape)
    for x, domain in ((bytes_ / 255, gp.Domain()), (bytes_, gp.Domain(0.0, 255.0))):
        save_images(tmp_path / "new", [("a", x.astype(np.float32))], domain)
        with Image.open(tmp_path / "new" / "a.png") as image:
            found = np.asarray(image)
        first = np.moveaxis(bytes_, 0, -1) if shape[0] in (1, 3) else bytes_
        assert np.array_equal(found.reshape(first.shape), first)


def test_without_a_domain_the_least_is_black() -> None:
    x = np.linspace(-3.0, 5.0, 30).reshape(5, 6)
    assert image_bytes(x, gp.Domain(-np.inf, np.inf)) == image_bytes((x + 3) / 8, gp.Domain())


@pytest.mark.parametrize("shape", [(2,), (784,), (2, 5, 6), (3, 2, 2), (1, 1, 5, 6)])
def test_other_points_are_no_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(gp.GraphpruneError, match="are no images"):
        require_images(shape, "points")


@pytest.mark.parametrize(("command", "metrics"), [("attack", ["d_adv"]), ("distance", ["d_bnd"])])
def test_commands_write_anchors_and_points(
    command: str, metrics: list[str], tmp_path: Path
) -> None:
    folder, points = tmp_path / "deep" / "images", tmp_path / "p.npz"
    args = ["--anchors", IMAGES, "--limit", "1", "--quiet", "--save-points", str(points)]
    assert main([command, TINY, *args, "--save-images", str(folder)]) == 0
    with np.load(points) as saved:
        names = {
            f"anchor-{index}-{metric}-class-{target}.png": x
            for index, metric, target, x in zip(
                saved["index"], saved["metric"], saved["target"], saved["x"], strict=True
            )
        }
    assert {path.name for path in folder.iterdir()} == {"anchor-0.png", *names}
    assert [name.split("-")[2] for name in names] == metrics
    for name, x in names.items():
        with Image.open(folder / name) as image:
            assert np.max(np.abs(np.asarray(image) / 255 - x[0])) <= 0.5 / 255 + 1e-6


def test_what_is_no_image_is_refused_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy, anchors = str(MODELS / "toy-2d.onnx"), str(MODELS / "toy-2d-anchors.npz")
    assert main(["attack", toy, "--anchors", anchors, "--save-images", str(tmp_path / "x")]) == 2
    assert "points of shape (2,) are no images" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    (tmp_path / "file").write_text("")
    more = ["--limit", "1", "--save-images", str(tmp_path / "file")]
    assert main(["attack", TINY, "--anchors", IMAGES, *more]) == 2
    assert "cannot make the folder" in capsys.readouterr().err
