"""Reading anchors: .npz, .npy, IDX, CSV, PNG; checked against a network."""

import gzip
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import AnchorError, check_kind
from graphprune.ir import A_NETWORK, Network
from graphprune.region import Anchor, Domain
from graphprune.region.arrays import as_array
from graphprune.region.pixels import as_floats
from graphprune.runtime.original import run_original

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Array = NDArray[np.generic]
Raw = tuple[Array, Array | None]


def load_anchors(
    path: "str | Path | Sequence[str | Path] | ArrayLike",
    network: Network | None = None,
    *,
    labels: "str | Path | ArrayLike | None" = None,
    domain: Domain | None = None,
) -> list[Anchor]:
    """Read anchors from a file, a folder of PNG files or a list of them; or make them of arrays.

    Parameters
    ----------
    path
        ``.npz`` with ``x`` (N, sample shape) and optionally ``y`` (N,), where the network has
        several inputs with an array for each, by its name; ``.npy``; an IDX image
        file, ``.gz`` or not; ``.csv`` with the label first; PNG files. Bytes and other integers,
        and whole numbers above 1 in a ``.csv``, are divided by 255 where the domain lies in
        [0, 1], and kept where it ends above 1 (:mod:`graphprune.region.pixels`).
    network
        Fixes the sample shape and the number of classes; its predictions are the labels where
        the file has none.
    labels
        A file of labels: ``.npy``, or an IDX label file; or (N,) integers.
    domain
        Points outside it are refused; default [0, 1].

    Raises
    ------
    AnchorError
        Unreadable file, wrong shape, dtype or range, NaN, labels out of range.
    """
    if network is not None:
        check_kind(network, Network, f"{A_NETWORK}, as the second argument (labels=... is another)")
    domain = domain or Domain()
    y = None
    if labels is not None:
        y = _read_labels(Path(labels)) if isinstance(labels, str | Path) else as_array(labels)
    if not _are_paths(path):
        return made_anchors(as_array(path), y, network, domain, "x")
    name = str(path) if isinstance(path, str | Path) else f"{len(path)} PNG files"
    named = None if network is None else _by_name(path, network, domain)
    raw, own = _read(path) if named is None else named
    if name.endswith(".csv") and domain.outermost[1] <= 1 and _are_bytes(raw):
        raw = raw.astype(np.uint8)
    return made_anchors(raw, own if y is None else y, network, domain, name)


def _are_paths(given: Any) -> TypeGuard[str | Path | Sequence[str | Path]]:
    """True of a path, and of a list of paths: anything else is an array of points."""
    if isinstance(given, str | Path):
        return True
    many = isinstance(given, Sequence) and len(given) > 0
    return many and all(isinstance(one, str | Path) for one in given)


def made_anchors(
    raw: Array, y: Array | None, network: Network | None, domain: Domain, name: str
) -> list[Anchor]:
    """Anchors of arrays, checked as `load_anchors` checks those of a file.

    Parameters
    ----------
    raw
        (N, *sample), of any type that files have.
    y
        (N,) labels, or None: the network predicts them.
    name
        Where the arrays are from, for messages.
    """
    x = as_floats(raw, domain, name)
    if network is not None:
        x = _fit(x, network.input_shape, name)
    _check_points(x, domain, name)
    if y is not None:
        y = _check_labels(y, len(x), None if network is None else network.classes, name)
    elif network is None:
        raise AnchorError(f"{name}: has no labels; give labels, or the network that predicts them")
    else:
        y = run_original(network, x).argmax(axis=1)
    return [Anchor(point, int(label), i) for i, (point, label) in enumerate(zip(x, y, strict=True))]


def _read(path: str | Path | Sequence[str | Path]) -> Raw:
    if not isinstance(path, str | Path):
        return _read_pngs([Path(p) for p in path]), None
    file = Path(path)
    if file.is_dir():
        found = sorted(file.glob("*.png"))
        if not found:
            raise AnchorError(f"{path}: the folder has no .png files")
        return _read_pngs(found), None
    if not file.exists():
        raise AnchorError(f"{path}: no such file")
    suffix = file.suffix.lower()
    reader = _READERS.get(suffix, _read_idx)
    try:
        return reader(file)
    except AnchorError:
        raise
    except OSError as error:
        raise AnchorError(f"{path}: cannot read: {error.strerror or error}") from None
    except (ValueError, EOFError, KeyError, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AnchorError(f"{path}: not a readable anchors file: {reason}") from None


def _read_npz(file: Path) -> Raw:
    try:
        archive = np.load(file, allow_pickle=False)
    except Exception as error:
        raise AnchorError(f"{file}: not a readable .npz file: {error}") from None
    with archive:
        if "x" not in archive:
            raise AnchorError(f"{file}: has no array 'x' (it has: {', '.join(archive.files)})")
        return archive["x"], archive.get("y", None)


def _by_name(
    path: str | Path | Sequence[str | Path], network: Network, domain: Domain
) -> Raw | None:
    """Points of a network with several inputs whose archive has an array for each of them."""
    names = [part.name for part in network.source.parts]
    if not names or not str(path).endswith(".npz") or not Path(str(path)).is_file():
        return None
    try:
        archive = np.load(str(path), allow_pickle=False)
    except Exception:
        return None  # the reader of archives says why
    with archive:
        missing = [name for name in names if name not in archive]
        if len(missing) == len(names) and "x" in archive:
            return None
        if missing:
            raise AnchorError(
                f"{path}: the network has the inputs {', '.join(names)}; the file has no array"
                f" '{missing[0]}' (it has: {', '.join(archive.files)})"
            )
        arrays = [archive[name] for name in names]
        y = None if "y" in names else archive.get("y", None)
    flat = []
    for part, array in zip(network.source.parts, arrays, strict=True):
        if array.ndim == 0 or len(array) != len(arrays[0]) or not len(array):
            raise AnchorError(f"{path}: its arrays have different numbers of points")
        x = as_floats(array, domain, f"{path}: '{part.name}'")
        flat.append(_fit(x, part.layout.sample, f"{path}: '{part.name}'").reshape(len(x), -1))
    return np.concatenate(flat, axis=1), y


def _read_npy(file: Path) -> Raw:
    return np.load(file, allow_pickle=False), None


def _read_csv(file: Path) -> Raw:
    table = np.loadtxt(file, delimiter=",", ndmin=2, dtype=np.float64)
    if table.shape[1] < 2:
        raise AnchorError(f"{file}: needs a label and at least one value per row")
    return table[:, 1:], table[:, 0]


def _are_bytes(x: Array) -> bool:
    """True where numbers that were written as text are bytes: whole, up to 255, and not 0 and 1."""
    v = x.astype(np.float64)
    return bool(np.all((v == np.floor(v)) & (v >= 0) & (v <= 255)) and np.any(v > 1))


def _read_idx(file: Path) -> Raw:
    return _idx(file), None


def _idx(file: Path) -> NDArray[np.uint8]:
    opener: Callable[[Path], object] = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rb") as stream:  # type: ignore[call-arg, attr-defined]
        data: bytes = stream.read()
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != 8:
        raise AnchorError(
            f"{file}: not an anchors file: known are .npz, .npy, .csv, PNG and IDX of bytes"
        )
    rank = data[3]
    shape = np.frombuffer(data, ">u4", rank, 4).astype(np.int64)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * rank)
    if values.size != shape.prod():
        raise AnchorError(f"{file}: truncated IDX file")
    return values.reshape(shape)


def _read_png(file: Path) -> Raw:
    return _read_pngs([file]), None


def _read_pngs(files: Sequence[Path]) -> Array:
    from PIL import Image, UnidentifiedImageError

    images = []
    for file in files:
        try:
            with Image.open(file) as image:
                if image.mode.startswith("I"):
                    raise AnchorError(
                        f"{file}: has 16 bits per value, of which 8 would be left; save it with 8,"
                        " or give the values as .npy"
                    )
                mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
                images.append(np.asarray(image.convert(mode), dtype=np.uint8))
        except (OSError, UnidentifiedImageError) as error:
            raise AnchorError(f"{file}: not a readable PNG file: {error}") from None
        if images[-1].shape != images[0].shape:
            raise AnchorError(f"{file}: its size differs from the first image's")
    return np.stack(images)


_READERS: dict[str, Callable[[Path], Raw]] = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".csv": _read_csv,
    ".png": _read_png,
}


def _read_labels(file: Path) -> Array:
    if not file.exists():
        raise AnchorError(f"{file}: no such file")
    try:
        return np.load(file, allow_pickle=False) if file.suffix == ".npy" else _idx(file)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise AnchorError(f"{file}: not a readable label file: {error}") from None


def _fit(x: NDArray[np.floating], shape: tuple[int, ...], name: str) -> NDArray[np.floating]:
    """Points (N, *shape); missing or surplus axes of size 1 and flat rows are forgiven."""
    if x.ndim and x.shape[1:] == shape:
        return x
    if not x.ndim or not len(x):
        raise AnchorError(f"{name}: holds no points")
    given = [n for n in x.shape[1:] if n != 1]
    if given == [n for n in shape if n != 1] or x.shape[1:] == (int(np.prod(shape)),):
        return x.reshape(len(x), *shape)
    # Images as PNG has them (height, width, channels) for a network with channels first.
    if x.ndim == 4 and (x.shape[3], *x.shape[1:3]) == shape:
        return np.ascontiguousarray(np.moveaxis(x, 3, 1))
    raise AnchorError(f"{name}: points have shape {x.shape[1:]}, the network takes {shape}")


def _check_points(x: NDArray[np.floating], domain: Domain, name: str) -> None:
    if not len(x):
        raise AnchorError(f"{name}: holds no points")
    for i, point in enumerate(x):
        if not np.all(np.isfinite(point)):
            raise AnchorError(f"{name}: point {i} holds NaN or infinite values")
        if not domain.contains(point):
            raise AnchorError(
                f"{name}: point {i} has values in [{point.min():g}, {point.max():g}], outside the"
                f" domain {domain.span}; scale it or give --domain LO,HI"
            )


def _check_labels(raw: Array, count: int, classes: int | None, name: str) -> NDArray[np.int64]:
    if raw.shape != (count,):
        raise AnchorError(f"{name}: {count} points, but labels of shape {raw.shape}")
    with np.errstate(invalid="ignore"):
        y = raw.astype(np.int64) if raw.dtype.kind in "iuf" else None
    if y is None or not np.array_equal(y, raw):
        raise AnchorError(f"{name}: labels have type {raw.dtype}; integers are needed")
    top = np.iinfo(np.int64).max if classes is None else classes
    wrong = np.flatnonzero((y < 0) | (y >= top))
    if wrong.size:
        i = int(wrong[0])
        known = "" if classes is None else f"; the network has classes 0 to {classes - 1}"
        raise AnchorError(f"{name}: label {y[i]} of point {i} is out of range{known}")
    return y
