"""The graphs that threat models put in front of a network."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.ir.rebuild import NetworkBuilder
from graphprune.operators.dense import Dense
from graphprune.operators.relu import Relu
from graphprune.operators.reshape import Reshape
from graphprune.operators.scale import Scale
from graphprune.operators.shift import Shift
from graphprune.region import Domain

Floats = NDArray[np.float64]
Floating = NDArray[np.floating]
Type = np.dtype[np.floating]
Shape = tuple[int, ...]


def _by(builder: NetworkBuilder, x: ir.Value, factor: Floats, shape: Shape) -> ir.Value:
    return builder.add(Scale(factor, shape), x, name="threat_scale")


def _plus(builder: NetworkBuilder, x: ir.Value, offset: Floats, shape: Shape) -> ir.Value:
    return builder.add(Shift(offset, shape), x, name="threat_shift")


@dataclass(frozen=True, eq=False)
class InUnits:
    """(x - mean) / std: a network of inputs in other units.

    Attributes
    ----------
    mean, std
        They broadcast to the sample `shape`, and are numbers of the file's type.
    """

    mean: Floats
    std: Floats
    shape: Shape

    local: ClassVar[bool] = False
    mixes: ClassVar[bool] = False

    @property
    def numbers(self) -> dict[str, Floats]:
        """Its numbers as a certificate has them."""
        ends = {"mean": self.mean, "std": self.std}
        return {k: np.broadcast_to(v, self.shape).reshape(-1).copy() for k, v in ends.items()}

    def write(self, builder: NetworkBuilder, z: ir.Value) -> ir.Value:
        """Shift, then scale."""
        if np.any(self.mean != 0.0):
            z = _plus(builder, z, -self.mean, self.shape)
        return _by(builder, z, 1.0 / self.std, self.shape)

    def image(self, z: Floating, dtype: Type) -> Floating:
        """Computed in the file's type, as data loaders do."""
        x: Floating = (z.astype(dtype) - self.mean.astype(dtype)) / self.std.astype(dtype)
        return x

    def rounded(self, z: Floating, dtype: Type) -> Floating:
        """Numbers of the file's type."""
        return z.astype(dtype)


@dataclass(frozen=True, eq=False)
class PerElement:
    """x0 + w z, every element on its own.

    Attributes
    ----------
    anchor, weights
        Sample shape, float64; weights >= 0.
    """

    anchor: Floats
    weights: Floats
    domain: Domain

    local: ClassVar[bool] = True
    mixes: ClassVar[bool] = False

    @property
    def shape(self) -> Shape:
        return self.anchor.shape

    @property
    def numbers(self) -> dict[str, Floats]:
        """Its numbers as a certificate has them."""
        return {"weights": np.broadcast_to(self.weights, self.shape).reshape(-1).copy()}

    @property
    def box(self) -> Domain:
        """The domain of z: rounded outward, so that none of the inputs in the domain is missing."""
        ends = []
        moving = self.weights > 0.0
        for end, out in zip(self.domain.box(self.shape), (-np.inf, np.inf), strict=True):
            way = np.divide(end - self.anchor, self.weights, out=np.zeros(self.shape), where=moving)
            ends.append(np.where(moving & (way != 0.0), np.nextafter(way, out), way))
        return Domain(np.minimum(ends[0], 0.0), np.maximum(ends[1], 0.0))

    @property
    def plain(self) -> bool:
        """True where an element moves as it is or not at all: the domain alone can say so."""
        return bool(np.all((self.weights == 0.0) | (self.weights == 1.0)))

    @property
    def inputs(self) -> Domain:
        """The domain of inputs, in which fixed elements stay where they are."""
        low, high = self.domain.box(self.shape)
        moving = self.weights > 0.0
        return Domain(np.where(moving, low, self.anchor), np.where(moving, high, self.anchor))

    def write(self, builder: NetworkBuilder, z: ir.Value) -> ir.Value:
        """Scale, then shift."""
        return _plus(builder, _by(builder, z, self.weights, self.shape), self.anchor, self.shape)

    def image(self, z: Floating, dtype: Type) -> Floating:
        """In the domain, to which rounding is brought back."""
        x = (self.anchor + self.weights * z.astype(np.float64)).astype(dtype)
        return self.domain.clip(x)

    def rounded(self, z: Floating, dtype: Type) -> Floating:
        """Where the inputs are numbers of the network's type: their distance is that of z."""
        step = self.image(z, dtype).astype(np.float64) - self.anchor
        moving = self.weights > 0.0
        out = np.zeros(step.shape)
        return np.divide(step, np.broadcast_to(self.weights, step.shape), out=out, where=moving)


@dataclass(frozen=True, eq=False)
class AlongDirections:
    """x0 + B z, clipped to the domain.

    Attributes
    ----------
    anchor
        Sample shape, float64.
    steps
        (k, *sample): the columns of B.
    clipped
        True for an end of the domain that can be left: the others need no clipping.
    """

    anchor: Floats
    steps: Floats
    domain: Domain
    clipped: tuple[bool, bool]

    local: ClassVar[bool] = True
    mixes: ClassVar[bool] = True

    @property
    def shape(self) -> Shape:
        return (len(self.steps),)

    @property
    def numbers(self) -> dict[str, Floats]:
        """Its numbers as a certificate has them."""
        return {"steps": np.ascontiguousarray(self.steps.reshape(len(self.steps), -1))}

    def write(self, builder: NetworkBuilder, z: ir.Value) -> ir.Value:
        """A layer of B and x0; then l + relu(x - l), and h - relu(h - x)."""
        shape, size = self.anchor.shape, self.anchor.size
        weight = np.ascontiguousarray(self.steps.reshape(len(self.steps), size).T)
        layer = Dense(weight, self.anchor.reshape(-1).copy())
        x = builder.add(layer, z, name="threat_directions")
        if shape != (size,):
            x = builder.add(Reshape((size,), shape), x, name="threat_reshape")
        ends = self.domain.ends(np.dtype(np.float64))
        low, high = (end.astype(np.float64) for end in ends)
        if self.clipped[0]:
            x = _plus(builder, x, -low, shape)
            x = builder.add(self._relu(low, upper=False), x, name="threat_low")
            x = _plus(builder, x, low, shape)
        if self.clipped[1]:
            back = np.array(-1.0)
            x = _plus(builder, _by(builder, x, back, shape), high, shape)
            x = builder.add(self._relu(high, upper=True), x, name="threat_high")
            x = _plus(builder, _by(builder, x, back, shape), high, shape)
        return x

    @staticmethod
    def _relu(end: Floats, *, upper: bool) -> Relu:
        """One end of the domain; written as a Clip where it is one number."""
        return Relu(True, float(end), upper) if end.ndim == 0 else Relu(True)

    def image(self, z: Floating, dtype: Type) -> Floating:
        """In the domain."""
        flat = z.astype(np.float64) @ self.steps.reshape(len(self.steps), -1)
        x = self.anchor + flat.reshape(len(z), *self.anchor.shape)
        return self.domain.clip(x.astype(dtype))

    def rounded(self, z: Floating, dtype: Type) -> Floating:
        """In float64: inputs of the network's type lie at none of its numbers."""
        return z.astype(np.float64)
