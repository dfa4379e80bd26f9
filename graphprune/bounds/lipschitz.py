"""A certificate that costs a few forward passes: how far values can move, by spectral norms.

Interval arithmetic multiplies what it knows of a layer by |W|, layer after layer, and rounding
errors with it: on deep networks by some 40 per layer, so that no radius is left at all. Euclidean
lengths of changes grow by the layers' spectral norms alone (Szegedy et al. 2014), about 3 per
layer, errors of the float64 forward pass included: that leaves a radius wherever the anchor is
classified by more than such errors, and rounding is paid for in the same sum.

A value's change is described as T d + e: T a sparse matrix on changes d of earlier values whose
length is known, e an error with a bound per element. Operators with weights begin a new d. What
lies between them (the pairs of a MaxPool) is followed exactly: a ReLU whose sign cannot change is a
row of T, any other one the row halved and an error, and so are products: y dx + x dy is known from
the values at the anchor, dx dy is an error.
"""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from graphprune.bounds.problem import Floats
from graphprune.bounds.rounded_pass import (
    FOLDED,
    TINY,
    UNIT,
    WEIGHT,
    RoundedPass,
    ample,
    heavy,
    round_up_sum,
    weighted,
)
from graphprune.ir import Query
from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import (
    BATCH,
    AffineOperator,
    Network,
    activation_of,
    affine,
    data_inputs,
    is_affine,
    is_paired,
    operator,
    sample_shape,
    size,
)
from graphprune.runtime.reference import Reference
from graphprune.runtime.resources import Resources
from graphprune.transforms.matrix import matrices

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Key = tuple[int, int]
# Matrices of a change with more entries are replaced by a change of their own.
ENTRIES = 1 << 22
# Numbers that are held at once for each element of a value, about.
NUMBERS = 4
# The first radius, how many are tried, and the share of the one that a linear model says.
FIRST, FARTHER, TRIES, SHARE = 1e-13, 10.0, 12, 0.98
# The share of the time that norms may take.
NORMS = 0.8
# A radius that is better by less than this is not looked for.
BETTER = 1.1


@dataclass(frozen=True, eq=False)
class _Spread:
    """The change of a value (n elements) on a ball, against what was computed at the anchor.

    Attributes
    ----------
    parts
        By the node that an earlier change d began at, and which of its values this is (0 is the
        output): the most that its length is, and T (None: the identity).
    error
        (n,), bounds of e.
    """

    parts: "dict[Key, tuple[float, csr_array[Any] | None]]"
    error: Floats

    @property
    def length(self) -> float:
        """At least its Euclidean length."""
        total = sum(length * _matrix_norm(matrix) for length, matrix in self.parts.values())
        return round_up_sum(total + _length(self.error), len(self.parts))

    @property
    def elements(self) -> Floats:
        """At least the absolute values of its elements (n,)."""
        total = self.error.copy()
        for length, matrix in self.parts.values():
            total += length * _row_lengths(matrix)
        found: Floats = total * (1.0 + 16.0 * UNIT * (len(self.parts) + 4))
        return found


class LipschitzBounds:
    """Margins on balls around one anchor, from one forward pass and the operators' norms."""

    def __init__(self, query: Query, resources: Resources) -> None:
        self.query, self.resources = query, resources
        self.trace = RoundedPass(query.network, query.anchor.center)
        network = query.network
        # Activations above an operator with weights begin a new change.
        self._fresh = {
            id(activation.outputs[0])
            for activation, segment in zip(network.activations, network.segments, strict=False)
            if any(heavy(affine(node)) for node in segment.nodes)
        }

    @property
    def computed(self) -> Floats:
        """Margins (targets,) at the anchor, in float64."""
        logits = self.trace.values[id(self.query.network.output)]
        found: Floats = logits[self.query.anchor.label] - logits[self.query.targets]
        return found

    def losses(self, radius: float) -> Floats:
        """The most (targets,) that margins on a ball are below the computed ones."""
        query, network = self.query, self.query.network
        uses = Counter(id(v) for node in network.nodes for v in data_inputs(node))
        width = size(network.input)
        first = round_up_sum(radius * query.norm.stretch(width), 4)
        spreads = {id(network.input): _Spread({(0, 0): (first, None)}, np.zeros(width))}
        last = network.nodes[-1]
        for number, node in enumerate(network.nodes, start=1):
            inputs = data_inputs(node)
            given = [spreads[id(v)] for v in inputs]
            if node is last and is_affine(node) and heavy(affine(node)) and len(given) == 1:
                return self._through_rows(node, given[0].length)
            if is_affine(node):
                spread = self._affine(number, node, given)
            else:
                spread = self._activation(number, node, given[0])
            spreads[id(node.outputs[0])] = spread
            for value in inputs:
                uses[id(value)] -= 1
                if not uses[id(value)]:
                    del spreads[id(value)]
        spread = spreads[id(network.output)]
        label, targets = query.anchor.label, query.targets
        total = spread.error[label] + spread.error[targets]
        for length, matrix in spread.parts.values():
            if matrix is None:
                total = total + np.sqrt(2.0) * length
            else:
                rows = matrix[np.full(len(targets), label)] - matrix[targets]
                total = total + length * _row_lengths(rows)
        return self._rounded(total, len(spread.parts))

    def _through_rows(self, node: ir.Node, length: float) -> Floats:
        """The losses from the change below the last operator: by the lengths of margins' rows."""
        query, op = self.query, affine(node)
        label, targets = query.anchor.label, query.targets
        rows = np.zeros((len(targets), size(node.outputs[0])))
        rows[:, label] = 1.0
        rows[np.arange(len(targets)), targets] -= 1.0
        b = GraphBuilder(np.float64)
        below = b.input("rows", [BATCH, *sample_shape(node.outputs[0])])
        b.output(op.adjoint(b, below)[0], "back")
        shaped = rows.reshape(-1, *sample_shape(node.outputs[0]))
        back = Reference(b.build("rows"))({"rows": shaped})[0].reshape(len(rows), -1)
        error = self.trace.errors[id(node.outputs[0])]
        # Two weights make an entry; what rounding them lost is in proportion to the norm.
        lost = 8.0 * UNIT * (op.rounding + FOLDED) * np.sqrt(back.shape[1]) * _norm(op, node, self)
        steep = np.sqrt(np.einsum("ti,ti->t", back, back)) * (1.0 + back.shape[1] * UNIT) + lost
        total = steep * length + error[label] + error[targets]
        return self._rounded(total, back.shape[1])

    def _rounded(self, total: Floats, terms: int) -> Floats:
        logits = np.abs(self.trace.values[id(self.query.network.output)])
        size = logits[self.query.anchor.label] + logits[self.query.targets]
        found: Floats = round_up_sum(total, terms) + 4.0 * UNIT * size + TINY
        return found

    def _affine(self, number: int, node: ir.Node, given: list[_Spread]) -> _Spread:
        op, out = affine(node), node.outputs[0]
        own = self.trace.errors.get(id(out))
        if heavy(op):
            length = _norm(op, node, self) * sum(spread.length for spread in given)
            length += 0.0 if own is None else _length(own)
            return _Spread({(number, 0): (round_up_sum(length, 8), None)}, np.zeros(size(out)))
        parts: dict[Key, tuple[float, Any]] = {}
        error = np.zeros(size(out)) if own is None else own
        shapes = [sample_shape(v) for v in data_inputs(node)]
        for place, (spread, matrix) in enumerate(zip(given, matrices(op, shapes), strict=True)):
            if _dense(matrix, spread):
                spread = _anew((number, 1 + place), spread)
            if not ample(matrix.data, WEIGHT) and np.any(spread.error):
                error = error + TINY
            error = error + abs(matrix) @ spread.error
            for key, (length, before) in spread.parts.items():
                if before is None:
                    product = matrix
                else:
                    product = matrix @ before
                    error = error + length * _lost(matrix, before, op.rounding)
                if key in parts:
                    known = parts[key][1]
                    error = error + UNIT * length * (_row_lengths(known) + _row_lengths(product))
                    product = known + product
                parts[key] = (length, product)
        return _Spread(parts, error * (1.0 + 8.0 * UNIT * (op.rounding + 8)))

    def _activation(self, number: int, node: ir.Node, spread: _Spread) -> _Spread:
        from scipy.sparse import csr_array, diags_array

        activation, out = activation_of(node), node.outputs[0]
        z, moves = self.trace.values[id(data_inputs(node)[0])], spread.elements
        if not np.all(np.isfinite(moves)):
            raise ArithmeticError("a change has no bound")
        low, high = (np.nextafter(z - moves, -np.inf), np.nextafter(z + moves, np.inf))
        # A ReLU at 0 exactly stays there where nothing moves it.
        low, high = np.where(moves > 0, low, z), np.where(moves > 0, high, z)
        if np.any(activation.undefined(low, high)):
            raise ArithmeticError("an activation is not defined on the ball")
        least, most = activation.slope_range(low, high)
        if not activation.piecewise_linear:
            # (Slopes are computed, to a few units in the last place.)
            least, most = (
                s + sign * 1e-9 * (1.0 + np.abs(s)) for s, sign in ((least, -1), (most, 1))
            )
        error = self.trace.errors[id(out)]
        if is_paired(activation):
            return _product(spread, z, moves, error)
        if id(out) in self._fresh:
            steepest = np.maximum(np.abs(least), np.abs(most))
            length = round_up_sum(float(steepest.max(initial=0.0)) * spread.length, 4)
            mask = csr_array(diags_array((steepest > 0).astype(np.float64)))
            return _Spread({(number, 0): (length, mask)}, error)
        middle, half = 0.5 * least + 0.5 * most, 0.5 * (most - least) * (1.0 + 4.0 * UNIT)
        error = (error + half * moves + np.abs(middle) * spread.error) * (1.0 + 16.0 * UNIT)
        scale = diags_array(middle)
        parts: dict[Key, tuple[float, csr_array[Any] | None]] = {
            key: (length, csr_array(scale if matrix is None else scale @ matrix))
            for key, (length, matrix) in spread.parts.items()
        }
        return _Spread(parts, error)


def _anew(key: Key, spread: _Spread) -> _Spread:
    """The same change as one of its own, of which no more than the length is known."""
    return _Spread({key: (spread.length, None)}, np.zeros(len(spread.error)))


def _dense(matrix: "csr_array[Any]", spread: _Spread) -> bool:
    """True where an operator's matrix times those of a spread would have too many entries."""
    entries = 0
    for _, before in spread.parts.values():
        if before is not None:
            entries += int(np.diff(before.indptr)[matrix.indices].sum())
    return entries > ENTRIES


def _product(spread: _Spread, z: Floats, moves: Floats, error: Floats) -> _Spread:
    """The change of x y / 2, in both halves: (y dx + x dy + dx dy) / 2."""
    from scipy.sparse import csr_array, diags_array, hstack, vstack

    count = len(z) // 2
    x, y = 0.5 * np.abs(z[:count]), 0.5 * np.abs(z[count:])
    own = y * spread.error[:count] + x * spread.error[count:] + 0.5 * moves[:count] * moves[count:]
    error = error + np.tile(own, 2) + TINY
    half = hstack([diags_array(0.5 * z[count:]), diags_array(0.5 * z[:count])])
    scale = csr_array(vstack([half, half]))
    parts: dict[Key, tuple[float, csr_array[Any] | None]] = {}
    for key, (length, matrix) in spread.parts.items():
        if matrix is not None:
            error = error + length * _lost(scale, matrix, 2)
        parts[key] = (length, scale if matrix is None else csr_array(scale @ matrix))
    return _Spread(parts, error * (1.0 + 32.0 * UNIT))


def bytes_for_products(network: Network) -> int:
    """The memory that all pairs of products take here, which may be hundreds of millions."""
    if not any(is_paired(operator(activation)) for activation in network.activations):
        return 0
    return NUMBERS * 8 * sum(size(node.outputs[0]) for node in network.nodes)


def lipschitz_radius(query: Query, resources: Resources, largest: float) -> float:
    """A radius that spectral norms certify, at most `largest`; 0 where they certify none.

    Parameters
    ----------
    resources
        Its deadline makes norms coarser, and ends the search for a larger radius; products that
        need more than its memory (`bytes_for_products`) have no radius.
    """
    if bytes_for_products(query.network) > resources.memory:
        return 0.0
    best, radius = 0.0, min(FIRST, largest)
    with np.errstate(all="ignore"):
        try:
            norms = resources.within(NORMS * resources.remaining())
            bounds = LipschitzBounds(query, norms)
            margins = bounds.computed
            seen: list[tuple[float, Floats]] = []
            for _ in range(TRIES):
                losses = bounds.losses(radius)
                if np.all(margins - losses > 0.0):
                    best = max(best, radius)
                seen.append((radius, losses))
                radius = min(_next_radius(margins, seen[-2:]), largest)
                if resources.over or not radius > BETTER * best:
                    break
        except (ArithmeticError, MemoryError):
            pass
    return best


def _next_radius(margins: Floats, seen: list[tuple[float, Floats]]) -> float:
    """Where a line through the losses at the last two radii says that a margin vanishes.

    Losses are those of rounding and, while no sign changes, in proportion to the radius.
    """
    (radius, losses), (later, last) = seen[0], seen[-1]
    if len(seen) == 1:
        # As if all of the losses were in proportion, which is too careful where rounding is a part.
        share = SHARE * float(np.min(margins / losses))
        return radius * (share if share > BETTER else 1.0 / FARTHER)
    slope = (last - losses) / (later - radius)
    found = float(np.min((margins - (losses - slope * radius)) / slope))
    return min(SHARE * found, FARTHER**2 * later)


def _norm(op: AffineOperator, node: ir.Node, bounds: LipschitzBounds) -> float:
    """At least the operator's spectral norm; computed once per network, unless time was short."""
    known: dict[int, tuple[float, bool]] = bounds.query.network.cached("spectral norms", dict)
    norm, final = known.get(id(node), (np.inf, False))
    if final or (norm < np.inf and bounds.resources.over):
        return norm
    own = weighted(op)
    found = op.spectral_norm(bounds.resources.deadline) if weighted(op) else _by_rows(op, node)
    known[id(node)] = min(norm, found), not own or not bounds.resources.over
    return min(norm, found)


def _by_rows(op: AffineOperator, node: ir.Node) -> float:
    """The root of the largest absolute row sum times the largest absolute column sum."""
    b = GraphBuilder(np.float64)
    inputs = data_inputs(node)
    x = [b.input(f"x{i}", [BATCH, *sample_shape(v)]) for i, v in enumerate(inputs)]
    rows = b.input("rows", [BATCH, *sample_shape(node.outputs[0])])
    absolute = op.absolute()
    b.output(absolute.linear(b, *x), "sums")
    for back in absolute.adjoint(b, rows):
        b.output(back, "back")
    feeds = {f"x{i}": np.ones((1, *sample_shape(v))) for i, v in enumerate(inputs)}
    feeds["rows"] = np.ones((1, *sample_shape(node.outputs[0])))
    row, *columns = (float(a.max(initial=0.0)) for a in Reference(b.build("sums"))(feeds))
    return round_up_sum(float(np.sqrt(row * max(columns))), op.rounding)


def _lost(matrix: "csr_array[Any]", before: "csr_array[Any]", roundings: int) -> Floats:
    """Lengths of what the rows of a matrix product lost, terms that cancel included."""
    lengths: Floats = abs(matrix) @ np.asarray(_row_lengths(before))
    return (roundings + 4) * UNIT * lengths


def _matrix_norm(matrix: "csr_array[Any] | None") -> float:
    if matrix is None:
        return 1.0
    sizes = abs(matrix)
    row, column = (float(sizes.sum(axis=axis).max(initial=0.0)) for axis in (1, 0))
    return round_up_sum(float(np.sqrt(row * column)), max(matrix.shape))


def _row_lengths(matrix: "csr_array[Any] | None") -> Floats | float:
    if matrix is None:
        return 1.0
    found: Floats = np.sqrt(matrix.multiply(matrix).sum(axis=1))
    return found * (1.0 + 8.0 * UNIT * (matrix.shape[1] + 4))


def _length(vector: Floats) -> float:
    """At least the Euclidean length of a vector."""
    scale = float(np.max(np.abs(vector), initial=0.0))
    if scale == 0.0:
        return 0.0
    scaled = vector / scale
    return round_up_sum(scale * float(np.sqrt(scaled @ scaled)), len(vector))
