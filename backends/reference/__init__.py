"""Running graphs in float64 with the reference implementation of the ONNX standard."""

from graphprune.backends.reference.runtime import (
    Reference,
    forward64,
    run_segment,
    segment_offset,
)

__all__ = ["Reference", "forward64", "run_segment", "segment_offset"]
