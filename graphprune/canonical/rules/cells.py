"""Operators that choose cells: run on cell numbers, they say which cell each output reads.

An operator that copies, drops and repeats cells, with all else constant, is told by one run on an
array of numbers. That run is over a small batch, so that what mixes samples, or does something else
to each of them, shows and is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.canonical.batch import SYMBOLIC_BATCH
from graphprune.canonical.context import Array, Context, Tracked
from graphprune.canonical.rules.arithmetic import scale, shift
from graphprune.ir.source import Layout
from graphprune.operators import Concat, Gather, Pad, ReduceSum

Cells = NDArray[np.int64]
# Cell numbers of one node take this many bytes at most.
MAX_BYTES = 1 << 28
# Samples that are enough to see whether an operator treats all alike.
FEW = 2
NOTHING = -1


@dataclass(frozen=True, eq=False)
class Chosen:
    """The cells that an operator's outputs are sums of.

    Attributes
    ----------
    cells
        (*output shape, k): numbers of cells, `NOTHING` for none.
    offset
        (*output shape): constants added, or None.
    """

    cells: Cells
    offset: NDArray[np.float64] | None = None


def choose(
    context: Context,
    node: ir.Node,
    values: list[Tracked],
    run: Callable[..., Cells | Chosen],
    constants: tuple[Array, ...] = (),
) -> Tracked:
    """The output of an operator that chooses cells of computed values.

    Parameters
    ----------
    values
        The operands whose cells it reads.
    run
        Gets an array of cell numbers per value, shaped as the file's tensor; returns the chosen
        ones.
    constants
        Its constant operands: where one is as long as a symbolic batch, so are the arrays.

    Raises
    ------
    UnsupportedError
        It mixes samples, treats them differently, or needs too much memory.
    """
    layout = next((x.layout for x in values if x.layout.batch is not None), values[0].layout)
    bound = 1 if layout.batch is None else layout.shape[layout.batch]
    few = bound == SYMBOLIC_BATCH and not any(bound in c.shape for c in constants)
    count = FEW if few else bound
    total = sum(x.layout.size for x in values)
    if 8 * count * total > MAX_BYTES:
        raise context.fail(node, _too_large(count * total))
    starts = np.cumsum([0, *(x.layout.size for x in values)])
    arrays = [
        _numbers(x.layout, count, int(s), total) for x, s in zip(values, starts, strict=False)
    ]
    found = run(*arrays)
    if not isinstance(found, Chosen):
        found = Chosen(found[..., None])
    cells, offset, batch = _per_sample(context, node, found, count, total, layout.batch)
    if not cells.size:
        raise context.fail(node, "selects nothing: its output is empty")
    if 8 * cells.size > MAX_BYTES:
        raise context.fail(node, _too_large(cells.size))
    shape = list(cells.shape[:-1])
    if batch is not None:
        shape.insert(batch, bound)
    out = _emit(context, node, values, cells, Layout(tuple(shape), batch))
    return out if offset is None else shift(context, node, out, offset)


def _too_large(count: int) -> str:
    return (
        f"its choice of {count} cells takes {8 * count >> 20} MiB, more than {MAX_BYTES >> 20};"
        " export it on smaller tensors"
    )


def _numbers(layout: Layout, count: int, start: int, total: int) -> Cells:
    """Cells of a file's tensor, numbered from `start`, samples `total` apart."""
    base = np.arange(start, start + layout.size, dtype=np.int64).reshape(layout.sample)
    if layout.batch is None:
        return base
    samples = np.arange(count).reshape(-1, *(1 for _ in layout.sample)) * total
    return np.moveaxis(base + samples, 0, layout.batch)


def _per_sample(
    context: Context, node: ir.Node, found: Chosen, count: int, total: int, before: int | None
) -> tuple[Cells, NDArray[np.float64] | None, int | None]:
    """(cells of a sample, its offset, the batch axis of the output)."""
    cells, rank = found.cells, found.cells.ndim - 1
    axes = [a for a in range(rank) if cells.shape[a] == count]
    axes.sort(key=lambda axis: axis != before)
    # A batch of one may be lost: there is nothing to mix.
    for axis in [*axes, None] if count == 1 else axes:
        own = cells[None] if axis is None else np.moveaxis(cells, axis, 0)
        samples = np.arange(count).reshape(-1, *(1 for _ in own.shape[1:])) * total
        none, inner = own == NOTHING, own - samples
        if np.all(none | ((inner >= 0) & (inner < total))):
            inner = np.where(none, NOTHING, inner)
            if np.any(inner != inner[:1]):
                raise context.fail(node, "does something else to each sample of a batch")
            return inner[0], _same(context, node, found.offset, axis), axis
    raise context.fail(node, "mixes the batch with other axes")


def _same(
    context: Context, node: ir.Node, offset: NDArray[np.float64] | None, axis: int | None
) -> NDArray[np.float64] | None:
    """The offset of one sample."""
    if offset is None or axis is None:
        return offset
    own = np.moveaxis(offset, axis, 0)
    if np.any(own != own[:1]):
        raise context.fail(node, "a constant differs along the batch axis")
    first: NDArray[np.float64] = own[0]
    return first


def _emit(
    context: Context, node: ir.Node, values: list[Tracked], cells: Cells, layout: Layout
) -> Tracked:
    """The sums of cells of the values, numbered one after the other."""
    total, flat = sum(x.layout.size for x in values), cells.reshape(-1, cells.shape[-1])
    kept = np.arange(total)
    one = flat[:, 0]
    if cells.shape[-1] == 1 and len(values) == 1 and len(one) == total:
        mask = one != NOTHING
        if np.array_equal(one[mask], kept[mask]):
            x = context.relayout(values[0], layout, node)
            weight = mask.astype(np.float64).reshape(layout.sample)
            return x if mask.all() else scale(context, node, x, weight)
    parts = [context.relayout(x, Layout((1, x.layout.size), 0)) for x in values]
    joined = parts[0]
    if len(parts) > 1:
        op = Concat(0, tuple((x.layout.size,) for x in values))
        joined = context.emit(op, *parts, layout=Layout((1, total), 0))
    length = total
    if np.any(flat == NOTHING):
        length = total + 1
        joined = context.emit(Pad((0,), (1,), (total,)), joined, layout=Layout((1, length), 0))
    read = np.where(flat == NOTHING, total, flat).reshape(-1)
    gathered = context.emit(Gather(0, read, (length,)), joined, layout=Layout((1, len(read)), 0))
    if cells.shape[-1] > 1:
        table = context.relayout(gathered, Layout((1, *flat.shape), 0))
        summed = ReduceSum((1,), flat.shape)
        gathered = context.emit(summed, table, layout=Layout((1, len(flat), 1), 0))
    if prod(layout.sample) != len(flat):
        raise context.fail(node, f"chooses {len(flat)} cells for {layout.shape}")
    return context.relayout(gathered, layout, node)
