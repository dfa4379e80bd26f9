"""Hostile files: whatever is changed is refused with a reason, and nothing is allocated for it."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphprune.check import CertificateError, Refused, container, parse_model, read, verify, write
from graphprune.check.container import DIGEST, HEADER, digest
from tests.check.helpers import Case

CASE = next(
    c for s in range(99) if 1e-3 < (c := Case.random(s, [3, 3, 3, 3])).distance < 0.5
)  # fmt: skip
RADIUS = CASE.distance * (1 - 1e-5)
GOOD = write(CASE.file(CASE.proof(RADIUS)))


def entries_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(entries: dict[str, bytes], *, honest: bool = True) -> bytes:
    """A zip of `entries`; `honest`: with the digest that belongs to them."""
    if honest:
        entries = entries | {DIGEST: digest(entries).encode()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()


def verdict(data: bytes, folder: Path) -> str:
    """`accepted`, or the class of the refusal."""
    file = folder / "proof.gpc"
    file.write_bytes(data)
    try:
        proofs = read(file)
        verify(proofs, CASE.model)
    except (Refused, CertificateError) as error:
        return type(error).__name__ if str(error) else "no reason"
    # What an accepted file says must be true, whoever wrote it.
    for proof in proofs.proofs:
        same = proof.label == CASE.label and np.array_equal(proof.anchor, CASE.x)
        if same and (proofs.low, proofs.high) == (0.0, 1.0):
            assert proof.lower <= CASE.distance * (1 + 1e-6) + 1e-7
    return "accepted"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


def test_a_file_comes_back_and_is_the_same_every_time(folder: Path) -> None:
    assert verdict(GOOD, folder) == "accepted"
    again = read(folder / "proof.gpc")
    assert write(again) == GOOD


@settings(max_examples=60)
@given(st.data())
def test_any_flipped_bit_is_noticed(folder: Path, data: st.DataObject) -> None:
    entries = entries_of(GOOD)
    name = data.draw(st.sampled_from(sorted(entries)))
    content = bytearray(entries[name])
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    assert verdict(packed(entries | {name: bytes(content)}, honest=False), folder) != "accepted"


@settings(max_examples=100)
@given(st.data())
def test_numbers_changed_by_someone_who_mends_the_digest_prove_nothing_false(
    folder: Path, data: st.DataObject
) -> None:
    entries = entries_of(GOOD)
    name = data.draw(st.sampled_from(sorted(n for n in entries if n.endswith(".npy"))))
    array = np.load(io.BytesIO(entries[name]))
    change = data.draw(
        st.sampled_from(
            [
                lambda a: a[1:],
                lambda a: np.concatenate([a, a[-1:]]),
                lambda a: -a,
                lambda a: a[::-1],
                lambda a: _bumped(a, data.draw(st.integers(0, 10_000)), 1.3),
                lambda a: _bumped(a, data.draw(st.integers(0, 10_000)), -1.0),
                lambda a: _bumped(a, data.draw(st.integers(0, 10_000)), 1e30),
                lambda a: np.zeros_like(a),
                lambda a: a.astype(np.float64),
                lambda a: a[None],
            ]
        )
    )
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(change(array)) if array.size else array)
    verdict(packed(entries | {name: stream.getvalue()}), folder)


def _bumped(array: np.ndarray, at: int, factor: float) -> np.ndarray:
    out = array.copy()
    with np.errstate(all="ignore"):
        out.flat[at % out.size] = np.asarray(out.flat[at % out.size] * factor).astype(out.dtype)
    return out


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [path, *(p for key, inner in items for p in _paths(inner, (*path, key)))]
    return [path]


@settings(max_examples=120)
@given(st.data())
def test_every_field_of_the_header_is_checked(folder: Path, data: st.DataObject) -> None:
    entries = entries_of(GOOD)
    header = json.loads(entries[HEADER])
    path = data.draw(st.sampled_from([p for p in _paths(header) if p]))
    parent = header
    for key in path[:-1]:
        parent = parent[key]
    old = parent[path[-1]]
    new: Any = data.draw(
        st.sampled_from(
            [None, True, 0, -1, 7, 1 << 40, 1.5, 1e308, "", "x", "inf", "-inf", [], [[]], {}, [0]]
        )
    )
    remove = data.draw(st.booleans())
    if remove:
        del parent[path[-1]]
    else:
        parent[path[-1]] = new
    changed = json.dumps(header).encode()
    said = verdict(packed(entries | {HEADER: changed}), folder)
    harmless = path[-1] == "index" or (path[-1] in ("low", "high", "lower") and not remove)
    if not harmless and (remove or new != old or type(new) is not type(old)):
        assert said != "accepted", path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: {DIGEST: e[DIGEST]}, "has no 'header.json'"),
        (lambda e: e | {HEADER: b"{"}, "not JSON"),
        (lambda e: e | {HEADER: b"[" * 100_000}, "not JSON"),
        (lambda e: e | {HEADER: b'{"format": NaN}'}, "not JSON"),
        (lambda e: e | {HEADER: b"\xff\xfe"}, "not JSON"),
        (lambda e: e | {HEADER: b"[]"}, "format None"),
        (lambda e: e | {HEADER: b'{"format": "graphprune-certificate/1"}'}, "reads graphprune-"),
        (lambda e: e | {"evil.py": b"print()"}, "entry 'evil.py'"),
    ],
)
def test_what_is_no_certificate_is_named(
    tmp_path: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]], message: str
) -> None:
    file = tmp_path / "proof.gpc"
    file.write_bytes(packed(change(entries_of(GOOD))))
    with pytest.raises(CertificateError, match=message):
        read(file)


def _npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


@pytest.mark.parametrize(
    "array",
    [
        _npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\x80\x04N."),
        _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"),
        _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", bytes(4)),
        _npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1), }", bytes(4)),
        _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", b"\x00\x00\xc0\x7f"),
        _npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", bytes(4)),
        _npy("{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 3000 + "1,"),
        _npy("__import__('os').abort()"),
        b"",
        b"PK",
    ],
)
def test_malformed_arrays_are_refused(folder: Path, array: bytes) -> None:
    entries = entries_of(GOOD)
    name = next(n for n in entries if "multipliers" in n)
    assert verdict(packed(entries | {name: array}), folder) == "Refused"


def test_truncated_files_and_wrong_files(tmp_path: Path) -> None:
    file = tmp_path / "proof.gpc"
    for end in (0, 1, 100, len(GOOD) // 2, len(GOOD) - 1):
        file.write_bytes(GOOD[:end])
        with pytest.raises(CertificateError):
            read(file)
    file.write_bytes(b"\x93NUMPY" + bytes(1000))
    with pytest.raises(CertificateError, match="not a certificate"):
        read(file)
    with pytest.raises(CertificateError, match="no such file"):
        read(tmp_path / "missing")
    with pytest.raises(CertificateError):
        read(tmp_path)


def test_bombs_are_refused_before_they_are_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "proof.gpc"
    entries = entries_of(GOOD)
    file.write_bytes(packed(entries | {"bomb.npy": bytes(10_000_000)}))
    monkeypatch.setattr(container, "LIMIT", 1_000_000)
    with pytest.raises(CertificateError, match="unpacks to"):
        read(file)


def test_superfluous_and_doubled_arrays_are_refused(folder: Path) -> None:
    entries = entries_of(GOOD)
    name = next(n for n in entries if "multipliers" in n)
    assert verdict(packed(entries | {"more.npy": entries[name]}), folder) == "Refused"
    del entries[name]
    assert verdict(packed(entries), folder) == "Refused"


def test_another_model_is_refused() -> None:
    other = Case.random(5, [3, 3, 3, 3])
    proofs = CASE.file(CASE.proof(RADIUS))
    with pytest.raises(Refused, match="another model"):
        verify(proofs, other.model)
    # The same weights in another file are another model too.
    proto = CASE.net.model()
    proto.doc_string = "x"
    with pytest.raises(Refused, match="another model"):
        verify(proofs, parse_model(proto.SerializeToString()))
