"""Threads of the linear algebra library that NumPy, SciPy and compiled kernels call.

OpenBLAS shares a product of more than about half a million multiplications among all cores. Its
threads wait for each other by spinning: where cores have other work, such as other workers, a
product of a dense layer takes thirty times as long as on one thread.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

# The count that `blas_threads` has set.
_set: list[int] = []


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Give linear algebra so many threads until the block ends; the whole process has them."""
    if _set and _set[-1] == count:
        yield
        return
    with _controller().limit(limits=count, user_api="blas"):
        _set.append(count)
        try:
            yield
        finally:
            _set.pop()


@cache
def _controller() -> ThreadpoolController:
    # The controller knows the libraries that are loaded when it is made; kernels call this one.
    importlib.import_module("scipy.linalg.cython_blas")
    return ThreadpoolController()
