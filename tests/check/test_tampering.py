"""A certificate with everything a certificate can hold, and everything in it changed once."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.certificate import BallQuery, prove_ball
from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.backends.search.radius_step import prove_radius
from graphprune.check import Proof, ProofFile, Refused, read, read_model, verify, write
from graphprune.check.container import Claims, Scope
from graphprune.check.steps import Model
from graphprune.region import Domain
from graphprune.runtime.resources import Resources
from tests.conftest import MODELS, Floor

RADIUS = 0.0783


@cache
def _good() -> tuple[Model, ProofFile]:
    """Box cuts, planes, bounds of one sign, trees, assumptions, a point: image 0 of mnist-tiny."""
    network = gp.load(MODELS / "mnist-tiny.onnx")
    anchor = gp.load_anchors(MODELS / "mnist-test-100.npz", network)[0]
    interval = DistanceInterval(DistanceProblem(network, anchor, Domain(), 1.0), record=True)
    prove_radius(interval, Resources(), RADIUS, 2)
    model = read_model(MODELS / "mnist-tiny.onnx")
    question = BallQuery(model, anchor.x, anchor.label, RADIUS * (1 - 1e-6), 0.0, 1.0)
    scopes, margins = prove_ball(question, interval.trace)
    witness = gp.attack(network, anchor).witness
    assert witness is not None
    proof = Proof(
        0, anchor.label, anchor.x, question.radius, witness.distance, witness.target,
        witness.x.astype(np.float32), scopes, margins,
    )  # fmt: skip
    file = ProofFile(model.sha256, 0.0, 1.0, (proof,))
    verify(file, model)
    return model, file


def _scope(file: ProofFile, has: Callable[[Scope], bool]) -> int:
    return next(i for i, scope in enumerate(file.proofs[0].scopes) if has(scope))


def _with(file: ProofFile, number: int, **changes: Any) -> ProofFile:
    """The file with another scope in the place of one."""
    (proof,) = file.proofs
    scopes = list(proof.scopes)
    scopes[number] = replace(scopes[number], **changes)
    return replace(file, proofs=(replace(proof, scopes=tuple(scopes)),))


def _proof(file: ProofFile, **changes: Any) -> ProofFile:
    return replace(file, proofs=(replace(file.proofs[0], **changes),))


def _claims(file: ProofFile, has: Callable[[Claims], bool], **changes: Any) -> ProofFile:
    """The file with the first claims of a scope changed that have something."""
    number = _scope(file, lambda s: any(map(has, s.claims)))
    claims = list(file.proofs[0].scopes[number].claims)
    place = next(i for i, c in enumerate(claims) if has(c))
    values = {k: change(getattr(claims[place], k)) for k, change in changes.items()}
    claims[place] = replace(claims[place], **values)
    return _with(file, number, claims=tuple(claims))


def _treed(claims: Claims) -> bool:
    return claims.trees is not None


def _one_leaf(file: ProofFile) -> ProofFile:
    """A tree of the late layers cut down to its first case: a bound for half of the points."""
    number = _scope(file, lambda s: any(map(_treed, s.claims)))
    (claims,) = file.proofs[0].scopes[number].claims
    assert claims.trees is not None
    total = np.cumsum(np.where(claims.trees < 0, 1, -1))
    end = int(np.flatnonzero(total == 1)[0]) + 1
    leaves = int(np.sum(claims.trees[:end] < 0))
    assert leaves > 1
    trees = np.concatenate([np.array([-1], np.int32), claims.trees[end:]])
    m = np.concatenate([claims.multipliers[:1], claims.multipliers[leaves:]])
    return _with(file, number, claims=(replace(claims, trees=trees, multipliers=m),))


def _planes(file: ProofFile, **changes: Any) -> ProofFile:
    number = _scope(file, lambda s: s.plane_neurons is not None)
    scope = file.proofs[0].scopes[number]
    return _with(file, number, **{k: change(getattr(scope, k)) for k, change in changes.items()})


def _margins(file: ProofFile, **changes: Any) -> ProofFile:
    (proof,) = file.proofs
    first = proof.margins[0]
    values = {k: change(getattr(first.claims, k)) for k, change in changes.items()}
    changed = replace(first, claims=replace(first.claims, **values))
    return _proof(file, margins=(changed, *proof.margins[1:]))


def _cut(scope: Scope) -> bool:
    return scope.cut is not None


TAMPERED: dict[str, tuple[Callable[[ProofFile], ProofFile], str]] = {
    "hash": (lambda f: replace(f, model="0" * 64), "another model"),
    "domain": (lambda f: replace(f, high=2.0), "tighter|margin"),
    "radius": (lambda f: _proof(f, lower=RADIUS * 1.01), "exceeds|tighter"),
    "anchor moved": (lambda f: _proof(f, anchor=f.proofs[0].anchor * np.float32(0.9)), "distance|tighter"),
    "label": (lambda f: _proof(f, label=3), "margin|target|tighter"),
    "point moved": (lambda f: _proof(f, point=f.proofs[0].anchor), "distance"),
    "target dropped": (lambda f: _proof(f, margins=f.proofs[0].margins[1:]), "not excluded"),
    "scope dropped": (lambda f: _proof(f, scopes=f.proofs[0].scopes[:1]), "not exist"),
    "bound": (lambda f: _with(f, 0, lower=f.proofs[0].scopes[0].lower * 0.9), "tighter"),
    "split removed": (
        lambda f: _claims(f, _treed, trees=lambda t: t[:-1], multipliers=lambda m: m[:-1]),
        "incomplete",
    ),
    "case dropped": (_one_leaf, "tighter"),
    "split doubled": (lambda f: _claims(f, _treed, trees=lambda t: np.full_like(t, t[0])), "open"),
    "slope": (lambda f: _claims(f, _treed, multipliers=lambda m: 0.5 * m), "tighter"),
    "margin's slope": (lambda f: _margins(f, multipliers=lambda m: 0.0 * m), "only proven"),
    "assumption": (
        lambda f: _claims(f, lambda c: c.assumption is not None, assumption=lambda a: -a - 1),
        "negative",
    ),
    "planes' multipliers": (
        lambda f: _claims(f, lambda c: c.planes is not None, planes=lambda p: -p - 1), "negative",
    ),
    "plane's coefficients": (lambda f: _planes(f, plane_values=lambda v: 0.9 * v), "plane"),
    "plane's offset": (lambda f: _planes(f, plane_offsets=lambda q: q - 1e-3), "plane"),
    "plane's proof": (lambda f: _planes(f, plane_below=lambda s: s + 1.0), "plane"),
    "plane's neuron": (lambda f: _planes(f, plane_neurons=lambda n: n[::-1].copy()), "plane"),
    "planes' proof missing": (lambda f: _planes(f, plane_above=lambda t: None), "missing"),
    "cut of another target": (
        lambda f: _with(f, _scope(f, _cut), target=-1), "target|something else",
    ),
    "cut missing": (lambda f: _with(f, _scope(f, _cut), cut=None), "tighter|margin"),
}  # fmt: skip


def test_columns_of_planes_may_come_in_any_order() -> None:
    model, file = _good()
    number = _scope(file, lambda s: s.plane_neurons is not None)
    scope = file.proofs[0].scopes[number]
    assert scope.plane_starts is not None
    assert scope.plane_columns is not None
    assert scope.plane_values is not None
    columns, values = scope.plane_columns.copy(), scope.plane_values.copy()
    end = scope.plane_starts[1]
    columns[:end], values[:end] = columns[:end][::-1].copy(), values[:end][::-1].copy()
    shuffled = _with(file, number, plane_columns=columns, plane_values=values)
    verify(read(BytesIO(write(shuffled))), model)


@pytest.mark.parametrize("name", TAMPERED)
def test_everything_that_is_changed_is_refused(name: str) -> None:
    model, file = _good()
    change, reason = TAMPERED[name]
    with pytest.raises(Refused, match=reason):
        verify(read(BytesIO(write(change(file)))), model)


def _spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all numbers and arrays."""
    if is_dataclass(value):
        return [
            p for f in fields(value) for p in _spots(getattr(value, f.name), (*path, f.name))
        ]  # fmt: skip
    if isinstance(value, tuple):
        return [p for i, item in enumerate(value) for p in _spots(item, (*path, i))]
    return [] if value is None or isinstance(value, str) else [path]


def _replaced(value: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    key, *rest = path
    if isinstance(value, tuple):
        return (*value[:key], _replaced(value[key], tuple(rest), change), *value[key + 1 :])
    return replace(value, **{key: _replaced(getattr(value, key), tuple(rest), change)})


def _change(value: Any, rng: np.random.Generator) -> Any:
    """One number or array, changed a little or much."""
    factor = float(rng.choice([0.0, -1.0, 0.5, 0.999, 1.001, 2.0, 1e9]))
    if not isinstance(value, np.ndarray):
        return type(value)(value * factor) if rng.random() < 0.5 else value + type(value)(1)
    out = value.copy()
    if out.size == 0 or rng.random() < 0.2:
        return out[:-1]
    which = rng.integers(out.size) if rng.random() < 0.7 else slice(None)
    with np.errstate(all="ignore"):
        out.reshape(-1)[which] = (out.reshape(-1)[which] * factor).astype(out.dtype)
    return out


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_no_change_proves_anything_false(floor: Floor, seed: int, count: int) -> None:
    model, file = _good()
    rng = np.random.default_rng(seed)
    changed = file
    for _ in range(count):
        spots = _spots(changed)
        path = spots[rng.integers(len(spots))]
        changed = _replaced(changed, path, lambda value: _change(value, rng))
    try:
        (result,) = verify(read(BytesIO(write(changed))), model)
    except Refused:
        return
    floor.checked(1, least=1)  # most changes are refused
    (before,), (after,) = file.proofs, changed.proofs
    same = np.array_equal(before.anchor, after.anchor) and before.label == after.label
    if same and (changed.low, changed.high) == (0.0, 1.0):
        assert before.upper is not None
        assert result.lower <= before.upper
