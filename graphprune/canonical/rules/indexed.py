"""GatherElements, GatherND, ScatterElements, ScatterND: cells read and written by constant indices,
and OneHot of constants."""

from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.canonical.context import Array, Context, Tracked, legalises
from graphprune.canonical.rules.cells import NOTHING, Cells, Chosen, choose
from graphprune.canonical.rules.largest import hot

# An index array per axis, as numpy takes them.
Places = tuple[NDArray[np.int64], ...]


@legalises("GatherElements")
def gather_elements(context: Context, node: ir.Node) -> Tracked:
    """The cell of a constant index along one axis, an index for every output."""
    x = context.computed(node, 0)
    index = context.need_constant(node, 1, "indices", whole=True).astype(np.int64)
    axis = context.axis(node.attributes.get_int("axis", 0), x.layout, node)
    return choose(context, node, [x], lambda cells: cells[_along(index, axis)], (index,))


def _along(index: Cells, axis: int) -> Places:
    """The places of GatherElements and ScatterElements: `index` in the place of one axis."""
    places: list[NDArray[np.int64]] = list(np.indices(index.shape, sparse=True))
    places[axis] = index
    return tuple(places)


@legalises("GatherND")
def gather_nd(context: Context, node: ir.Node) -> Tracked:
    """The cells, or slices, at constant coordinates."""
    x = context.computed(node, 0)
    index = context.need_constant(node, 1, "indices", whole=True).astype(np.int64)
    lead = node.attributes.get_int("batch_dims", 0)

    def run(cells: Cells) -> Cells:
        if cells.shape[:lead] != index.shape[:lead]:
            raise ValueError(f"{lead} leading axes {cells.shape} and {index.shape} differ")
        count = prod(cells.shape[:lead])
        own = index.reshape(count, *index.shape[lead:])
        data = cells.reshape(count, *cells.shape[lead:])
        read = [d[tuple(np.moveaxis(i, -1, 0))] for d, i in zip(data, own, strict=True)]
        return np.stack(read).reshape(*cells.shape[:lead], *read[0].shape)

    return choose(context, node, [x], run, (index,))


@legalises("ScatterElements", "Scatter")
def scatter_elements(context: Context, node: ir.Node) -> Tracked:
    """Cells at constant indices along one axis replaced by others, or those added to them."""
    index = context.need_constant(node, 1, "indices", whole=True).astype(np.int64)
    axis = node.attributes.get_int("axis", 0)
    return _scatter(context, node, index, _along(index, axis))


@legalises("ScatterND")
def scatter_nd(context: Context, node: ir.Node) -> Tracked:
    """Cells, or slices, at constant coordinates replaced by others, or those added to them."""
    index = context.need_constant(node, 1, "indices", whole=True).astype(np.int64)
    return _scatter(context, node, index, tuple(np.moveaxis(index, -1, 0)))


def _scatter(context: Context, node: ir.Node, index: Array, places: Places) -> Tracked:
    reduction = node.attributes.get_string("reduction", "none")
    if reduction not in ("none", "add"):
        raise context.fail(node, f"reduction '{reduction}' is not supported, only none and add")
    given = [context.constant(node, i, whole=True) for i in (0, 2)]
    values = [context.computed(node, i) for i, c in zip((0, 2), given, strict=True) if c is None]

    def run(*computed: Cells) -> Chosen:
        rest = iter(computed)
        sides = [_cells(next(rest) if c is None else None, c) for c in given]
        return _scattered(*sides[0], *sides[1], places, add=reduction == "add")

    constants = tuple(c for c in (index, *given) if c is not None)
    return choose(context, node, values, run, constants)


def _cells(computed: Cells | None, constant: Array | None) -> tuple[Cells, NDArray[np.float64]]:
    """(cells, offset) of an operand."""
    if computed is not None:
        return computed, np.zeros(computed.shape)
    assert constant is not None
    return np.full(constant.shape, NOTHING, dtype=np.int64), constant.astype(np.float64)


def _scattered(
    data: Cells, offset: NDArray[np.float64], update: Cells, more: NDArray[np.float64],
    places: Places, *, add: bool,
) -> Chosen:  # fmt: skip
    """`update` and the constants `more` written to, or added at, the places of `data`."""
    # The number of every place, slices written out.
    written = np.arange(data.size).reshape(data.shape)[places]
    if written.shape != update.shape:
        raise ValueError(f"its updates are {update.shape}, its indices ask for {written.shape}")
    target, source = written.reshape(-1), update.reshape(-1)
    order = np.argsort(target, kind="stable")
    first = np.searchsorted(target[order], target[order])
    # The number of earlier updates of the same place.
    layer = np.empty_like(order)
    layer[order] = np.arange(len(order)) - first
    offset = offset.copy().reshape(-1)
    if not add:
        if np.any(layer):
            raise ValueError("it writes one cell twice, of which runtimes keep either")
        cells = data.copy().reshape(-1)
        cells[target], offset[target] = source, more.reshape(-1)
        return Chosen(cells.reshape(*data.shape, 1), offset.reshape(data.shape))
    np.add.at(offset, target, more.reshape(-1))
    computed = source != NOTHING
    deep = 1 + int(layer[computed].max(initial=-1)) if computed.any() else 0
    table = np.full((data.size, 1 + deep), NOTHING, dtype=np.int64)
    table[:, 0] = data.reshape(-1)
    table[target[computed], 1 + layer[computed]] = source[computed]
    return Chosen(table.reshape(*data.shape, 1 + deep), offset.reshape(data.shape))


@legalises("OneHot")
def one_hot(context: Context, node: ir.Node) -> Tracked:
    """The computed values `off` and `on` at places that constant indices say; of an ArgMax
    off + (on - off) h, h 1 at the largest cell below it."""
    if context.constant(node, 0, whole=True) is None:
        return hot(context, node, context.computed(node, 0))
    index = context.need_constant(node, 0, "indices", whole=True).astype(np.int64)
    depth = int(np.ravel(context.need_constant(node, 1, "depth"))[0])
    axis = node.attributes.get_int("axis", -1)
    index = np.where(index < 0, index + depth, index)
    hit = np.expand_dims(index, axis) == np.arange(depth).reshape(
        -1, *(1 for _ in range(index.ndim - axis if axis >= 0 else -1 - axis))
    )
    values = context.computed(node, 2)
    return choose(context, node, [values], lambda cells: cells[hit.astype(int)], (index,))
