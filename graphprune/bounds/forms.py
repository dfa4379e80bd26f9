"""Affine forms of few inputs, carried forward beside interval bounds.

Where few inputs may change, every neuron is an affine function of them plus a remainder (Comba and
Stolfi 1993, with one interval for all errors): a pass through a layer multiplies its matrix with a
column per input. Intervals forget how neurons move together, and backward passes cost one row per
neuron; forms decide the sign of most neurons on small boxes before a row is needed.

Rounding: with ``h = centre + generators . e + [-remainder, remainder]`` for each point of the box,
all sums of products of a layer together are off by at most gamma times the sum of their absolute
terms, for which `magnitude` stands; it is added to the remainder.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphprune.bounds.problem import Boxes, LayerBounds, round_down, round_up
from graphprune.errors import OutOfTimeError
from graphprune.ir import Network
from graphprune.ir.network import activation_of, is_paired, operator, size
from graphprune.runtime.resources import current
from graphprune.transforms.matrix import matrix_of
from graphprune.transforms.rounding import gamma64

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]

# Inputs that change, up to which forms are carried.
FEW_INPUTS = 20
# Bytes of a weight in three matrices that share its place.
BYTES_PER_WEIGHT = 40
# More than what underflow loses in a row.
TINY = 1e-150
# Roundings of what is done to one number outside of the sums of products.
OTHER = 64


@dataclass(frozen=True, eq=False)
class _InputForm:
    """A value on B boxes: centre, remainder (n, B) and generators (n, B, inputs)."""

    centre: Floats
    generators: Floats
    remainder: Floats

    @property
    def radius(self) -> Floats:
        """(n, B) how far the value may be from its centre."""
        total: Floats = np.abs(self.generators).sum(axis=2) + self.remainder
        return total


class AffineForms:
    """The forms of all values of a network on a batch of boxes, as far as they are known.

    Layers are asked for in graph order: `bounds` of one, then `add` with what it is known by.

    Raises
    ------
    OutOfTimeError
        The deadline of the current resources passed before all matrices were composed.
    """

    def __init__(self, network: Network, boxes: Boxes) -> None:
        self.network = network
        for index in range(len(network.segments)):
            if current().over:
                raise OutOfTimeError("time was over before the layers had matrices")
            matrix_of(network, index)
        lower, upper = boxes.lower.T.astype(np.float64), boxes.upper.T.astype(np.float64)
        changing = np.flatnonzero(np.any(upper > lower, axis=1))
        self._boxes, self._inputs = lower.shape[1], len(changing)
        centre = 0.5 * lower + 0.5 * upper
        reach = np.maximum(upper - centre, centre - lower) * (1 + 1e-15)
        generators = np.zeros((*lower.shape, len(changing)))
        generators[changing, :, np.arange(len(changing))] = reach[changing]
        self._forms: dict[int, _InputForm] = {
            id(network.input): _InputForm(centre, generators, np.zeros_like(centre))
        }
        # The form of the next pre-activation.
        self._next: _InputForm | None = None

    @staticmethod
    def suit(network: Network, boxes: Boxes) -> bool:
        """True where few inputs change, of functions of one number each, and matrices fit."""
        few = np.count_nonzero(np.any(boxes.upper > boxes.lower, axis=0)) <= FEW_INPUTS
        return (
            bool(few)
            and network.multiply_adds * BYTES_PER_WEIGHT <= current().memory // 2
            and boxes.norm.separable
            and not any(is_paired(operator(a)) for a in network.activations)
        )

    def bounds(self, index: int) -> tuple[Floats, Floats]:
        """Lower and upper bounds (B, n) of a segment's target; infinite where sums overflow."""
        with np.errstate(over="ignore", invalid="ignore"):
            self._next = form = self._image(index)
            low, high = form.centre - form.radius, form.centre + form.radius
        known = np.isfinite(low) & np.isfinite(high)
        return np.where(known, low, -np.inf).T, np.where(known, high, np.inf).T

    def _image(self, index: int) -> _InputForm:
        segment, matrix = self.network.segments[index], matrix_of(self.network, index)
        count, boxes, width = len(matrix.offset), self._boxes, self._inputs
        centre = np.repeat(matrix.offset[:, None], boxes, axis=1)
        terms = np.repeat(matrix.offset_size[:, None], boxes, axis=1)
        generators, remainder = np.zeros((count, boxes, width)), np.zeros((count, boxes))
        roundings = matrix.roundings + OTHER + width
        for source, weight, absolute, sizes in zip(
            segment.sources, matrix.weights, _absolute(self.network, index), matrix.sizes,
            strict=True,
        ):  # fmt: skip
            form = self._forms[id(source)]
            centre += weight @ form.centre
            generators += (weight @ form.generators.reshape(size(source), -1)).reshape(
                count, boxes, width
            )
            remainder += absolute @ form.remainder
            terms += sizes @ (np.abs(form.centre) + form.radius)
            roundings += size(source)
        remainder = (remainder + gamma64(roundings) * terms) * (1 + 1e-12) + TINY
        return _InputForm(centre, generators, remainder)

    def add(self, index: int, layer: LayerBounds) -> None:
        """Take the bounds of a pre-activation: the form of its activation follows.

        A chord and what the function is off it; the interval alone where that is narrower.
        """
        node = self.network.activations[index]
        activation = activation_of(node)
        kind = "fastlin" if activation.piecewise_linear else "crown"
        below, lo, above, uo = (line.T for line in layer.lines(activation, kind))
        low, high = layer.lower.T.astype(np.float64), layer.upper.T.astype(np.float64)
        ends = activation.interval(low.T, high.T)
        bottom, top = ends[0].T, ends[1].T
        form, self._next = self._next, None
        if form is None:
            form = _interval_form(low, high, self._inputs)
        with np.errstate(over="ignore", invalid="ignore"):
            slope = 0.5 * below + 0.5 * above
            least = np.minimum((below - slope) * low, (below - slope) * high) + lo
            most = np.maximum((above - slope) * low, (above - slope) * high) + uo
            middle, half = 0.5 * least + 0.5 * most, 0.5 * most - 0.5 * least
            centre = slope * form.centre + middle
            generators = slope[:, :, None] * form.generators
            remainder = np.abs(slope) * form.remainder + half
            largest = np.maximum(np.abs(low), np.abs(high))
            terms = np.abs(slope) * (np.abs(form.centre) + form.radius)
            terms += (np.abs(below) + np.abs(above)) * largest + np.abs(lo) + np.abs(uo)
            remainder = (remainder + gamma64(OTHER) * terms) * (1 + 1e-12) + TINY
        alone = ~(remainder < 0.5 * top - 0.5 * bottom)
        plain = _interval_form(bottom, top, self._inputs)
        centre, remainder = (
            np.where(alone, one, other)
            for one, other in ((plain.centre, centre), (plain.remainder, remainder))
        )
        generators[alone] = 0.0
        self._forms[id(node.outputs[0])] = _InputForm(centre, generators, remainder)


def _absolute(network: Network, index: int) -> "list[csr_array[Any]]":
    """The magnitudes of a segment's weights, made once; they share the weights' places."""
    from scipy.sparse import csr_array

    def make() -> "list[csr_array[Any]]":
        return [
            csr_array((np.abs(w.data), w.indices, w.indptr), shape=w.shape)
            for w in matrix_of(network, index).weights
        ]

    return network.cached(("absolute weights", index), make)


def _interval_form(low: Floats, high: Floats, inputs: int) -> _InputForm:
    """An interval without regard to the inputs."""
    centre = 0.5 * low + 0.5 * high
    remainder = np.maximum(high - centre, centre - low) * (1 + 1e-15) + TINY
    return _InputForm(centre, np.zeros((*centre.shape, inputs)), remainder)


def within_forms(layer: LayerBounds, forms: AffineForms, index: int) -> LayerBounds:
    """The better ends of a layer's bounds and of its form's."""
    lower, upper = forms.bounds(index)
    return layer.within(LayerBounds(round_down(lower), round_up(upper), layer.magnitude))
