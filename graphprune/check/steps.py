"""A model as a sequence of affine maps and ReLUs."""

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class AffineStep:
    """output = matrix @ input + bias; `matrix` None: the identity.

    `input2`: a second tensor that is added.
    """

    output: str
    input: str
    matrix: sparse.csr_array | None = None
    bias: Floats | None = None
    input2: str | None = None


@dataclass(frozen=True)
class ReluStep:
    """output = max(input, 0)."""

    output: str
    input: str


@dataclass(frozen=True, eq=False)
class Model:
    """A model file.

    Attributes
    ----------
    data
        The file's bytes, for ONNX Runtime.
    sha256
        Digest of these bytes.
    input, output
        Names of the point and of the logits in `steps`.
    parts
        Names and sample shapes of the file's inputs, which are parts of the point in this order.
    shape
        Shape of one point.
    batch
        The batch size that the file demands.
    classes
        Number of outputs.
    steps
        In topological order.
    relus
        Sizes of the ReLU inputs, in the order of their nodes.
    """

    data: bytes
    sha256: str
    input: str
    output: str
    parts: tuple[tuple[str, Shape], ...]
    shape: Shape
    batch: int
    classes: int
    dtype: np.dtype[np.floating]
    steps: tuple[AffineStep | ReluStep, ...]
    relus: tuple[int, ...]

    @property
    def inputs(self) -> int:
        return prod(self.shape)

    def feeds(self, point: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        """The file's inputs for a point, repeated along the batch."""
        flat, start, feeds = point.reshape(-1), 0, {}
        for name, shape in self.parts:
            own = flat[start : start + prod(shape)].reshape(1, *shape)
            feeds[name] = np.repeat(own, self.batch, axis=0)
            start += prod(shape)
        return feeds

    @property
    def neurons(self) -> int:
        return sum(self.relus)
