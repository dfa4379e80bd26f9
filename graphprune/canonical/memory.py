"""The memory that a file may ask for before anything is known of it.

A few bytes of ONNX can stand for terabytes; what a file stores itself is never refused.
"""

from collections.abc import Iterable
from math import prod

# Numbers are kept in float64.
NUMBER = 8
# One value, per sample.
VALUE = 512 << 20
# Constants that are computed from constants, all of a file together.
FOLDED = 3 << 29
# A recurrent layer has no more steps where it is written out, and a graph then no more nodes.
STEPS, NODES = 1024, 1 << 14


def bytes_of(shape: Iterable[int]) -> int:
    """Bytes of a float64 tensor."""
    return prod(shape) * NUMBER


def amount(size: int) -> str:
    """Bytes as people say them: ``1.5 GiB``."""
    for unit, name in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"


def value_too_large(size: int) -> str:
    """Why a value of so many bytes per sample is refused, and the remedy."""
    return (
        f"{amount(size)} of numbers per sample, more than {amount(VALUE)}: export the model for a"
        " smaller input"
    )


def constant_too_large(size: int) -> str:
    """Why a computed constant of so many bytes is refused, and the remedy."""
    return (
        f"computes a constant of {amount(size)}; all computed constants may take"
        f" {amount(FOLDED)}: store it in the file (constant folding of the exporter, or"
        " onnxsim), where it counts for nothing"
    )
