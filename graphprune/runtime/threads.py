"""Threads of the linear algebra libraries that NumPy, SciPy and compiled kernels call.

OpenBLAS shares a product of more than about half a million multiplications among all cores. Its
threads wait for each other by spinning: where cores have other work, such as other workers, a
product of a dense layer takes thirty times as long as on one thread.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

# Such libraries read their number of threads from these when they are loaded.
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
# The library of compiled kernels; SciPy brings it along, beside that of NumPy.
KERNELS = "scipy.linalg.cython_blas"

# The count that `blas_threads` has set, and whether the kernels' library was there.
_set: list[tuple[int, bool]] = []


def load_blas() -> None:
    """Load what products in kernels call, so that `blas_threads` knows it before the first one."""
    importlib.import_module(KERNELS)


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Give linear algebra so many threads until the block ends; the whole process has them.

    It loads nothing: of what is loaded within the block only an inner block knows.
    """
    wanted = count, KERNELS in sys.modules
    if _set and _set[-1] == wanted:
        yield
        return
    with _controller(wanted[1]).limit(limits=count, user_api="blas"):
        _set.append(wanted)
        try:
            yield
        finally:
            _set.pop()


@cache
def _controller(kernels: bool) -> ThreadpoolController:
    """Return the libraries that are loaded now, those of kernels or not."""
    return ThreadpoolController()
