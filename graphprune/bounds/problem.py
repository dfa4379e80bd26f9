"""The problem of a bounds computation: boxes, bounds of layers, and the lines they allow."""

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Literal, get_args

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.errors import GraphpruneError, OutOfTimeError
from graphprune.ir import Network
from graphprune.ir.network import Activation, activation_of, is_paired
from graphprune.region import LINF, Norm, Region
from graphprune.runtime.resources import current
from graphprune.transforms.replace import Replacement

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Lines = tuple[Floats, Floats, Floats, Floats]
Method = Literal["ibp", "fastlin", "fastlin-ibp", "crown", "alpha-crown"]
METHODS: tuple[Method, ...] = get_args(Method)
# Neurons whose lines are found between two looks at the clock: half a second's.
LINES_AT_ONCE = 1 << 14


@dataclass(frozen=True, eq=False)
class Boxes:
    """A batch of boxes, and of the balls they surround in a norm whose balls are no boxes.

    Attributes
    ----------
    lower, upper
        (B, input size) float32, rounded outward.
    center, radius
        (B, input size) and (B,) float64, the balls in `norm`; None for boxes.
    """

    lower: Singles
    upper: Singles
    center: Floats | None = None
    radius: Floats | None = None
    norm: Norm = LINF

    def take(self, part: slice) -> "Boxes":
        """Some of the boxes."""
        center = None if self.center is None else self.center[part]
        radius = None if self.radius is None else self.radius[part]
        return Boxes(self.lower[part], self.upper[part], center, radius, self.norm)

    @classmethod
    def of(cls, *regions: Region) -> "Boxes":
        """Boxes around balls (of one norm) or boxes."""
        norms = {region.norm for region in regions}
        if len(norms) > 1:
            raise GraphpruneError("a batch of balls must have one norm")
        norm = norms.pop()
        sides = zip(*(region.outward for region in regions), strict=True)
        lower, upper = (np.stack(ends).reshape(len(regions), -1) for ends in sides)
        if norm.separable:
            return cls(round_down(lower), round_up(upper))
        center = np.stack([region.center for region in regions]).reshape(len(regions), -1)
        radius = np.array([region.radius for region in regions], dtype=np.float64)
        return cls(round_down(lower), round_up(upper), center, radius, norm)


@dataclass(frozen=True, eq=False)
class LayerBounds:
    """Bounds of one pre-activation over a batch of boxes.

    Attributes
    ----------
    lower, upper
        (B, neurons) float32, valid in real arithmetic.
    magnitude
        (B, neurons) float32, |W| max|h| + |b|: what rounding errors are proportional to.
    """

    lower: Singles
    upper: Singles
    magnitude: Singles
    # Lines of a curved activation take long to find, and every problem on these bounds asks.
    _lines: dict[str, Lines] = field(default_factory=dict, init=False, repr=False)

    def lines(self, activation: Activation, method: str) -> Lines:
        """The relaxation (B, n) of the activation of this pre-activation."""
        # Only these methods have lines of their own.
        kind = method if method.startswith(("fastlin", "alternative")) else "crown"
        if kind in self._lines:
            return self._lines[kind]
        lower, upper = self.lower.astype(np.float64), self.upper.astype(np.float64)
        if activation.piecewise_linear:
            return activation.lines(lower, upper, kind)
        found = self._lines[kind] = _curved_lines(activation, lower, upper, kind)
        return found

    def know_lines(self, method: str, lines: Lines) -> None:
        """Have a method's lines, which hold on these bounds, from elsewhere."""
        self._lines[method] = lines

    def take(self, part: slice) -> "LayerBounds":
        """The bounds on some of the boxes."""
        return LayerBounds(self.lower[part], self.upper[part], self.magnitude[part])

    def within(self, other: "LayerBounds") -> "LayerBounds":
        """The better ends of both."""
        lower, upper = np.maximum(self.lower, other.lower), np.minimum(self.upper, other.upper)
        return LayerBounds(lower, upper, self.magnitude)

    @classmethod
    def stack(cls, parts: Sequence["LayerBounds"]) -> "LayerBounds":
        """The bounds on several batches of boxes, one after the other."""
        names = ("lower", "upper", "magnitude")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    @property
    def unstable(self) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = (self.lower < 0) & (self.upper > 0)
        return mask


def _step_down(bits: NDArray[np.signedinteger], where: NDArray[np.bool_]) -> None:
    """Replace floating-point numbers, given as integers, by the next ones below.

    Not for +0.0: a number that a rounded one is above of is never rounded to it.
    """
    sign = bits >> (8 * bits.itemsize - 1)
    bits += ~(sign << 1) * where


def round_down(x: Floats) -> Singles:
    with np.errstate(over="ignore"):  # infinities are refused by who reads them
        single = x.astype(np.float32)
    _step_down(single.view(np.int32), single > x)
    return single


def round_up(x: Floats) -> Singles:
    return -round_down(-x)


@dataclass(eq=False)
class BoundsProblem:
    """A network on boxes, with the bounds of the layers known so far.

    Attributes
    ----------
    replaced
        Activation layers (by index) whose neurons are partly replaced by lines.
    known
        Bounds of the first pre-activations, in graph order.
    """

    network: Network
    boxes: Boxes
    method: Method
    replaced: Mapping[int, Replacement] = field(default_factory=dict)
    known: InitVar[Sequence[LayerBounds]] = ()
    _layers: list[LayerBounds] = field(init=False)

    def __post_init__(self, known: Sequence[LayerBounds]) -> None:
        self._layers = list(known)
        if self.method not in METHODS:
            raise GraphpruneError(
                f"unknown bounds method '{self.method}'; known: {', '.join(METHODS)}"
            )

    @property
    def layers(self) -> Sequence[LayerBounds]:
        """Bounds of the first pre-activations, in graph order."""
        return self._layers

    def add(self, layer: LayerBounds) -> None:
        """Take the bounds of the next pre-activation, which engines read from here on.

        Raises
        ------
        GraphpruneError
            Its activation is not defined on all of them.
        """
        node = self.network.activations[len(self._layers)]
        activation = activation_of(node)
        if activation.piecewise_linear:  # defined everywhere
            self._layers.append(layer)
            return
        beyond = activation.undefined(
            layer.lower.astype(np.float64), layer.upper.astype(np.float64)
        )
        if beyond.any():
            box, neuron = np.argwhere(beyond)[0]
            low, high = layer.lower[box, neuron], layer.upper[box, neuron]
            raise GraphpruneError(
                f"node '{node.name}' ({type(activation).__name__}): not defined on all of"
                f" [{low:.6g}, {high:.6g}], the bounds of its input {neuron}: a smaller radius or"
                " box may do"
            )
        self._layers.append(layer)

    @property
    def batch(self) -> int:
        return len(self.boxes.lower)

    def source(self, value: ir.Value) -> tuple[Singles, Singles]:
        """Bounds (B, n) of a segment's source: the box, or an activation's output."""
        if value is self.network.input:
            return self.boxes.lower, self.boxes.upper
        outputs = [a.outputs[0] for a in self.network.activations]
        return self.image(outputs.index(value))

    def image(self, index: int) -> tuple[Singles, Singles]:
        """Bounds (B, n) of the output of an activation layer."""
        layer = self.layers[index]
        activation = activation_of(self.network.activations[index])
        lower, upper = layer.lower.astype(np.float64), layer.upper.astype(np.float64)
        low, high = activation.interval(lower, upper)
        replacement = self.replaced.get(index)
        if replacement is not None:
            ends = np.stack([lower, upper]) * replacement.slope + replacement.offset
            low = np.where(replacement.removed, ends.min(axis=0), low)
            high = np.where(replacement.removed, ends.max(axis=0), high)
        return round_down(low), round_up(high)

    def lines(self, index: int, *, alternative: bool = False) -> Lines:
        """The relaxation (B, n) of an activation layer, in the order of `relaxation.LINES`.

        With `alternative` the second choice, which alpha-CROWN mixes with the first.
        """
        layer = self.layers[index]
        activation = activation_of(self.network.activations[index])
        lines = layer.lines(activation, "alternative" if alternative else self.method)
        replacement = self.replaced.get(index)
        if replacement is None:
            return lines
        slope, offset = replacement.slope, replacement.offset
        exact = (slope, offset, slope, offset)
        ls, lo, us, uo = (
            np.where(replacement.removed, new, line) for line, new in zip(lines, exact, strict=True)
        )
        return ls, lo, us, uo


def _curved_lines(activation: Activation, lower: Floats, upper: Floats, kind: str) -> Lines:
    """Lines of a curved activation, of very many neurons part by part: millions take minutes."""
    count = lower.shape[1]
    if count <= LINES_AT_ONCE or is_paired(activation):
        return activation.lines(lower, upper, kind)
    found = []
    for start in range(0, count, LINES_AT_ONCE):
        if current().over:
            raise OutOfTimeError("time was over before the activations had lines")
        part = slice(start, start + LINES_AT_ONCE)
        found.append(activation.lines(lower[:, part], upper[:, part], kind))
    ls, lo, us, uo = (np.concatenate(sides, axis=1) for sides in zip(*found, strict=True))
    return ls, lo, us, uo


def finite(*arrays: NDArray[np.floating]) -> None:
    """Raise a `GraphpruneError` where a bound is not a number to rely on."""
    if not all(np.all(np.isfinite(array)) for array in arrays):
        raise GraphpruneError(
            "bounds overflow: the weights or the radius are too large for this network"
        )
