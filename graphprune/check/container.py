"""The certificate as a file: a zip of one JSON header, plain .npy arrays and a digest.

Reading trusts nothing: sizes are limited before anything is allocated, pickles are impossible,
every field's type, and that of every array, is fixed by the dataclasses below.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import GraphpruneError

FORMAT: Final = "graphprune-certificate/2"
HEADER, DIGEST = "header.json", "sha256"
# Bytes of everything in a file, unpacked, and of the header.
LIMIT, HEADER_LIMIT, ENTRY_LIMIT = 1 << 30, 1 << 26, 1 << 17
# The time stamp of every entry: the same proof gives the same bytes.
STAMP = (1980, 1, 1, 0, 0, 0)

# A field of later versions: files that do not need it are written without.
LATER: Final = {"later": True}

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int32]
Bytes = NDArray[np.int8]
Point = NDArray[np.floating]


class CertificateError(GraphpruneError):
    """The file is not a readable certificate."""


class Refused(Exception):  # noqa: N818  (a verdict, not a malfunction)
    """The certificate does not prove what it says; the message is the reason."""


@dataclass(frozen=True, eq=False)
class Claims:
    """Linear specifications (goals) that are bounded from below, each over a tree of cases.

    Attributes
    ----------
    goals
        (G,) neuron s >= 0 is bounded from below, neuron -1 - s from above. Neurons are the
        elements of ReLU inputs, in the order of the model's ReLU nodes. For the claims of a
        margin: target classes.
    trees
        Every goal's tree in preorder: -1 is a leaf, j >= 0 splits variable neuron j of the system,
        the case z_j >= 0 first. None: every goal is one leaf.
    multipliers
        (leaves, width): of the equations of the system's variable neurons; `width` of them, those
        above have multiplier 0.
    planes
        (leaves, P) multipliers >= 0 of the system's planes; None: all 0.
    assumption
        (leaves,) multipliers >= 0 of the assumption that the scope's target wins; None: all 0.
    """

    goals: Ints
    multipliers: Singles
    trees: Ints | None = None
    planes: Singles | None = None
    assumption: Singles | None = None


@dataclass(frozen=True, eq=False)
class Scope:
    """Bounds that hold on the ball, or on its points that are adversarial for one target.

    Attributes
    ----------
    parent
        The scope whose bounds are tightened and on whose system the claims are proven; -1 for
        the first scope, whose claims are proven layer by layer.
    target
        The bounds hold where this class's logit is at least the label's; -1: everywhere.
    phase
        (neurons,) 1: z >= 0, -1: z <= 0, 0: variable.
    lower, upper
        (variable neurons,) bounds of z, lower <= upper.
    claims
        The bounds' proofs; for the first scope one element per ReLU node.
    cut
        A claim on the target's margin, one leaf, whose linear bound cuts the parent's box.
    plane_neurons
        (P,) variable neurons j of planes relu(z_j) <= values . v + offset; v: the basis of inputs
        and variable neurons' outputs.
    plane_starts, plane_columns, plane_values
        The planes as a matrix of compressed rows.
    plane_offsets
        (P,).
    plane_below, plane_above
        (P,) the reals that prove the planes, see :func:`graphprune.check.bound.plane_slack`.
    """

    parent: int
    target: int
    phase: Bytes
    lower: Floats
    upper: Floats
    claims: tuple[Claims, ...]
    cut: Claims | None = None
    plane_neurons: Ints | None = None
    plane_starts: Ints | None = None
    plane_columns: Ints | None = None
    plane_values: Singles | None = None
    plane_offsets: Floats | None = None
    plane_below: Floats | None = None
    plane_above: Floats | None = None


@dataclass(frozen=True, eq=False)
class Prefix:
    """The inputs x that a proof's points z mean: in other units, by weights, or by directions.

    Attributes
    ----------
    mean, std
        (inputs,) the file takes (x - mean) / std; None: x itself.
    weights
        (inputs,) >= 0: x = x0 + w z.
    steps, low, high
        (k, inputs), (k,), (k,): x = x0 + z_1 b_1 + ... + z_k b_k, clipped to the domain, for
        low <= z <= high.
    image
        The input x of the adversarial point z of `steps`, in the model's type.
    """

    mean: Floats | None = None
    std: Floats | None = None
    weights: Floats | None = None
    steps: Point | None = None
    low: Floats | None = None
    high: Floats | None = None
    image: Point | None = None


@dataclass(frozen=True, eq=False)
class Proof:
    """Nothing is adversarial within `lower` of an anchor, and `point` is at distance `upper`.

    Attributes
    ----------
    index
        Position of the anchor in the file it came from; says nothing that is checked.
    label
        Class y of the anchor.
    anchor
        The anchor, in the shape of one sample.
    lower
        The proven radius; 0 needs no scopes and no margins.
    upper
        Distance of `point`; None: no point is given.
    target
        The class that wins at `point`; -1 without one.
    point
        An adversarial point.
    scopes
        Each refers to earlier ones only.
    margins
        Pairs of a scope and the claims, on its system, that margins are positive.
    fixed
        (inputs,) 1 for elements that keep the anchor's value, 0 for those that may change; None:
        all may. It is about points with these elements alone.
    norm
        Norm of `lower` and `upper`; None: ``linf``.
    front
        The inputs that points mean; None: the points are the inputs.
    counting
        The only classes that count as adversarial; None: all but the label.
    top_k
        Adversarial is where so many other classes are no worse than the label; None: one.
    """

    index: int
    label: int
    anchor: Point
    lower: float
    upper: float | None
    target: int
    point: Point | None
    scopes: tuple[Scope, ...]
    margins: tuple["Margins", ...]
    fixed: Bytes | None = field(default=None, metadata=LATER)
    norm: str | None = field(default=None, metadata=LATER)
    front: Prefix | None = field(default=None, metadata=LATER)
    counting: Ints | None = field(default=None, metadata=LATER)
    top_k: int | None = field(default=None, metadata=LATER)


@dataclass(frozen=True, eq=False)
class Margins:
    """Claims that f_label - f_goal > 0 in all cases, on the system of a scope."""

    scope: int
    claims: Claims


@dataclass(frozen=True, eq=False)
class ProofFile:
    """All proofs of one run.

    Attributes
    ----------
    model
        SHA-256 of the model file.
    low, high
        Domain of every input element; infinite: none.
    proofs
        One per anchor.
    """

    model: str
    low: float
    high: float
    proofs: tuple[Proof, ...]


# -- writing ---------------------------------------------------------------------------------


def write(file: ProofFile) -> bytes:
    """The certificate file's bytes."""
    arrays: dict[str, NDArray[Any]] = {}
    header = {"format": FORMAT, **_pack(file, "", arrays)}
    entries = {HEADER: json.dumps(header, indent=1).encode()}
    for name, array in arrays.items():
        stream = io.BytesIO()
        np.lib.format.write_array(stream, np.ascontiguousarray(array), (1, 0), allow_pickle=False)
        entries[f"{name}.npy"] = stream.getvalue()
    entries[DIGEST] = digest(entries).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(_info(name), data)
    return out.getvalue()


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, STAMP)
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def digest(entries: Mapping[str, bytes]) -> str:
    """SHA-256 over names, lengths and contents of all entries but the digest, in name order."""
    total = hashlib.sha256()
    for name in sorted(entries):
        if name != DIGEST:
            total.update(f"{name}\0{len(entries[name])}\0".encode())
            total.update(entries[name])
    return total.hexdigest()


def _pack(value: Any, path: str, arrays: dict[str, NDArray[Any]]) -> Any:
    """A JSON value; arrays go to `arrays` under their path, which stands in their place."""
    if is_dataclass(value):
        return {
            f.name: _pack(getattr(value, f.name), f"{path}/{f.name}".lstrip("/"), arrays)
            for f in fields(value)
            if not f.metadata.get("later") or getattr(value, f.name) is not None
        }
    if isinstance(value, tuple):
        return [_pack(item, f"{path}/{i}", arrays) for i, item in enumerate(value)]
    if isinstance(value, np.ndarray):
        arrays[path] = value
        return path
    if isinstance(value, float) and not np.isfinite(value):
        return "inf" if value > 0 else "-inf"
    return value


# -- reading ---------------------------------------------------------------------------------


def read(path: str | Path | io.BytesIO) -> ProofFile:
    """Read a certificate, from a file or from its bytes.

    Raises
    ------
    CertificateError
        Missing file, or not a certificate: unreadable, truncated, of another version.
    Refused
        A readable certificate whose content was changed or is malformed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive, str(path))
    except FileNotFoundError:
        raise CertificateError(f"{path}: no such file") from None
    except OSError as error:
        raise CertificateError(f"{path}: cannot read: {error.strerror or error}") from None
    except (
        zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, ValueError,
        NotImplementedError, RuntimeError, KeyError,
    ) as error:  # fmt: skip
        raise CertificateError(f"{path}: not a certificate, or truncated: {error}") from None
    header = _header(entries, str(path))
    if entries.get(DIGEST, b"").decode("ascii", "replace") != digest(entries):
        raise Refused("its content does not match its digest: it was changed after it was written")
    arrays = {
        name.removesuffix(".npy"): _array(name, data)
        for name, data in entries.items()
        if name not in (HEADER, DIGEST)
    }
    del header["format"]
    file: ProofFile = _unpack(ProofFile, header, "", arrays)
    if arrays:
        raise Refused(f"array '{min(arrays)}' belongs to nothing")
    return file


def _entries(archive: zipfile.ZipFile, path: str) -> dict[str, bytes]:
    infos = archive.infolist()
    names = [info.filename for info in infos]
    if len(infos) > ENTRY_LIMIT or len(set(names)) != len(names) or HEADER not in names:
        raise CertificateError(f"{path}: not a certificate: it has no '{HEADER}'")
    total = sum(info.file_size for info in infos)
    if total > LIMIT or archive.getinfo(HEADER).file_size > HEADER_LIMIT:
        raise CertificateError(
            f"{path}: unpacks to {total} bytes; certificates of at most {LIMIT} are read"
        )
    entries = {}
    for info in infos:
        if info.filename != HEADER and info.filename != DIGEST and info.filename[-4:] != ".npy":
            raise CertificateError(f"{path}: not a certificate: entry '{info.filename}'")
        with archive.open(info) as stream:
            entries[info.filename] = stream.read(info.file_size)
            if stream.read(1) or len(entries[info.filename]) != info.file_size:
                raise CertificateError(f"{path}: entry '{info.filename}' has another size")
    return entries


def _header(entries: dict[str, bytes], path: str) -> dict[str, Any]:
    try:
        header = json.loads(entries[HEADER], parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise CertificateError(f"{path}: not a certificate: its header is not JSON") from None
    version = header.get("format") if isinstance(header, dict) else None
    if version != FORMAT:
        raise CertificateError(f"{path}: format {version!r}; this checker reads {FORMAT}")
    return dict(header)


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _array(name: str, data: bytes) -> NDArray[Any]:
    """One .npy entry; its size is known before anything is allocated."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"version {version}")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=4096)
        if fortran or dtype.hasobject or any(side < 0 for side in shape):
            raise ValueError("layout")
        count = 1
        for side in shape:
            count *= side
        if count * dtype.itemsize != len(data) - stream.tell():
            raise ValueError("size")
    except Exception as error:
        raise Refused(f"array '{name}' is malformed: {error}") from None
    array = np.frombuffer(data, dtype, count, stream.tell()).reshape(shape)
    if dtype.kind == "f" and not np.all(np.isfinite(array)):
        raise Refused(f"array '{name}' holds NaN or infinite values")
    return array


# Dtypes and number of axes (None: any) that an array type of the dataclasses asks for.
_ARRAYS: dict[Any, tuple[tuple[Any, ...], int | None]] = {
    Floats: ((np.float64,), 1),
    Singles: ((np.float32,), None),
    Ints: ((np.int32,), 1),
    Bytes: ((np.int8,), 1),
    Point: ((np.float32, np.float64), None),
}


def _unpack(kind: Any, value: Any, path: str, arrays: dict[str, NDArray[Any]]) -> Any:
    """`value` of the header as an instance of `kind`; takes arrays out of `arrays`."""
    if get_origin(kind) in (Union, UnionType):
        if value is None:
            return None
        (kind,) = (k for k in get_args(kind) if k is not NoneType)
    if kind in _ARRAYS:
        return _take(kind, value, path, arrays)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise Refused(f"'{path}' is not a list")
        item = get_args(kind)[0]
        return tuple(_unpack(item, v, f"{path}/{i}", arrays) for i, v in enumerate(value))
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        later = {f.name for f in fields(kind) if f.metadata.get("later")}
        if not isinstance(value, dict) or not set(hints) - later <= set(value) <= set(hints):
            raise Refused(f"'{path}' has not the fields {', '.join(hints)}")
        construct: Callable[..., Any] = kind  # type: ignore[assignment]
        return construct(
            **{k: _unpack(hints[k], v, f"{path}/{k}".lstrip("/"), arrays) for k, v in value.items()}
        )
    return _scalar(kind, value, path)


def _take(kind: Any, value: Any, path: str, arrays: dict[str, NDArray[Any]]) -> NDArray[Any]:
    if not isinstance(value, str) or value not in arrays:
        raise Refused(f"'{path}' names no array")
    array = arrays.pop(value)
    dtypes, axes = _ARRAYS[kind]
    if array.dtype not in [np.dtype(d) for d in dtypes] or (axes and array.ndim != axes):
        raise Refused(f"array '{path}' has dtype {array.dtype} and {array.ndim} axes")
    return array


def _scalar(kind: Any, value: Any, path: str) -> Any:
    if kind is float and value in ("inf", "-inf"):
        return float(value)
    allowed = (int, float) if kind is float else (kind,)
    if type(value) not in allowed:
        raise Refused(f"'{path}' is not a {kind.__name__}")
    if kind is int and abs(value) >= 1 << 31:
        raise Refused(f"'{path}' is out of range")
    try:
        result = kind(value)
    except OverflowError:
        result = np.inf
    if kind is float and not np.isfinite(result):
        raise Refused(f"'{path}' is not finite")
    return result
