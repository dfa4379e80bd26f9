"""Does a pass keep its promise? The graphs before and after it, run on points it speaks of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphprune.attacks.attack import Attack
from graphprune.errors import PipelineError
from graphprune.ir.export import speaks_for_itself, with_own_source
from graphprune.ir.network import Network, affine, is_affine
from graphprune.passes.base import Pass, Promise, State
from graphprune.region import Region
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64

Floats = NDArray[np.float64]

# Largest deviation allowed, relative to 1 + max |logit|. ONNX Runtime rounds every operation to
# float32, and a fused graph rounds others; float64 leaves only the pass to blame.
SINGLE, DOUBLE = 1e-3, 1e-7
SAMPLES = 32
# Multiply-adds of all samples of a kind, at most where two samples do with less: one thread runs a
# few 1e9 a second in the float64 reference, and holds each convolution's input once per weight.
WORK = 4e9


@dataclass(eq=False)
class BrokenPromiseError(PipelineError):
    """A pass changed the function where it promised not to.

    Attributes
    ----------
    name
        The pass.
    point
        Where (sample shape, float64): feed it to both networks.
    before, after
        Logits (classes,) there.
    """

    name: str
    promise: str
    point: Floats
    before: Floats
    after: Floats
    evaluator: str

    def __str__(self) -> str:
        flat = self.point.reshape(-1)
        shown = ", ".join(f"{v:.9g}" for v in flat[:16]) + (", ..." if flat.size > 16 else "")
        gap = float(np.max(_gaps(self.before, self.after)))
        return (
            f"pass '{self.name}' broke its promise ('{self.promise}'): the logits differ by"
            f" {gap:.3g} in {self.evaluator} at x = [{shown}]:"
            f" {_row(self.before)} before, {_row(self.after)} after"
        )


@dataclass(frozen=True)
class Checked:
    """A comparison that found no broken promise.

    Attributes
    ----------
    points
        Number of points.
    largest
        The largest difference of two logits there in ONNX Runtime.
    size
        The largest absolute logit there, before.
    """

    points: int
    largest: float
    size: float

    def __str__(self) -> str:
        found = f"{self.points} points, largest difference {self.largest:.1g}"
        # A large difference between large numbers is but rounding.
        return found if self.size < 1e3 else f"{found} of logits up to {self.size:.1g}"


def check_promise(item: Pass, before: State, after: State) -> Checked | None:
    """Compare the networks before and after a pass where it promises equality.

    None where it changed nothing, or promises nothing.

    Parameters
    ----------
    before, after
        The states the pass was given and has returned.

    Raises
    ------
    BrokenPromiseError
        With the point that shows it.
    PipelineError
        It promises what nobody can check: a ball that it does not name, an adversarial point that
        it did not keep.
    """
    if after.network is before.network:
        return None
    x = promised_points(item, before, after)
    if not len(x):
        return None
    networks = before.network, after.network
    exact = [forward64(network, x)[0] for network in networks]
    _compare(item, x, exact, "float64", DOUBLE * _scale(exact[0]))
    # Until a rewrite changes it, the file speaks for the network, not what would be written of it.
    first = networks[0] if speaks_for_itself(networks[0]) else with_own_source(networks[0])
    return _compare_runs(item, x, first, with_own_source(after.network), exact[0])


def _compare_runs(
    item: "Pass | _Reading", x: Floats, before: Network, after: Network, exact: Floats
) -> Checked:
    """Compare two networks in ONNX Runtime."""
    single = x.astype(before.source.dtype)
    runs = [run_original(network, single).astype(np.float64) for network in (before, after)]
    # The error that float32 makes in the network before the pass is not the pass's doing, nor is
    # there anything to compare where that overflows.
    runs[1] = np.where(np.isfinite(runs[0]) | np.isnan(exact), runs[1], runs[0])
    rounded = 4.0 * _largest(_gaps(runs[0], exact))
    _compare(item, x, runs, "ONNX Runtime", SINGLE * _scale(exact) + rounded)
    gap, size = (float(np.nanmax(part, initial=0.0)) for part in (_gaps(*runs), np.abs(runs[0])))
    return Checked(len(x), gap, size)


@dataclass(frozen=True)
class _Reading:
    """Reading a file and writing it again, as a pass that promises the same function."""

    name: str = "read"
    promise: Promise = "everywhere"


def check_reading(state: State) -> None:
    """Compare what would be written of a network that no pass has changed with its file.

    Raises
    ------
    BrokenPromiseError
        With the point that shows it.
    """
    network = state.network
    if not speaks_for_itself(network):
        return
    x = _everywhere(state, _samples(network))
    exact = forward64(network, x)[0]
    _compare_runs(_Reading(), x, network, with_own_source(network), exact)


def _gaps(before: Floats, after: Floats) -> Floats:
    """Absolute differences; none between two equal infinities."""
    with np.errstate(invalid="ignore"):
        return np.where(before == after, 0.0, np.abs(before - after))


def _scale(logits: Floats) -> Floats:
    return 1.0 + _largest(np.abs(logits))


def _largest(values: Floats) -> Floats:
    """(N, 1) the largest value of every row that is a number, at least 0."""
    largest: Floats = np.nan_to_num(values, nan=0.0, posinf=np.inf).max(axis=1, keepdims=True)
    return largest


def _compare(
    item: "Pass | _Reading", x: Floats, logits: list[Floats], evaluator: str, tolerance: Floats
) -> None:
    before, after = logits
    gap = _gaps(before, after)
    # NaN on one side only is a difference too.
    wrong = ~(gap <= tolerance) & ~(np.isnan(before) & np.isnan(after))
    if wrong.any():
        worst = int(np.argmax(np.where(wrong, np.nan_to_num(gap, nan=np.inf), -1.0).max(axis=1)))
        raise BrokenPromiseError(
            item.name, item.promise, x[worst], before[worst], after[worst], evaluator
        )


def promised_points(item: Pass, before: State, after: State) -> Floats:
    """Points (N, *sample) on which a pass promises equality: anchor, adversarial, samples."""
    shape = after.network.input_shape
    known = [] if after.anchor is None else [_point(after.anchor.x, shape)]
    found = after.facts.get(Attack) or before.facts.get(Attack)
    if found is None and item.promise == "anchor and adversarial":
        raise PipelineError(
            f"pass '{item.name}' promises to keep an adversarial point that is not known: list"
            " Attack in its keeps, or run 'attack' before it"
        )
    if found is not None and found.witness is not None:
        known.append(_point(found.witness.x, shape))
    if item.promise == "nothing":
        known = []
    elif item.promise == "anchor":
        known = known[:1]
    elif item.promise == "ball":
        region = after.region
        if region is None:
            raise PipelineError(f"pass '{item.name}' promises a ball and does not say which")
        known = [x for x in known if region.contains(x)]
        known.extend(samples_in(region, _samples(before.network)))
    elif item.promise == "everywhere":
        known.extend(_everywhere(after, _samples(before.network)))
    return np.stack(known) if known else np.zeros((0, *shape))


def samples_in(region: Region, count: int, seed: int = 0) -> Floats:
    """Points (count, *sample) of a ball or box: corners, faces, inner points, the centre."""
    rng = np.random.default_rng(seed)
    lower, upper = region.lower, region.upper
    weight = rng.random((count, *lower.shape))
    ends = (rng.random(weight.shape) < 0.5).astype(np.float64)
    # A third each: corners, points with half of their elements on a face, inner points.
    kind = np.arange(count).reshape(-1, *(1,) * lower.ndim) % 3
    on_face = (kind == 0) | ((kind == 1) & (rng.random(weight.shape) < 0.5))
    weight = np.where(on_face, ends, weight)
    if count:
        weight[-1] = 0.5
    points: Floats = np.clip(lower + weight * (upper - lower), lower, upper)
    return region.pulled(points)


def _samples(network: Network) -> int:
    """Number of samples of a kind: fewer of networks that take seconds each."""
    each = sum(affine(node).multiply_adds for node in network.nodes if is_affine(node))
    return max(2, min(SAMPLES, int(WORK / max(1, each))))


def _everywhere(state: State, count: int) -> Floats:
    """Points (2 count, *sample) in and around the domain, close to the anchor, and far out."""
    rng = np.random.default_rng(0)
    shape = state.network.input_shape
    low, high = state.domain.box(shape) if state.domain.bounded else (np.array(-1.0), np.array(1.0))
    spread = rng.choice([0.0, 0.1, 1.0, 10.0], size=(count, *(1,) * len(shape)))
    centre = np.full(shape, 0.5 * (low + high)) if state.anchor is None else state.anchor.x
    near = centre + spread * (high - low) * rng.uniform(-0.5, 0.5, (count, *shape))
    inside = rng.uniform(low, high, (count, *shape))
    return np.concatenate([near, inside])


def _point(x: NDArray[np.floating], shape: tuple[int, ...]) -> Floats:
    return x.astype(np.float64).reshape(shape)


def _row(logits: Floats) -> str:
    return "[" + ", ".join(f"{v:.7g}" for v in logits) + "]"
