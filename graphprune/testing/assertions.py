"""Assertions of what operators, bounds, networks and passes owe."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graphprune.bounds import LayerBounds
from graphprune.errors import PipelineError
from graphprune.ir import GraphBuilder, Network
from graphprune.ir.network import BATCH, AffineOperator
from graphprune.passes.base import Pass, State, execute
from graphprune.pipeline.verify import check_promise, samples_in
from graphprune.region import Anchor, Box, Region
from graphprune.runtime.reference import Reference, forward64
from graphprune.runtime.session import Executable

Floats = NDArray[np.float64]


def assert_equivalent(
    f: Network,
    g: Network,
    *,
    on: Region | NDArray[np.floating] | None = None,
    samples: int = 32,
    tolerance: float = 1e-9,
) -> None:
    """Two networks compute the same logits in float64.

    Parameters
    ----------
    on
        A `Ball` or `Box` to sample, corners and faces included, or points (N, *sample shape).
        By default the box [-1, 2] per input element.
    tolerance
        Largest difference, relative to 1 + max |logit|.
    """
    __tracebackhide__ = True
    if f.input_shape != g.input_shape:
        raise AssertionError(f"input shapes differ: {f.input_shape} and {g.input_shape}")
    if f.classes != g.classes:
        raise AssertionError(f"the networks have {f.classes} and {g.classes} classes")
    if on is None:
        on = Box(np.full(f.input_shape, -1.0), np.full(f.input_shape, 2.0))
    x = on if isinstance(on, np.ndarray) else samples_in(on, samples)
    a, b = (forward64(network, x.astype(np.float64))[0] for network in (f, g))
    gap = np.abs(a - b) / (1.0 + np.max(np.abs(a), axis=1, keepdims=True))
    if not np.all(gap <= tolerance):
        worst = int(np.argmax(np.nan_to_num(gap, nan=np.inf).max(axis=1)))
        raise AssertionError(
            f"the networks differ at x = {x[worst].tolist()}: {a[worst].tolist()} and"
            f" {b[worst].tolist()}"
        )


def assert_encloses(
    network: Network,
    layers: Sequence[LayerBounds],
    region: Region,
    *,
    index: int = 0,
    samples: int = 60,
    seed: int = 0,
) -> None:
    """Bounds hold every pre-activation of points sampled in a ball or box.

    Parameters
    ----------
    layers
        As `pre_activation_bounds` returns them.
    index
        Which box of a batch `region` is.
    """
    __tracebackhide__ = True
    zs = forward64(network, samples_in(region, samples, seed))[1:]
    for number, (z, layer) in enumerate(zip(zs, layers, strict=True)):
        flat = z.reshape(len(z), -1)
        # Written so that NaN encloses nothing.
        outside = ~((flat >= layer.lower[index]) & (flat <= layer.upper[index]))
        if outside.any():
            point, neuron = (int(i[0]) for i in np.nonzero(outside))
            raise AssertionError(
                f"layer {number + 1}, neuron {neuron}: {flat[point, neuron]!r} lies outside"
                f" [{layer.lower[index, neuron]!r}, {layer.upper[index, neuron]!r}]"
            )


def assert_adjoint(op: AffineOperator, *shapes: tuple[int, ...], seed: int = 0) -> None:
    """<A x, y> = <x, A' y>, and `linear` is `forward` without its offset.

    Parameters
    ----------
    shapes
        Sample shapes of the operator's inputs.
    """
    __tracebackhide__ = True
    rng = np.random.default_rng(seed)
    x = [rng.normal(size=(3, *shape)) for shape in shapes]

    def build(method: str, arrays: Sequence[Floats], dtype: type) -> GraphBuilder:
        b = GraphBuilder(dtype)
        inputs = [b.input(f"i{k}", [BATCH, *a.shape[1:]]) for k, a in enumerate(arrays)]
        made = getattr(op, method)(b, *inputs)
        for k, value in enumerate(made if isinstance(made, tuple) else (made,)):
            b.output(value, f"o{k}")
        return b

    def run(method: str, arrays: Sequence[Floats]) -> Floats:
        graph = build(method, arrays, np.float64).build("test")
        out: Floats = Reference(graph)({f"i{k}": a for k, a in enumerate(arrays)})[0]
        return out

    image = run("linear", x)
    offset = run("forward", [np.zeros_like(a) for a in x])
    if not np.allclose(run("forward", x), image + offset, atol=1e-9):
        raise AssertionError(f"{op}: linear is not forward without the offset")
    y = rng.normal(size=image.shape)
    # Adjoints are written for ONNX Runtime (the reference's ConvTranspose is wrong for groups).
    try:
        rows = Executable(build("adjoint", [y], np.float32).build("test"))
        back = rows({"i0": y.astype(np.float32)})
    except Exception as error:
        raise AssertionError(
            f"{op}: the graph of its adjoint is invalid: it takes rows of shape {y.shape[1:]} and"
            f" must return {[a.shape[1:] for a in x]}; ONNX Runtime says: {_first_line(error)}"
        ) from None
    if [a.shape for a in back] != [a.shape for a in x]:
        raise AssertionError(f"{op}: the adjoint returns {[a.shape for a in back]}")
    left = float(np.sum(image * y))
    right = float(sum(np.sum(a * b) for a, b in zip(x, back, strict=True)))
    if not np.isclose(left, right, rtol=1e-5, atol=1e-4):
        raise AssertionError(f"{op}: <A x, y> = {left}, but <x, A' y> = {right}")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def assert_preserves(
    item: Pass, network: Network, anchor: Anchor | None = None, *, box: Box | None = None
) -> Network:
    """A pass keeps its promise on this network, and leaves the given one alone.

    Returns the rewritten network.

    Raises
    ------
    BrokenPromiseError
        With the point that shows it; an `AssertionError` where the given network was changed.
    TypeError
        The pass needs an anchor, or a region to prune for, that is not given.
    """
    __tracebackhide__ = True
    # Points at which every weight has an effect.
    x = np.random.default_rng(0).normal(size=(4, *network.input_shape))
    nodes, logits = [n.name for n in network.model.graph], forward64(network, x)[0]
    before = State(network, anchor, box=box)
    try:
        after = execute(item, before)
    except PipelineError as error:
        lacking = [name for name, given in (("anchor", anchor), ("box", box)) if given is None]
        lacking = [name for name in lacking if re.search(rf"\b{name}s?\b", str(error))]
        if not lacking:
            raise
        wanted = " or ".join(f"{name}=..." for name in lacking)
        raise TypeError(f"assert_preserves lacks {wanted}: {error}") from None
    check_promise(item, before, after)
    unchanged = Network(network.model, network.source)
    if nodes != [n.name for n in unchanged.nodes] or not np.array_equal(
        logits, forward64(unchanged, x)[0]
    ):
        raise AssertionError(f"pass '{item.name}' changed the network it was given")
    return after.network
