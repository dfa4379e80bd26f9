"""Pre-activation bounds over boxes: IBP, Fast-Lin, FastLinIBP and CROWN.

Intermediate bounds are computed layer by layer, each from the bounds below it:

``ibp``          interval arithmetic (Gowal et al. 2018)
``fastlin``      backward relaxation, equal slopes, nothing else (Weng et al. 2018)
``fastlin-ibp``  element-wise better of the two in every layer
``crown``        backward relaxation, adaptive lower slope (Zhang et al. 2018), element-wise
                 better of it and IBP

All of them are sound in floating point (see :mod:`graphprune.transforms.rounding`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune import transforms
from graphprune.backends.onnxruntime import compiled
from graphprune.backends.reference import segment_offset
from graphprune.errors import GraphpruneError
from graphprune.ir import Network, Region
from graphprune.ir.network import activation_of, sample_shape, size
from graphprune.transforms.relaxation import LINES, ancestors
from graphprune.transforms.replace import Replacement

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Method = Literal["ibp", "fastlin", "fastlin-ibp", "crown"]
METHODS: tuple[Method, ...] = get_args(Method)

# Bytes of the largest intermediate tensors of one relaxation call.
MEMORY = 1 << 29


@dataclass(frozen=True, eq=False)
class Boxes:
    """A batch of boxes: float32 arrays (B, input size), rounded outward."""

    lower: Singles
    upper: Singles

    @classmethod
    def of(cls, *balls: Region) -> "Boxes":
        lower = np.stack([ball.lower.reshape(-1) for ball in balls])
        upper = np.stack([ball.upper.reshape(-1) for ball in balls])
        return cls(round_down(lower), round_up(upper))


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

    @property
    def unstable(self) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = (self.lower < 0) & (self.upper > 0)
        return mask


@dataclass(frozen=True, eq=False)
class PreActivationBounds:
    """Annotation on a pre-activation: its bounds over the pipeline's ball or box.

    Attributes
    ----------
    lower, upper
        Sample shape, float64.
    radius
        Radius of the ball they hold on; None for a box.
    method
        How they were computed.
    """

    lower: Floats
    upper: Floats
    radius: float | None
    method: str


def round_down(x: Floats) -> Singles:
    single = x.astype(np.float32)
    return np.where(single > x, np.nextafter(single, np.float32(-np.inf)), single)


def round_up(x: Floats) -> Singles:
    return -round_down(-x)


def pre_activation_bounds(
    network: Network,
    boxes: Boxes,
    method: Method = "crown",
    *,
    replaced: Mapping[int, Replacement] | None = None,
    every: bool = False,
) -> list[LayerBounds]:
    """Bounds of every activation's pre-activation, in graph order.

    Parameters
    ----------
    boxes
        Where the input lies.
    method
        One of `METHODS`.
    replaced
        Activation layers (by index) whose neurons are partly replaced by lines: the bounds are
        those of the network with the replacements applied, without building it.
    every
        Tighten the bounds of stable neurons too (a pruner compares the ranges of all neurons).

    Raises
    ------
    GraphpruneError
        The numbers overflow float32.
    """
    walk = _Walk(network, boxes, method, dict(replaced or {}))
    for index in range(len(network.activations)):
        walk.layers.append(walk.layer(index, every))
    return walk.layers


def linear_bounds(
    network: Network,
    boxes: Boxes,
    layers: list[LayerBounds],
    rows: NDArray[np.floating],
    method: Method = "crown",
    *,
    replaced: Mapping[int, Replacement] | None = None,
) -> Floats:
    """Lower bounds (B, R) of ``rows`` (R, classes) times the logits, from the layers' bounds."""
    walk = _Walk(network, boxes, method, dict(replaced or {}), layers)
    batch = len(boxes.lower)
    stacked = np.broadcast_to(rows.astype(np.float32), (batch, *rows.shape))
    top = len(network.segments) - 1
    if method == "ibp":
        # The margin's rows still go through the last affine segment, from interval bounds.
        walk.method = "fastlin"
    return walk.rows(top, np.ascontiguousarray(stacked), walk.interval(top).magnitude)


class _Walk:
    """State of one pass over the layers from the input up."""

    def __init__(
        self,
        network: Network,
        boxes: Boxes,
        method: Method,
        replaced: dict[int, Replacement],
        layers: list[LayerBounds] | None = None,
    ) -> None:
        if method not in METHODS:
            raise GraphpruneError(f"unknown bounds method '{method}'; known: {', '.join(METHODS)}")
        self.network = network
        self.boxes = boxes
        self.method = method
        self.replaced = replaced
        self.layers: list[LayerBounds] = list(layers or [])
        self._lines: dict[int, tuple[Singles, ...]] = {}
        self._index = {id(a.outputs[0]): i for i, a in enumerate(network.activations)}

    def layer(self, index: int, every: bool) -> LayerBounds:
        box = self.interval(index)
        if self.method == "ibp" or not ancestors(self.network, index):
            return box  # without an activation below, intervals of an affine map are exact
        chosen = self.network.alive(self.network.activations[index])
        if index in self.replaced:
            chosen = chosen & ~self.replaced[index].removed
        if not (every or self.method == "fastlin"):
            chosen = chosen & box.unstable.any(axis=0)
        neurons = np.flatnonzero(chosen)
        lower, upper = self._both(index, neurons, box)
        if self.method != "fastlin":
            lower = np.maximum(lower, box.lower[:, neurons])
            upper = np.minimum(upper, box.upper[:, neurons])
        new_lower, new_upper = box.lower.copy(), box.upper.copy()
        new_lower[:, neurons], new_upper[:, neurons] = lower, upper
        return LayerBounds(new_lower, new_upper, box.magnitude)

    def _both(
        self, index: int, neurons: NDArray[np.intp], box: LayerBounds
    ) -> tuple[Singles, Singles]:
        """Relaxation bounds (B, len(neurons)) of chosen neurons, from rows +e_i and -e_i."""
        batch, width = box.lower.shape
        widest = max(size(v) for v in self._values())
        step = max(1, MEMORY // (batch * widest * 4 * 12))
        lower = np.empty((batch, len(neurons)), np.float32)
        upper = np.empty_like(lower)
        for start in range(0, len(neurons), step):
            part = neurons[start : start + step]
            rows = np.zeros((batch, 2 * len(part), width), np.float32)
            k = np.arange(len(part))
            rows[:, k, part] = 1.0
            rows[:, len(part) + k, part] = -1.0
            bound = self.rows(index, rows, box.magnitude).astype(np.float32)
            lower[:, start : start + step] = bound[:, : len(part)]
            upper[:, start : start + step] = -bound[:, len(part) :]
        return lower, upper

    def _values(self) -> list[ir.Value]:
        network = self.network
        return [network.input, *(n.outputs[0] for n in network.nodes)]

    def interval(self, index: int) -> LayerBounds:
        segment = self.network.segments[index]
        feeds = {}
        for i, source in enumerate(segment.sources):
            lower, upper = self._source(source)
            shape = (len(lower), *sample_shape(source))
            feeds[f"lower{i}"] = lower.reshape(shape)
            feeds[f"upper{i}"] = upper.reshape(shape)
        run = compiled(self.network, ("interval", index), lambda: transforms.interval(segment))
        outputs = [o.reshape(len(self.boxes.lower), -1) for o in run(feeds)]
        lower, upper, magnitude = outputs
        if not segment.sources:  # a constant: one row speaks for the whole batch
            lower, upper, magnitude = (np.repeat(o, len(self.boxes.lower), 0) for o in outputs)
        _finite(lower, upper, magnitude)
        return LayerBounds(lower, upper, magnitude)

    def _source(self, source: ir.Value) -> tuple[Singles, Singles]:
        """Bounds (B, n) of a segment's source: the box, or an activation's output."""
        if source is self.network.input:
            return self.boxes.lower, self.boxes.upper
        index = self._index[id(source)]
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

    def lines(self, index: int) -> tuple[Singles, ...]:
        """The relaxation of an activation layer, four arrays (B, n)."""
        if index not in self._lines:
            layer = self.layers[index]
            activation = activation_of(self.network.activations[index])
            lines = activation.lines(
                layer.lower.astype(np.float64), layer.upper.astype(np.float64), self.method
            )
            replacement = self.replaced.get(index)
            if replacement is not None:
                slope, offset = replacement.slope, replacement.offset
                exact = (slope, offset, slope, offset)
                lines = tuple(  # type: ignore[assignment]
                    np.where(replacement.removed, new, line)
                    for line, new in zip(lines, exact, strict=True)
                )
            self._lines[index] = tuple(line.astype(np.float32) for line in lines)
        return self._lines[index]

    def rows(self, target: int, rows: Singles, magnitude: Singles) -> Floats:
        """Lower bounds (B, R) of rows (B, R, n) times the target of a segment."""
        network = self.network
        run = compiled(
            network, ("relaxation", target), lambda: transforms.relaxation(network, target)
        )
        feeds: dict[str, NDArray[np.generic]] = {
            "rows": rows,
            "box_lower": self.boxes.lower,
            "box_upper": self.boxes.upper,
            f"magnitude{target}": magnitude,
            f"offset{target}": self._offset(target),
        }
        for index in ancestors(network, target):
            lines = zip(LINES, self.lines(index), strict=True)
            feeds |= {f"{name}{index}": line for name, line in lines}
            feeds[f"magnitude{index}"] = self.layers[index].magnitude
            feeds[f"offset{index}"] = self._offset(index)
        bound = run(feeds)[0].astype(np.float64)
        _finite(bound)
        return bound

    def _offset(self, index: int) -> Singles:
        segment = self.network.segments[index]
        return self.network.cached(
            ("offset", index),
            lambda: segment_offset(self.network, segment).reshape(-1, 1).astype(np.float32),
        )


def _finite(*arrays: NDArray[np.floating]) -> None:
    if not all(np.all(np.isfinite(array)) for array in arrays):
        raise GraphpruneError(
            "bounds overflow float32: the weights or the radius are too large for this network"
        )
