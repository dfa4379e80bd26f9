"""A certificate that costs a few forward passes: how far values can move, by spectral norms.

Interval arithmetic multiplies what it knows of a layer by |W|, layer after layer, and rounding
errors with it: on deep networks by some 40 per layer, so that no radius is left at all. Euclidean
lengths of changes grow by the layers' spectral norms alone (Szegedy et al. 2014), about 3 per
layer, errors of the float64 forward pass included: that leaves a radius wherever the anchor is
classified by more than such errors, and rounding is paid for in the same sum.

A value's change is described as T d + e: T a sparse matrix on changes d of earlier values whose
length is known, e an error with a bound per element. Operators with weights begin a new d. What
lies between them (the pairs of a MaxPool) is followed exactly: a ReLU whose sign cannot change is a
row of T, any other one the row halved and an error.
"""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.bounds.problem import Floats
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
from graphprune.transforms.matrix import matrices, run_operator

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Number = TypeVar("Number", float, Floats)

UNIT = 2.0**-53
# Roundings that a weight went through when layers were folded, and a few for the bounds on errors.
FOLDED = 24
# An underflow is less than TINY; products of what is at least SMALL and WEIGHT do not underflow.
TINY, SMALL, WEIGHT = 1e-290, 1e-200, 1e-80
# Sums of more terms are not split.
MOST = 1 << 16
# The first radius, how many are tried, and the share of the one that a linear model says.
FIRST, FARTHER, TRIES, SHARE = 1e-13, 10.0, 12, 0.98
# The share of the time that norms may take.
NORMS = 0.8
# A radius that is better by less than this is not looked for.
BETTER = 1.1


class WeightedOperator(AffineOperator, Protocol):
    """An operator that says its norm, and what it is with other weights."""

    @property
    def weight(self) -> Floats: ...

    def with_weight(self, weight: Floats) -> AffineOperator:
        """The operator with other weights and without offset."""
        ...

    def spectral_norm(self, deadline: float) -> float:
        """At least the largest singular value, a coarser bound past a deadline of `monotonic`."""
        ...


@dataclass(frozen=True, eq=False)
class _Spread:
    """The change of a value (n elements) on a ball, against what was computed at the anchor.

    Attributes
    ----------
    parts
        By number of an earlier change d: the most that its length is, and T (None: the identity).
    error
        (n,), bounds of e.
    """

    parts: "dict[int, tuple[float, csr_array[Any] | None]]"
    error: Floats

    @property
    def length(self) -> float:
        """At least its Euclidean length."""
        total = sum(length * _matrix_norm(matrix) for length, matrix in self.parts.values())
        return _up(total + _length(self.error), len(self.parts))

    @property
    def elements(self) -> Floats:
        """At least the absolute values of its elements (n,)."""
        total = self.error.copy()
        for length, matrix in self.parts.values():
            total += length * _row_lengths(matrix)
        found: Floats = total * (1.0 + 16.0 * UNIT * (len(self.parts) + 4))
        return found


class _Trace:
    """The forward pass at an anchor in float64, and what its operators may have rounded.

    Attributes
    ----------
    values
        By id of a pre-activation (and the logits): the computed value, flat.
    errors
        By id of an affine node's output: bounds (n,) of the rounding of this operator alone.
    """

    def __init__(self, network: Network, center: Floats) -> None:
        self.network = network
        self.values: dict[int, Floats] = {}
        self.errors: dict[int, Floats] = {}
        uses = Counter(id(v) for node in network.nodes for v in data_inputs(node))
        found: dict[int, Floats] = {id(network.input): center[None]}
        for node in network.nodes:
            inputs = data_inputs(node)
            given = [found[id(v)] for v in inputs]
            out = node.outputs[0]
            if is_affine(node):
                found[id(out)] = self._affine(node, given)
            else:
                z = given[0].reshape(-1)
                self.values[id(inputs[0])] = z
                low, high = activation_of(node).interval(z, z)
                found[id(out)] = (low + 0.5 * (high - low)).reshape(given[0].shape)
                self.errors[id(out)] = (high - low) * (low < high)
            for value in inputs:
                uses[id(value)] -= 1
                if not uses[id(value)]:
                    del found[id(value)]
        self.values[id(network.output)] = found[id(network.output)].reshape(-1)

    def _affine(self, node: ir.Node, given: list[Floats]) -> Floats:
        op = affine(node)
        shapes = [sample_shape(v) for v in data_inputs(node)]
        roundings = op.rounding + FOLDED
        error: Floats = np.zeros(0)
        if _weighted(op) and _splits(op, given):
            value, error = split_product(op, given[0], shapes[0])
            roundings = FOLDED
        else:
            value = run_operator(op, shapes, given)
        if op.rounding:
            size = run_operator(op.absolute(), shapes, [np.abs(x) for x in given]).reshape(-1)
            own = 1.01 * roundings * UNIT * size
            if _heavy(op) or not all(_ample(x, SMALL) for x in given):
                own += TINY * (1.0 + op.rounding)
            self.errors[id(node.outputs[0])] = own + error if len(error) else own
        return value


def _splits(op: "WeightedOperator", given: list[Floats]) -> bool:
    """True where `split_product` neither overflows nor underflows."""
    largest = [float(np.max(np.abs(array), initial=0.0)) for array in (op.weight, *given)]
    plain = all(a == 0.0 or WEIGHT < a < 1.0 / WEIGHT for a in largest)
    return plain and len(given) == 1 and op.rounding < MOST


def split_product(
    op: "WeightedOperator", x: Floats, shape: tuple[int, ...]
) -> tuple[Floats, Floats]:
    """An operator on one point (1, *sample), and bounds (n,) of what computing it rounded.

    Weights and point are split into multiples of a power of two so few that all sums of their
    products are exact, and rests that are smaller by that many bits, as in Ozaki et al. 2012.
    """
    count = op.rounding + 1
    bits = (53 - int(np.ceil(np.log2(count)))) // 2
    high, largest = _multiples(op.weight, bits)
    point, longest = _multiples(x, bits)
    parts = np.concatenate([point, x - point])
    exact, rest = np.split(run_operator(op.with_weight(high), [shape], [parts]), 2)
    rest = rest + run_operator(op.with_weight(op.weight - high), [shape], [x])
    offset = run_operator(op, [shape], [np.zeros_like(x)])
    middle = exact + rest
    value = middle + offset
    # Every term of a rest is at most this.
    term = largest * longest * 2.0 ** (1 - bits)
    sums = np.abs(rest) + np.abs(middle) + np.abs(value)
    lost: Floats = 1.01 * UNIT * (2.0 * count * count * term + sums) + TINY
    return value, lost.reshape(-1)


def _multiples(array: Floats, bits: int) -> tuple[Floats, float]:
    """Numbers rounded to multiples of 2^-bits of a power of two that none exceeds, and that."""
    largest = float(np.max(np.abs(array), initial=0.0))
    if largest == 0.0:
        return array, 0.0
    scale = 2.0 ** np.ceil(np.log2(largest) + 1e-9)
    step = scale * 2.0**-bits
    return np.rint(array / step) * step, scale


class LipschitzBounds:
    """Margins on balls around one anchor, from one forward pass and the operators' norms."""

    def __init__(self, query: Query, resources: Resources) -> None:
        self.query, self.resources = query, resources
        self.trace = _Trace(query.network, query.anchor.center)
        network = query.network
        # Activations above an operator with weights begin a new change.
        self._fresh = {
            id(activation.outputs[0])
            for activation, segment in zip(network.activations, network.segments, strict=False)
            if any(_heavy(affine(node)) for node in segment.nodes)
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
        first = _up(radius * query.norm.stretch(width), 4)
        spreads = {id(network.input): _Spread({0: (first, None)}, np.zeros(width))}
        last = network.nodes[-1]
        for number, node in enumerate(network.nodes, start=1):
            inputs = data_inputs(node)
            given = [spreads[id(v)] for v in inputs]
            if node is last and is_affine(node) and _heavy(affine(node)) and len(given) == 1:
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
        found: Floats = _up(total, terms) + 4.0 * UNIT * size + TINY
        return found

    def _affine(self, number: int, node: ir.Node, given: list[_Spread]) -> _Spread:
        op, out = affine(node), node.outputs[0]
        own = self.trace.errors.get(id(out))
        if _heavy(op):
            length = _norm(op, node, self) * sum(spread.length for spread in given)
            length += 0.0 if own is None else _length(own)
            return _Spread({number: (_up(length, 8), None)}, np.zeros(size(out)))
        parts: dict[int, tuple[float, Any]] = {}
        error = np.zeros(size(out)) if own is None else own
        shapes = [sample_shape(v) for v in data_inputs(node)]
        for spread, matrix in zip(given, matrices(op, shapes), strict=True):
            if not _ample(matrix.data, WEIGHT) and np.any(spread.error):
                error = error + TINY
            error = error + abs(matrix) @ spread.error
            for key, (length, before) in spread.parts.items():
                product = matrix if before is None else matrix @ before
                known = parts.get(key)
                parts[key] = (length, product if known is None else known[1] + product)
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
        if id(out) in self._fresh:
            steepest = np.maximum(np.abs(least), np.abs(most))
            length = _up(float(steepest.max(initial=0.0)) * spread.length, 4)
            mask = csr_array(diags_array((steepest > 0).astype(np.float64)))
            return _Spread({number: (length, mask)}, error)
        middle, half = 0.5 * least + 0.5 * most, 0.5 * (most - least) * (1.0 + 4.0 * UNIT)
        error = (error + half * moves + np.abs(middle) * spread.error) * (1.0 + 16.0 * UNIT)
        scale = diags_array(middle)
        parts: dict[int, tuple[float, csr_array[Any] | None]] = {
            key: (length, csr_array(scale if matrix is None else scale @ matrix))
            for key, (length, matrix) in spread.parts.items()
        }
        return _Spread(parts, error)


def lipschitz_radius(query: Query, resources: Resources, largest: float) -> float:
    """A radius that spectral norms certify, at most `largest`; 0 where they certify none.

    Parameters
    ----------
    resources
        Its deadline makes norms coarser, and ends the search for a larger radius.
    """
    if any(is_paired(operator(node)) for node in query.network.activations):
        return 0.0  # the slopes of a product have no bound
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


def _weighted(op: AffineOperator) -> TypeGuard[WeightedOperator]:
    return hasattr(op, "spectral_norm")


def _heavy(op: AffineOperator) -> bool:
    """True of an operator that says its norm, or whose matrix would be large."""
    return _weighted(op) or not hasattr(op, "matrices")


def _norm(op: AffineOperator, node: ir.Node, bounds: LipschitzBounds) -> float:
    """At least the operator's spectral norm; computed once per network, unless time was short."""
    known: dict[int, tuple[float, bool]] = bounds.query.network.cached("spectral norms", dict)
    norm, final = known.get(id(node), (np.inf, False))
    if final or (norm < np.inf and bounds.resources.over):
        return norm
    own = _weighted(op)
    found = op.spectral_norm(bounds.resources.deadline) if _weighted(op) else _by_rows(op, node)
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
    return _up(float(np.sqrt(row * max(columns))), op.rounding)


def _matrix_norm(matrix: "csr_array[Any] | None") -> float:
    if matrix is None:
        return 1.0
    sizes = abs(matrix)
    row, column = (float(sizes.sum(axis=axis).max(initial=0.0)) for axis in (1, 0))
    return _up(float(np.sqrt(row * column)), max(matrix.shape))


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
    return _up(scale * float(np.sqrt(scaled @ scaled)), len(vector))


def _ample(numbers: NDArray[np.floating], least: float) -> bool:
    """True where no number but 0 is smaller than `least`."""
    return not np.any((numbers != 0) & (np.abs(numbers) < least))


def _up(value: Number, terms: int) -> Number:
    """A sum or product of so many positive terms, rounded up."""
    return value * (1.0 + 8.0 * UNIT * (terms + 8))
