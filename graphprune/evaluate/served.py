"""Everything that workers share, had once: imports, and kernels read from disk.

The server that workers are forked from imports this module, and nobody else does. The server must
never have a thread, or anything on a GPU: neither survives a fork. So ONNX Runtime, which starts a
thread when it is imported, is left to the workers.
"""

import gc
from contextlib import suppress

import graphprune.evaluate.executors  # noqa: F401
from graphprune.evaluate.warm import read_search


class NotCompiledError(Exception):
    """A kernel is not on disk."""


def _refuse(text: str) -> None:
    """Compile nothing: the parent does, and says so."""
    raise NotCompiledError(text)


# Whatever is wrong, workers meet it again, where it becomes somebody's result.
with suppress(Exception):
    read_search(_refuse)
# Collecting garbage writes to every object, and so would copy every page in every worker.
gc.freeze()
