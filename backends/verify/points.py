"""Random points of a file that no network can be made of: a counterexample, or `unknown`."""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from time import monotonic

import numpy as np
import onnx
from numpy.typing import NDArray

from graphprune.backends.verify.query import Counterexample
from graphprune.backends.verify.verify import Verdict
from graphprune.errors import UnsupportedError
from graphprune.ir.load import read_model
from graphprune.ir.shapes import inputs_of
from graphprune.progress import Progress, quiet
from graphprune.runtime.session import Executable
from graphprune.vnnlib import Disjunct, Property

Floats = NDArray[np.float64]

# Points per region, at most.
POINTS = 8192


def by_points(
    path: str | Path, prop: Property, refused: UnsupportedError, *, time_limit: float = np.inf,
    seed: int = 0, progress: Progress = quiet,
) -> Verdict:  # fmt: skip
    """Look for a counterexample among random points, by ONNX Runtime alone.

    Parameters
    ----------
    refused
        The reason why there is no network.

    Raises
    ------
    UnsupportedError
        `refused`, where the file has no single input and output of static shapes.
    """
    start, tried = monotonic(), 0
    file = read_model(path)
    inputs, outputs = inputs_of(file.proto.graph), file.proto.graph.output
    shape = _shape(inputs[0]) if len(inputs) == len(outputs) == 1 else None
    if shape is None or prod(shape) != prop.inputs or prop.relational:
        raise refused
    folder = None if file.path is None else file.path.parent
    session = Executable(file.proto, folder)
    name = inputs[0].name
    rng = np.random.default_rng(seed)
    for region in prop.regions:
        for x in _points(region, rng):
            if monotonic() - start >= time_limit:
                break
            tried += 1
            if tried % 100 == 1:
                progress(f"{tried} random points of a file that is not supported")
            try:
                y = np.ravel(session({name: x.astype(np.float32).reshape(shape)})[0])
            except Exception:  # ONNX Runtime's own: no memory, shapes that do not fit
                raise refused from None
            if len(y) != prop.outputs:
                raise refused
            if region.violated_by(y.astype(np.float64), x) and region.box.contains(x):
                found = Counterexample(x, y)
                return Verdict("sat", found, tried, monotonic() - start)
    reason = f"{refused}; {tried} random points are no counterexamples"
    return Verdict("unknown", None, tried, monotonic() - start, reason)


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """The static shape of a float32 input, a symbolic batch being 1."""
    kind = value.type.tensor_type
    sizes = [1 if d.dim_param and not i else d.dim_value for i, d in enumerate(kind.shape.dim)]
    fits = kind.elem_type == onnx.TensorProto.FLOAT and all(size > 0 for size in sizes)
    return tuple(sizes) if fits else None


def _points(region: Disjunct, rng: np.random.Generator) -> Iterator[Floats]:
    """The centre of a region's box, then points and corners in turn, in float32."""
    lower, upper = region.box.inward(np.dtype(np.float32))
    free = np.flatnonzero(upper > lower)
    for number in range(POINTS if len(free) else 1):
        share = np.full(len(lower), 0.5)
        if number:
            share[free] = rng.uniform(0.0, 1.0, len(free))
            share = np.round(share) if number % 4 == 0 else share
        x = (lower + share * (upper - lower)).astype(np.float32).astype(np.float64)
        yield np.clip(x, lower, upper)
