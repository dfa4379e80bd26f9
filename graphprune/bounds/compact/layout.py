"""A network as blocks of weights that stand close together.

Every value (the input, every activation, the logits) gets an order of its elements in which the
cells of an image stand channel by channel: the receptive field of a neuron then consists of few
*runs* of consecutive elements. All values lie one after the other in one index space, so that the
state of a whole network is one array; a pre-activation shares the place of its activation.

The neurons of one *block* (the channels at one pixel) read the same runs, so a segment's matrix
becomes per block a list of runs and one small dense matrix (neurons, all runs together). Equal
blocks (a convolution away from its border) are stored once and stay in the cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import OutOfTimeError
from graphprune.ir.network import (
    Network,
    Shape,
    is_paired,
    operator,
    sample_shape,
    size,
)
from graphprune.runtime.resources import current
from graphprune.transforms.matrix import composed

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Widest block of a value without channels.
BLOCK = 64
# Longest line of an image that is one.
LINE = 4 * BLOCK
# Blocks stored with more zeros than this, per weight, are split into single neurons.
WASTE = 4
# Rounding errors are proportional to no less than this, which covers every underflow in what a row
# multiplies.
FLOOR = 1e-100
# Layouts of so many multiplications take a moment: they are made whatever the deadline is.
LIGHT = 1 << 19
# Bytes that building a segment takes per multiplication, and those that its layout keeps, at most.
BYTES_PER_WEIGHT, KEPT_PER_WEIGHT = 120, 20


@dataclass(frozen=True, eq=False)
class Compact:
    """The arrays the kernels read; see the module's description.

    Attributes
    ----------
    start, width, block
        Per value (0: input, 1 + i: activation i, last: logits): first index, number of elements,
        elements per block.
    first_block
        Per value: index of its first block among all blocks; one entry more than values.
    order
        Per value: layout position to flat index.
    edge_start
        Per segment, the first of its edges; one entry more than segments.
    edge_source, edge_block, edge_group
        Per edge (a segment's matrix from one source): the value it reads, target neurons per
        block, its first *group* (a block of an edge).
    edge_pick
        Per edge, where each of its neurons reads one element at most, the first of its picks; else
        -1.
    pick_column, pick_block, pick_weight
        Per neuron of such an edge: the index it reads (-1: none), that element's block (among all
        blocks), and its weight.
    group_run, group_width, group_weight
        Per group: its first run (one entry more than groups), the elements of all its runs, the
        place of its matrix in `weights`.
    run_column, run_length, run_first, run_last
        Per run: first index and length, first and last block it touches (among all blocks).
    weights, sizes
        The matrices, and at least their absolute values (what rounding is proportional to).
    offset, offset_size
        Per index: a pre-activation's constant, and at least its absolute value; `FLOOR` unless
        the pre-activation is constantly 0.
    paired
        Per value 1 where neighbours in the layout are a pair, else 0.
    roundings
        No number computed by one pass went through more roundings than this.
    """

    start: Ints
    width: Ints
    block: Ints
    first_block: Ints
    order: tuple[Ints, ...]
    edge_start: Ints
    edge_source: Ints
    edge_block: Ints
    edge_group: Ints
    edge_pick: Ints
    pick_column: Ints
    pick_block: Ints
    pick_weight: Floats
    group_run: Ints
    group_width: Ints
    group_weight: Ints
    run_column: Ints
    run_length: Ints
    run_first: Ints
    run_last: Ints
    weights: Floats
    sizes: Floats
    offset: Floats
    offset_size: Floats
    paired: Ints
    roundings: int

    @property
    def total(self) -> int:
        """Length of the index space."""
        return int(self.start[-1] + self.width[-1])

    def place(self, value: int) -> slice:
        """Where a value lies."""
        return slice(int(self.start[value]), int(self.start[value] + self.width[value]))


def worthwhile(network: Network, memory: int) -> bool:
    """True where the blocks of a network surely fit into `memory` bytes."""
    largest = max((segment.multiply_adds for segment in network.segments), default=0)
    return largest * BYTES_PER_WEIGHT + network.multiply_adds * KEPT_PER_WEIGHT <= memory


def compact(network: Network) -> Compact:
    """The layout of a network, made once.

    Raises
    ------
    OutOfTimeError
        The deadline of the current resources passed, and the network is not `LIGHT`.
        Segments that are done by then are kept: the next call goes on from there.
    """
    return network.cached("compact", lambda: _Layout(network)).whole()


def _order(shape: Shape) -> tuple[Ints, int]:
    """Layout position to flat index, and the elements per block."""
    index = np.arange(int(np.prod(shape)), dtype=np.int64)
    if len(shape) < 2:
        return index, max(1, min(len(index), BLOCK))
    order = np.moveaxis(index.reshape(shape), 0, -1).reshape(-1)
    if shape[0] > 2:
        return order, shape[0]
    # One channel makes no block: take a line of the image.
    line = shape[0] * shape[-1]
    return order, line if line <= LINE else BLOCK


def _lines(shape: Shape) -> tuple[Ints, int]:
    """`_order` of tokens: the elements of the last axis stand side by side."""
    line = next((n for n in reversed(shape) if n > 1), 1)
    return np.arange(int(np.prod(shape)), dtype=np.int64), line if line <= LINE else BLOCK


def _cost(sizes: "csr_array[Any]", block: int) -> int:
    """About the work of an edge in blocks of this many neurons."""
    stored = _stored(sizes, block)
    return stored if stored <= WASTE * sizes.nnz else WASTE * sizes.nnz


class _Layout:
    """A layout in the making, segment by segment: each is composed once, and forgotten."""

    def __init__(self, network: Network) -> None:
        values = [network.input, *(a.outputs[0] for a in network.activations), network.output]
        self.network = network
        self.shapes = [sample_shape(value) for value in values]
        self.paired = [False, *(is_paired(operator(a)) for a in network.activations), False]
        self.index = {id(value): i for i, value in enumerate(values[:-1])}
        self.widths = np.array([size(value) for value in values], dtype=np.int64)
        self.start = np.concatenate([[0], np.cumsum(self.widths)[:-1]])
        total = int(self.widths.sum())
        self.offset, self.offset_size = np.zeros(total), np.zeros(total)
        self.roundings = 0
        # Known of the values so far: order, elements per block, whether as tokens, blocks
        # before it.
        order, block = _order(self.shapes[0])
        self.orders, self.blocks, self.as_tokens = [order], [block], [False]
        self.first_block = [0, -(-int(self.widths[0]) // block)]
        self.store = _Store()
        self.edge_start: list[int] = [0]
        self.edge_source: list[int] = []
        self.edge_block: list[int] = []
        self.edge_group: list[int] = []
        self._made: Compact | None = None

    def whole(self) -> Compact:
        """Go on until the layout is whole."""
        if self._made is None:
            light = self.network.multiply_adds <= LIGHT
            for index in range(len(self.orders) - 1, len(self.network.segments)):
                if current().over and not light:
                    raise OutOfTimeError("time was over before the network's layers were laid out")
                self._add(index)
            self._made = self._arrays()
            self.store = _Store()
        return self._made

    def _add(self, index: int) -> None:
        """Lay out the next segment's target, and store its matrices."""
        segment, matrix = self.network.segments[index], composed(self.network, index)
        target = len(self.orders)
        sources = [self.index[id(source)] for source in segment.sources]
        rows, block = self._choose(target, matrix.sizes, sources)
        place = slice(self.start[target], self.start[target] + self.widths[target])
        terms = matrix.offset_size + sum(sizes.sum(axis=1) for sizes in matrix.sizes)
        floored = matrix.offset_size + FLOOR * (terms > 0)
        self.offset[place], self.offset_size[place] = matrix.offset[rows], floored[rows]
        self.roundings = max(self.roundings, matrix.roundings)
        for value, weight, sizes in zip(sources, matrix.weights, matrix.sizes, strict=True):
            columns = self.orders[value]
            self.edge_source.append(value)
            self.edge_group.append(len(self.store.widths))
            self.edge_block.append(
                self.store.add(
                    _reorder(weight, rows, columns), _reorder(sizes, rows, columns), block,
                    start=int(self.start[value]), width=self.blocks[value],
                    first_block=self.first_block[value],
                )
            )  # fmt: skip
        self.edge_start.append(len(self.edge_source))
        self.orders.append(rows)
        self.blocks.append(block)
        self.first_block.append(self.first_block[-1] + -(-int(self.widths[target]) // block))

    def _choose(
        self, target: int, sizes: "Sequence[csr_array[Any]]", sources: Sequence[int]
    ) -> tuple[Ints, int]:
        """The order of a value: as an image or as tokens, whichever blocks fill better.

        Where both are alike, that of most of the values it is computed from.
        """
        shape, paired = self.shapes[target], self.paired[target]
        image, tokens = _order(shape), _lines(shape) if shape else _order(shape)
        costs = [
            sum(_cost(part[order], block) for part in sizes) for order, block in (image, tokens)
        ]
        like = sum(1 if self.as_tokens[source] else -1 for source in sources)
        better = costs[1] < costs[0] or (costs[1] == costs[0] and like > 0)
        chosen = better and len(shape) > 1 and not paired
        self.as_tokens.append(chosen or (paired and like > 0))
        return tokens if chosen else image

    def _arrays(self) -> Compact:
        return Compact(
            start=self.start, width=self.widths, block=_ints(self.blocks),
            first_block=_ints(self.first_block), order=tuple(self.orders),
            edge_start=_ints(self.edge_start), edge_source=_ints(self.edge_source),
            edge_block=_ints(self.edge_block), edge_group=_ints(self.edge_group),
            **self.store.arrays(), offset=self.offset, offset_size=self.offset_size,
            paired=_ints([int(paired) for paired in self.paired]),
            roundings=self.roundings + 4 * int(self.widths.sum()) + 64,
        )  # fmt: skip


def _ints(numbers: Sequence[int]) -> Ints:
    return np.array(numbers, dtype=np.int64)


def _reorder(matrix: "csr_array[Any]", rows: Ints, columns: Ints) -> "csr_array[Any]":
    """Rows and columns in layout order, column indices increasing."""
    position = np.empty_like(columns)
    position[columns] = np.arange(len(columns))
    taken: csr_array[Any] = matrix[rows]
    taken.indices = position[taken.indices].astype(matrix.indptr.dtype)
    taken.has_sorted_indices = False
    taken.sort_indices()
    return taken


class _Store:
    """Collects the groups, runs and distinct matrices of all edges."""

    def __init__(self) -> None:
        self.group_run = [0]
        self.widths: list[int] = []
        self.places: list[int] = []
        self.runs: list[Ints] = [np.zeros((4, 0), np.int64)]
        self.weights: list[Floats] = []
        self.sizes: list[Floats] = []
        self.used = 0
        self.known: dict[bytes, int] = {}
        self.edge_pick: list[int] = []
        self.picks: list[Ints] = [np.zeros((2, 0), np.int64)]
        self.pick_weights: list[Floats] = [np.zeros(0)]

    def add(
        self, weight: "csr_array[Any]", sizes: "csr_array[Any]", block: int,
        *, start: int, width: int, first_block: int,
    ) -> int:  # fmt: skip
        """Store one edge; returns how many target neurons its blocks have.

        Its source begins at index `start` and block `first_block`, with `width` elements each.
        """
        if block > 1 and _stored(sizes, block) > WASTE * max(sizes.nnz, 1):
            block = 1
        rows, n = sizes.shape
        self._pick(weight, block, start, width, first_block)
        group, column = _row_of(sizes) // block, sizes.indices.astype(np.int64)
        # Every element a group reads, once; keys of one group are consecutive.
        keys = _distinct(group * n + column)
        groups = -(-rows // block)
        first_key = np.searchsorted(keys, np.arange(groups + 1) * n)
        # A run ends where the next key is not the next column of the same block.
        fresh = np.ones(len(keys), dtype=bool)
        fresh[1:] = (np.diff(keys) != 1) | (keys[1:] % n == 0)
        begin = np.flatnonzero(fresh)
        column, length = keys[begin] % n, np.diff(np.append(begin, len(keys)))
        self.runs.append(
            np.stack([
                start + column, length,
                first_block + column // width, first_block + (column + length - 1) // width,
            ])
        )  # fmt: skip
        runs_before = self.group_run[-1]
        self.group_run += (runs_before + np.searchsorted(begin, first_key[1:])).tolist()
        widths = np.diff(first_key)
        neurons = np.minimum(block, rows - np.arange(groups) * block)
        place = np.concatenate([[0], np.cumsum(neurons * widths)])
        values = [np.zeros(place[-1]) for _ in range(2)]
        for matrix, into in zip((weight, sizes), values, strict=True):
            row = _row_of(matrix)
            g = row // block
            within = np.searchsorted(keys, g * n + matrix.indices) - first_key[g]
            into[place[g] + (row % block) * widths[g] + within] = matrix.data
        self.widths += widths.tolist()
        for a, b in pairwise(place):
            self.places.append(self._place(values[0][a:b], values[1][a:b]))
        return block

    def _pick(
        self, weight: "csr_array[Any]", block: int, start: int, width: int, first_block: int
    ) -> None:
        """Note the elements that neurons read where that is one each: no products are needed."""
        entries = np.diff(weight.indptr)
        if block > 1 or not len(entries) or entries.max() > 1:
            self.edge_pick.append(-1)
            return
        self.edge_pick.append(sum(part.shape[1] for part in self.picks))
        place, value = np.full((2, len(entries)), -1, np.int64), np.zeros(len(entries))
        column = weight.indices.astype(np.int64)
        place[:, entries > 0] = start + column, first_block + column // width
        value[entries > 0] = weight.data
        self.picks.append(place)
        self.pick_weights.append(value)

    def _place(self, weights: Floats, sizes: Floats) -> int:
        """Where a group's matrix lies, equal ones being stored once."""
        key = weights.tobytes() + sizes.tobytes()
        if key not in self.known:
            self.known[key] = self.used
            self.weights.append(weights)
            self.sizes.append(sizes)
            self.used += len(weights)
        return self.known[key]

    def arrays(self) -> dict[str, Any]:
        """The arrays collected so far, by the names of `Compact`."""
        nothing, picks = np.zeros(0), np.ascontiguousarray(np.concatenate(self.picks, axis=1))
        column, length, first, last = np.ascontiguousarray(np.concatenate(self.runs, axis=1))
        return {
            "edge_pick": _ints(self.edge_pick),
            "pick_column": picks[0],
            "pick_block": picks[1],
            "pick_weight": np.concatenate(self.pick_weights),
            "group_run": _ints(self.group_run),
            "group_width": _ints(self.widths),
            "group_weight": _ints(self.places),
            "run_column": column,
            "run_length": length,
            "run_first": first,
            "run_last": last,
            "weights": np.concatenate([nothing, *self.weights]),
            "sizes": np.concatenate([nothing, *self.sizes]),
        }


def _row_of(matrix: "csr_array[Any]") -> Ints:
    """The row of every stored entry."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def _stored(sizes: "csr_array[Any]", block: int) -> int:
    """Entries that blocks of this many neurons would store."""
    return block * len(_distinct(_row_of(sizes) // block * sizes.shape[1] + sizes.indices))


def _distinct(numbers: Ints) -> Ints:
    """Each number once, in order; most of them are in order already."""
    ordered = np.sort(numbers, kind="stable")
    first = np.diff(ordered, prepend=-1) != 0
    return np.compress(first, ordered)
