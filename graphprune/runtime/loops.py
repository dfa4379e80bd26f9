"""Loops in kernels, for array expressions that Numba compiles slowly.

A slice assigned to a slice brings the text of its error message with it, a maximum the general
reduction: each of them takes longer to compile than most kernels, and no less time to run.
"""

from typing import Any

from numpy.typing import NDArray

from graphprune.runtime.jit import kernel_part

Numbers = NDArray[Any]


@kernel_part
def copy(values: Numbers, into: Numbers) -> None:
    """Fill `into` with the first numbers of `values`."""
    for i in range(len(into)):
        into[i] = values[i]


@kernel_part
def greatest(values: Numbers) -> Any:
    """Return the greatest of some numbers."""
    most = values[0]
    for value in values:
        most = max(most, value)
    return most


@kernel_part
def sink(values: Numbers, heap: Numbers, place: int, count: int) -> None:
    """Let the element at a place of a heap of the largest absolute values sink to where it belongs.

    Parameters
    ----------
    heap
        Indices into the values; the first `count` of them are the heap.
    """
    while 2 * place + 1 < count:
        child = 2 * place + 1
        if child + 1 < count and abs(values[heap[child + 1]]) > abs(values[heap[child]]):
            child += 1
        if abs(values[heap[place]]) >= abs(values[heap[child]]):
            return
        heap[place], heap[child] = heap[child], heap[place]
        place = child
