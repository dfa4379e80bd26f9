"""One region of a property on one network, with its deadline."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.verify.head import below_file, over_classes
from graphprune.backends.verify.relations import rows_of_constraints
from graphprune.errors import UnsupportedError
from graphprune.ir import Network
from graphprune.runtime.original import run_file, run_original
from graphprune.runtime.reference import forward64
from graphprune.vnnlib import Disjunct, RationalBox

Floats = NDArray[np.float64]

# Points of a box whose scores make constraints above a Softmax tight there.
SAMPLES = 64


@dataclass(frozen=True, eq=False)
class Counterexample:
    """A confirmed point of the property.

    Attributes
    ----------
    x
        Flat float64 input, inside the region's box as the shortest decimals of its numbers.
    y
        Flat outputs of the whole file in ONNX Runtime there, a Softmax above its scores included.
    """

    x: Floats
    y: NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class RegionResult:
    """The end of a region's search.

    Attributes
    ----------
    unsat
        Proven that no point is unsafe.
    point
        A confirmed counterexample, if one was met.
    nodes
        Boxes or subproblems bounded.
    reason
        The cause of an end without an answer before the deadline.
    """

    unsat: bool
    point: Counterexample | None
    nodes: int
    reason: str = ""


@dataclass(frozen=True, eq=False)
class VerificationQuery:
    """Is there a point of the region whose output is in one of its polytopes?

    Attributes
    ----------
    region
        Constraints on the scores, which hold wherever the property says that a point is unsafe.
    stated, strict
        The property's own, of the file's outputs; and one of the scores that lies inside. None
        where the file ends in a function of all scores, whose values are taken instead.
    lower, upper
        Flat float64 box that holds the region's box.
    weights, limits
        (K, outputs), (K,): constraints ``weights . y <= limits``, polytope by polytope.
    first
        Polytope p is the conjunction of constraints ``first[p]:first[p + 1]``.
    deadline
        On the monotonic clock.
    """

    network: Network
    region: Disjunct
    stated: Disjunct
    strict: Disjunct | None
    lower: Floats
    upper: Floats
    weights: Floats
    limits: Floats
    first: NDArray[np.int64]
    deadline: float
    _inward: tuple[Floats, Floats] = field(repr=False)

    @classmethod
    def of(cls, network: Network, stated: Disjunct, deadline: float) -> "VerificationQuery":
        """A property's region on a network.

        Where constraints speak of inputs, `network` is one of `with_inputs`.

        Raises
        ------
        UnsupportedError
            It speaks of values above what is cut, otherwise than of their order.
        """
        source, outputs = network.source, network.source.output_layout.size
        over = over_classes(source.head)
        samples = None if over is None else _scores(network, stated.box)
        region = below_file(stated, source, outward=True, samples=samples)
        strict = below_file(stated, source, outward=False)
        if region is None or (strict is None and over is None):
            above = ", ".join(operator.op_type for operator in source.head)
            raise UnsupportedError(
                f"the property speaks of values above the {above or 'last operators'} of"
                f" {source.path or 'the model'}, cut here: comparisons of two outputs, thresholds"
                " below functions of every number, and what a Softmax or ArgMax makes linear on"
                " its scores are decided for such a model"
            )
        constraints = [c for polytope in region.polytopes for c in polytope]
        rows = rows_of_constraints(constraints, outputs, network.classes)
        counts = [len(polytope) for polytope in region.polytopes]
        return cls(
            network, region, stated, strict, *region.box.outward,
            rows, np.array([float(c.limit) for c in constraints]),
            np.cumsum([0, *counts]).astype(np.int64), deadline,
            region.box.inward(source.dtype),
        )  # fmt: skip

    @property
    def in_time(self) -> bool:
        return monotonic() < self.deadline

    def within(self, share: float) -> "VerificationQuery":
        """The query with a share of the time that is left."""
        left = self.deadline - monotonic()
        return self if share == 1.0 else replace(self, deadline=monotonic() + share * left)

    @property
    def polytopes(self) -> int:
        return len(self.first) - 1

    def only(self, polytopes: Sequence[int]) -> "VerificationQuery":
        """The same box with some of the polytopes."""
        kept = tuple(self.region.polytopes[p] for p in polytopes)
        region = Disjunct(self.region.box, kept)
        members = [np.arange(self.first[p], self.first[p + 1]) for p in polytopes]
        chosen = np.concatenate([np.zeros(0, np.int64), *members])
        first = np.cumsum([0, *(len(part) for part in members)]).astype(np.int64)
        return replace(
            self, region=region, weights=self.weights[chosen], limits=self.limits[chosen],
            first=first,
        )  # fmt: skip

    def inside(self, points: NDArray[np.floating]) -> Floats:
        """Points (N, inputs) moved into the box, to numbers of the model's own type."""
        own = points.astype(self.network.source.dtype).astype(np.float64)
        clipped: Floats = np.clip(own, *self._inward)
        return clipped

    def violation(self, y: NDArray[np.floating]) -> Floats:
        """(N, polytopes) largest of a polytope's constraints at outputs (N, outputs)."""
        excess = y.astype(np.float64) @ self.weights.T - self.limits
        out = np.full((len(y), self.polytopes), -np.inf)
        for p in range(self.polytopes):
            part = excess[:, self.first[p] : self.first[p + 1]]
            out[:, p] = part.max(axis=1, initial=-np.inf)
        return out

    def confirm(self, points: NDArray[np.floating]) -> Counterexample | None:
        """The first of a few points (N, inputs) that is unsafe without any tolerance.

        It must lie in the box exactly, and its outputs be unsafe both by the original model in
        ONNX Runtime and by the canonical one in float64. Where operators were cut above the
        scores, both the scores and what the file makes of them must be.
        """
        network = self.network
        for x in self.inside(points):
            sample = x.reshape(1, *network.input_shape)
            own = sample.astype(network.source.dtype)
            if not self.region.violated_by(run_original(network, own)[0], x):
                continue
            y = run_file(network, own)[0]
            if not self.stated.violated_by(y, x):
                continue
            exact = forward64(network, sample)[0].reshape(-1)
            if self._holds(exact, x) and self.region.box.contains(x):
                return Counterexample(x, y)
        return None

    def _holds(self, scores: Floats, x: Floats) -> bool:
        """Decide if scores in float64 are unsafe."""
        if self.strict is not None:
            return self.strict.violated_by(scores, x)
        over = over_classes(self.network.source.head)
        if over is None:
            return False
        outputs = self.network.source.output_layout.size
        return self.stated.violated_by(over.value(scores[:outputs]), x)


def _scores(network: Network, box: RationalBox) -> Floats:
    """Scores (SAMPLES, outputs) at points of a box, its centre among them."""
    lower, upper = box.outward
    share = np.random.default_rng(0).uniform(0, 1, (SAMPLES, len(lower)))
    share[0] = 0.5
    points = (lower + share * (upper - lower)).astype(network.source.dtype)
    return run_original(network, points.reshape(SAMPLES, *network.input_shape)).astype(np.float64)
