"""Anchors files, good and bad."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import graphprune as gp
from tests.conftest import MODELS


@pytest.fixture(scope="module")
def raw() -> dict[str, np.ndarray]:
    with np.load(MODELS / "mnist-test-100.npz") as data:
        return {k: data[k][:4] for k in ("x", "y")}


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return head + array.astype(np.uint8).tobytes()


def test_every_format_gives_the_same_points(
    tmp_path: Path, raw: dict[str, np.ndarray], tiny: gp.Network
) -> None:
    x, y = raw["x"], raw["y"]
    np.savez(tmp_path / "a.npz", x=x, y=y)
    np.save(tmp_path / "a.npy", x.astype(np.float32) / np.float32(255))
    np.save(tmp_path / "y.npy", y)
    (tmp_path / "a-idx3-ubyte").write_bytes(idx(x[:, 0]))
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(x[:, 0])))
    (tmp_path / "y.gz").write_bytes(gzip.compress(idx(y)))
    rows = np.hstack([y[:, None], x.reshape(4, -1) / np.float32(255)])
    np.savetxt(tmp_path / "a.csv", rows, delimiter=",", fmt="%.9g")
    (tmp_path / "png").mkdir()
    for i, image in enumerate(x):
        Image.fromarray(image[0]).save(tmp_path / "png" / f"{i}.png")
    expected = gp.load_anchors(tmp_path / "a.npz", tiny)
    assert [a.label for a in expected] == list(y)
    cases: list[tuple[Any, Path | None]] = [
        (tmp_path / "a.npy", tmp_path / "y.npy"), (tmp_path / "a-idx3-ubyte", tmp_path / "y.gz"),
        (tmp_path / "a.gz", tmp_path / "y.npy"), (tmp_path / "a.csv", None),
        (tmp_path / "png", tmp_path / "y.npy"),
        (sorted((tmp_path / "png").iterdir()), tmp_path / "y.npy"),
    ]  # fmt: skip
    for path, labels in cases:
        found = gp.load_anchors(path, tiny, labels=labels)
        assert [a.label for a in found] == list(y)
        for a, b in zip(found, expected, strict=True):
            assert a.x.shape == (1, 28, 28)
            assert np.allclose(a.x, b.x, atol=1e-6)


def test_without_labels_the_prediction_is_the_label(
    tmp_path: Path, raw: dict[str, np.ndarray], tiny: gp.Network
) -> None:
    np.save(tmp_path / "a.npy", raw["x"])
    assert [a.label for a in gp.load_anchors(tmp_path / "a.npy", tiny)] == list(raw["y"])
    with pytest.raises(gp.GraphpruneError, match="has no labels"):
        gp.load_anchors(tmp_path / "a.npy")


X = np.full((2, 1, 28, 28), 0.5, np.float32)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": X[:, :, :27]}, r"shape \(1, 27, 28\), the network takes \(1, 28, 28\)"),
        ({"x": X.astype(np.int64)}, "type int64"),
        ({"x": X.astype(np.complex64)}, "type complex64"),
        ({"x": X * np.nan}, "point 0 holds NaN"),
        ({"x": X * np.inf}, "point 0 holds NaN or infinite"),
        ({"x": X * 4}, r"values in \[2, 2\], outside the domain \[0, 1\]"),
        ({"x": X - 1}, "outside the domain"),
        ({"x": X[:0]}, "no points"),
        ({"x": X, "y": np.array([1, 10])}, "label 10 of point 1 is out of range.*0 to 9"),
        ({"x": X, "y": np.array([1, -1])}, "label -1 of point 1"),
        ({"x": X, "y": np.array([1.5, 2])}, "integers are needed"),
        ({"x": X, "y": np.array([1])}, r"2 points, but labels of shape \(1,\)"),
        ({"z": X}, "has no array 'x'"),
        ({"x": np.array([{}], dtype=object)}, "not a readable|Object arrays"),
    ],
)
def test_bad_arrays(tmp_path: Path, tiny: gp.Network, arrays: dict[str, Any], said: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(gp.GraphpruneError, match=said) as caught:
        gp.load_anchors(tmp_path / "a.npz", tiny)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.csv", "a.png", "a", "a.gz", "a.txt"])
@pytest.mark.parametrize(
    "data", [b"", b"junk,junk\n", b"\x00\x00\x08\x03\x00", b"\x1f\x8b\x08junk"]
)
def test_bad_files(tmp_path: Path, tiny: gp.Network, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(gp.GraphpruneError, match="a\\b"):
        gp.load_anchors(tmp_path / name, tiny)


def test_missing_file_and_empty_folder(tmp_path: Path, tiny: gp.Network) -> None:
    with pytest.raises(gp.GraphpruneError, match="no such file"):
        gp.load_anchors(tmp_path / "no.npz", tiny)
    with pytest.raises(gp.GraphpruneError, match=r"no \.png files"):
        gp.load_anchors(tmp_path, tiny)


def test_whole_numbers_of_a_csv_are_bytes_where_the_domain_ends_at_one(
    tiny: gp.Network, tmp_path: Path
) -> None:
    values = np.random.default_rng(0).integers(0, 256, (2, 784))
    np.savetxt(tmp_path / "a.csv", np.column_stack([[3, 4], values]), delimiter=",", fmt="%d")
    found = gp.load_anchors(tmp_path / "a.csv", tiny)
    assert [a.label for a in found] == [3, 4]
    for anchor, row in zip(found, values, strict=True):
        np.testing.assert_array_equal(anchor.x.reshape(-1), (row / 255).astype(np.float32))
    raw = gp.load_anchors(tmp_path / "a.csv", tiny, domain=gp.Domain(0, 255))
    np.testing.assert_array_equal(raw[0].x.reshape(-1), values[0])
    np.savetxt(tmp_path / "b.csv", np.column_stack([[3, 4], values + 0.5]), delimiter=",")
    with pytest.raises(gp.GraphpruneError, match="outside the domain"):
        gp.load_anchors(tmp_path / "b.csv", tiny)


@pytest.mark.parametrize("kind", ["npy", "npz", "idx", "png", "csv", "int16", "int64"])
def test_bytes_are_read_by_one_rule(
    tiny: gp.Network, tmp_path: Path, raw: dict[str, np.ndarray], kind: str
) -> None:
    """Bytes stay bytes for a network that takes bytes, whatever file they lie in."""
    x = raw["x"]
    path = tmp_path / f"a.{kind}"
    if kind == "npz":
        np.savez(path, x=x)
    elif kind == "idx":
        path.write_bytes(idx(x[:, 0]))
    elif kind == "png":
        path.mkdir()
        for i, image in enumerate(x):
            Image.fromarray(image[0]).save(path / f"{i}.png")
    elif kind == "csv":
        rows = np.hstack([raw["y"][:, None], x.reshape(4, -1)])
        np.savetxt(path, rows, delimiter=",", fmt="%d")
    else:
        path = tmp_path / "a.npy"
        np.save(path, x if kind == "npy" else x.astype(kind))
    scaled = gp.load_anchors(path, tiny)
    kept = gp.load_anchors(path, tiny, domain=gp.Domain(0, 255))
    for i, (a, b) in enumerate(zip(scaled, kept, strict=True)):
        np.testing.assert_array_equal(a.x, x[i].astype(np.float32) / np.float32(255))
        np.testing.assert_array_equal(b.x, x[i].astype(np.float32))
    if kind == "csv":  # its numbers are what the file says
        return
    for domain in (gp.Domain(-np.inf, np.inf), gp.Domain(-1, 1), gp.Domain(0, np.inf)):
        with pytest.raises(gp.AnchorError, match="divide by 255 or the inputs themselves"):
            gp.load_anchors(path, tiny, domain=domain)


def test_integers_that_are_no_bytes_are_kept_or_refused(tiny: gp.Network, tmp_path: Path) -> None:
    for value in (-3, 300, 1):
        np.save(tmp_path / "a.npy", np.full((1, 784), value, np.int32))
        with pytest.raises(gp.AnchorError, match="type int32"):
            gp.load_anchors(tmp_path / "a.npy", tiny)
        (kept,) = gp.load_anchors(tmp_path / "a.npy", tiny, domain=gp.Domain(-500, 500))
        assert np.all(kept.x == value)


def test_images_of_16_bits_are_refused(tmp_path: Path, tiny: gp.Network) -> None:
    """As 8 bits all but their darkest values would be white."""
    values = np.linspace(0, 65535, 28 * 28).astype(np.uint16).reshape(28, 28)
    Image.fromarray(values).save(tmp_path / "deep.png")
    with pytest.raises(gp.GraphpruneError, match=r"deep\.png: has 16 bits per value"):
        gp.load_anchors(tmp_path / "deep.png", tiny)
