"""Pre-activation bounds over boxes: IBP, Fast-Lin, FastLinIBP, CROWN and alpha-CROWN.

Intermediate bounds are computed layer by layer, each from the bounds below it:

``ibp``          interval arithmetic (Gowal et al. 2018)
``fastlin``      backward relaxation, equal slopes, nothing else (Weng et al. 2018): the same
                 numbers as the dual network of Wong and Kolter (2018) on the same box; where a
                 smooth activation reads a layer, the better of it and IBP (it may be defined there
                 only)
``fastlin-ibp``  element-wise better of the two in every layer
``crown``        backward relaxation, adaptive lower slope (Zhang et al. 2018), element-wise
                 better of it and IBP
``alpha-crown``  CROWN, and the lines below every row of `linear_bounds` optimised for that row
                 (Xu et al. 2021)

All of them are sound in floating point (see :mod:`graphprune.transforms.rounding`). ``ibp`` alone
runs in float32, all layers in one graph; its rounding margin is about 1e-5 of the values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from graphprune.bounds.engines import engine_for
from graphprune.bounds.forms import AffineForms, within_forms
from graphprune.bounds.nonnegative import not_below_zero
from graphprune.bounds.problem import (
    BoundsProblem,
    Boxes,
    Floats,
    LayerBounds,
    Method,
    round_down,
    round_up,
)
from graphprune.bounds.protocol import Ascent, Engine
from graphprune.errors import OutOfTimeError
from graphprune.ir import Network
from graphprune.ir.network import (
    activation_of,
    interval_suffices,
    operator,
    pre_activation,
    size,
)
from graphprune.runtime.resources import current
from graphprune.transforms.relaxation import ancestors
from graphprune.transforms.replace import Replacement

Forms = Literal["none", "beside", "alone"]
STANDARD = Ascent()
# Arrays of one number per box and neuron that are held at a time, at most.
ARRAYS = 24
# Neurons whose lines are optimised between two looks at the clock.
TOGETHER = 128


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
        The method that computed them.
    """

    lower: Floats
    upper: Floats
    radius: float | None
    method: str


def pre_activation_bounds(
    network: Network,
    boxes: Boxes,
    method: Method = "crown",
    *,
    replaced: Mapping[int, Replacement] | None = None,
    every: bool = False,
    outer: Sequence[LayerBounds] | None = None,
    until: float = np.inf,
    forms: Forms = "none",
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
        Tighten the bounds of stable ReLUs too (a pruner compares the ranges of all neurons);
        those of smooth activations always are.
    outer
        Bounds that hold on boxes around these: taken where they are better, and ReLUs they show
        to be stable are not bounded again.
    until
        On the clock of :func:`time.monotonic`: raise where it is over between two layers.
    forms
        With ``beside``, affine forms are carried beside intervals where few inputs change
        (`AffineForms`); with ``alone`` no neuron has a backward pass either, in much less time.

    Raises
    ------
    GraphpruneError
        The numbers overflow float32.
    OutOfTimeError
        It is later than `until`.
    """
    if (parts := _parts(network, boxes)) is not None:
        found = [
            pre_activation_bounds(
                network, boxes.take(part), method, replaced=replaced, every=every,
                outer=None if outer is None else [layer.take(part) for layer in outer],
                until=until, forms=forms,
            )
            for part in parts
        ]  # fmt: skip
        return [LayerBounds.stack(layers) for layers in zip(*found, strict=True)]
    problem = BoundsProblem(network, boxes, method, dict(replaced or {}))
    carried = None
    if forms != "none" and not problem.replaced and AffineForms.suit(network, boxes):
        carried = AffineForms(network, boxes)  # whose matrices the engine's layout takes, too
    engine = engine_for(problem, STANDARD)
    for index in range(len(network.activations)):
        if monotonic() >= until:
            raise OutOfTimeError("time was over before the layers had bounds")
        twin = _twin(problem, index)
        known = twin
        if known is None:
            known = _layer(problem, engine, index, every, outer, carried, forms != "alone")
        problem.add(known)
        if carried is not None:
            carried.add(index, known)
    return list(problem.layers)


def optimised_bounds(
    network: Network, boxes: Boxes, layers: Sequence[LayerBounds], *, steps: int = 5
) -> list[LayerBounds]:
    """Tighter bounds of pre-activations: lines optimised for each of them (alpha-CROWN).

    Layer by layer, each with what the ones before gained. Neurons whose sign is known are left
    as they are, except those of smooth activations.

    Parameters
    ----------
    layers
        Bounds to start from.
    steps
        Adam steps per neuron and side.

    Notes
    -----
    Where time is over, the layers that are left keep their bounds.
    """
    tighter: list[LayerBounds] = []
    for index, (activation, layer) in enumerate(zip(network.activations, layers, strict=True)):
        piecewise_linear = activation_of(activation).piecewise_linear
        alive = network.live(activation)
        chosen = np.flatnonzero(alive & (layer.unstable.any(axis=0) if piecewise_linear else True))
        if interval_suffices(operator(activation)):
            problem = BoundsProblem(network, boxes, "crown", {}, tighter)
            box = engine_for(problem, STANDARD).interval(index)
            tighter.append(layer.within(box))
            continue
        if not len(chosen) or not ancestors(network, index):
            tighter.append(layer)
            continue
        lower, upper = layer.lower.copy(), layer.upper.copy()
        ascent = Ascent(steps, 0.0 if piecewise_linear else np.inf)
        for start in range(0, len(chosen), TOGETHER):
            if current().over:
                break
            part = chosen[start : start + TOGETHER]
            units = np.zeros((len(part), layer.lower.shape[1]))
            units[np.arange(len(part)), part] = 1.0
            found = linear_bounds(
                network, boxes, tighter, np.concatenate([units, -units]), "alpha-crown",
                segment=index, ascent=ascent,
            )  # fmt: skip
            below, above = np.split(found, 2, axis=1)
            lower[:, part] = np.maximum(lower[:, part], round_down(below))
            upper[:, part] = np.minimum(upper[:, part], round_up(-above))
        tighter.append(LayerBounds(lower, upper, layer.magnitude))
    return tighter


def _parts(network: Network, boxes: Boxes) -> list[slice] | None:
    """Parts of a batch whose state would not fit into memory; None where it fits."""
    numbers = sum(size(v) for v in (network.input, *(n.outputs[0] for n in network.nodes)))
    at_once = max(1, current().memory // (2 * ARRAYS * 8 * numbers))
    batch = len(boxes.lower)
    if batch <= at_once:
        return None
    return [slice(start, start + at_once) for start in range(0, batch, at_once)]


def _twin(problem: BoundsProblem, index: int) -> LayerBounds | None:
    """The bounds of a layer below that has the same pre-activation, if all of it was bounded."""
    network = problem.network
    node = network.activations[index]
    for below, layer in enumerate(problem.layers):
        other = network.activations[below]
        # Relaxations may have bounded only some neurons of others.
        smooth = not activation_of(other).piecewise_linear and below not in problem.replaced
        if pre_activation(other) is not pre_activation(node) or not smooth:
            continue
        if interval_suffices(operator(other)) and not interval_suffices(operator(node)):
            continue
        if np.all(network.live(other) | ~network.live(node)):
            # Another object: it keeps the lines of its own activation.
            return LayerBounds(layer.lower, layer.upper, layer.magnitude)
    return None


def _layer(
    problem: BoundsProblem,
    engine: Engine,
    index: int,
    every: bool,
    outer: Sequence[LayerBounds] | None,
    forms: AffineForms | None,
    backward: bool,
) -> LayerBounds:
    """Bounds of the next layer from those of the layers below."""
    network = problem.network
    box = not_below_zero(problem, index, engine.interval(index))
    if forms is not None:
        box = within_forms(box, forms, index)
    if not backward:
        return box if outer is None else box.within(outer[index])
    if problem.method == "ibp":
        return box
    if interval_suffices(operator(network.activations[index])):
        return box
    if problem.boxes.norm.separable and not ancestors(network, index):
        return box  # without an activation below, the image of a box is exact
    alive = network.live(network.activations[index])
    if index in problem.replaced:
        alive = alive & ~problem.replaced[index].removed
    chosen = np.broadcast_to(alive, box.lower.shape)
    # The sign of a pre-activation settles a ReLU; a smooth activation is curved everywhere.
    piecewise_linear = activation_of(network.activations[index]).piecewise_linear
    everything = every or problem.method == "fastlin" or not piecewise_linear
    if not everything:
        chosen = chosen & box.unstable
        if outer is not None:
            chosen = chosen & outer[index].unstable
    lower, upper = engine.neurons(index, chosen, until_stable=not everything)
    below, above = round_down(lower), round_up(upper)
    if problem.method == "fastlin" and piecewise_linear:
        known = np.isfinite(below)
        below, above = np.where(known, below, box.lower), np.where(known, above, box.upper)
    else:
        below, above = np.maximum(below, box.lower), np.minimum(above, box.upper)
    if outer is not None:
        below, above = np.maximum(below, outer[index].lower), np.minimum(above, outer[index].upper)
    return LayerBounds(below, above, box.magnitude)


def linear_bounds(
    network: Network,
    boxes: Boxes,
    layers: Sequence[LayerBounds],
    rows: NDArray[np.floating],
    method: Method = "crown",
    *,
    replaced: Mapping[int, Replacement] | None = None,
    segment: int | None = None,
    ascent: Ascent = STANDARD,
) -> Floats:
    """Lower bounds (B, R) of ``rows`` (R, classes) times the logits, from the layers' bounds.

    Parameters
    ----------
    segment
        Its target instead of the logits; `layers` need go up to the activations below it only.
    ascent
        The optimisation by ``alpha-crown``.
    """
    if (parts := _parts(network, boxes)) is not None:
        return np.concatenate([
            linear_bounds(
                network, boxes.take(part), [layer.take(part) for layer in layers], rows, method,
                replaced=replaced, segment=segment, ascent=ascent,
            )
            for part in parts
        ])  # fmt: skip
    problem = BoundsProblem(network, boxes, method, dict(replaced or {}), layers)
    top = len(network.segments) - 1 if segment is None else segment
    return engine_for(problem, ascent).rows(top, rows.astype(np.float64))
