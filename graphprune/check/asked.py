"""The network that a proof is about: the file's, of the variables of a front, with ranked classes.

A front says which inputs x of the file a point z means. The K-th best of the other classes is one
more class, computed by comparisons max(a, b) = b + relu(a - b), min(a, b) = a - relu(a - b).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.check.container import Point, Prefix, Proof, Refused
from graphprune.check.forms import UNIT, Floats
from graphprune.check.norms import BallNorm, norm_of
from graphprune.check.points import Points
from graphprune.check.reader import diagonal, negative, selection
from graphprune.check.steps import AffineStep, Model, ReluStep

# Names of the tensors that are put in front of the file's and behind them: no tensor is called so.
VARIABLES, RAW, RANK = "\0z", "\0x", "\0rank"


@dataclass(frozen=True, eq=False)
class Asked:
    """A question about points z.

    Attributes
    ----------
    file
        The model file, and the same of raw inputs x where a front changes units.
    raw
        As `file`, of inputs in the units of anchor and domain.
    model
        The same of points z, with the class of a rank as the last one.
    center, low, high
        (n,) z of the anchor, and the ends of every element.
    counting
        Classes of `model` that count as adversarial.
    """

    file: Model
    raw: Model
    model: Model
    proof: Proof
    ends: tuple[float, float]
    center: Floats
    low: Floats
    high: Floats
    norm: BallNorm
    counting: frozenset[int]

    @classmethod
    def of(cls, file: Model, proof: Proof, low: float, high: float) -> "Asked":
        """The question of a proof about a file, in a domain.

        Raises
        ------
        Refused
            The proof is not about such a file.
        """
        _require(file, proof, low, high)
        front = proof.front
        x = proof.anchor.astype(np.float64).reshape(-1)
        bottom, top = np.full(len(x), low), np.full(len(x), high)
        raw = file if front is None or front.mean is None else _in_units(file, front)
        center, model = x, raw
        if front is not None and front.weights is not None:
            model, (bottom, top) = _weighted(raw, front.weights, x, bottom, top)
            center = np.zeros(len(x))
        elif front is not None and front.steps is not None:
            assert front.low is not None
            assert front.high is not None
            model = _directed(raw, front.steps.astype(np.float64), x, low, high)
            bottom, top, center = front.low, front.high, np.zeros(len(front.steps))
        elif proof.fixed is not None:
            bottom = np.where(proof.fixed == 1, x, bottom)
            top = np.where(proof.fixed == 1, x, top)
        counting = _counting(proof, file.classes)
        if proof.top_k is not None:
            model = ranked(model, proof.label, proof.top_k)
        return cls(
            file, raw, model, proof, (low, high), center, bottom, top, norm_of(proof.norm),
            counting,
        )  # fmt: skip

    def ball(self, radius: float) -> Points:
        """The points within a radius."""
        return Points.around(self.center, radius, self.low, self.high, self.norm)

    @property
    def directed(self) -> bool:
        """True where elements move together, and points are variables of directions."""
        return self.proof.front is not None and self.proof.front.steps is not None

    @property
    def moving(self) -> int | None:
        """The number of elements that may change; None: all of them, each on its own."""
        proof = self.proof
        if proof.front is not None and proof.front.weights is not None:
            return int(np.sum(proof.front.weights > 0.0))
        return None if proof.fixed is None else int(np.sum(proof.fixed == 0))

    @property
    def about(self) -> str:
        """Norm, front and classes in words, as far as a reader would not expect them."""
        proof, front = self.proof, self.proof.front
        said = [] if self.norm.boxed else [f"in {self.norm.name}"]
        if front is not None and front.weights is not None:
            said.append("in units per element")
        if front is not None and front.steps is not None:
            said.append(f"along {len(front.steps)} directions")
        if front is not None and front.mean is not None:
            said.append("of raw inputs (x - mean) / std")
        if proof.counting is not None:
            said.append(f"classes {', '.join(map(str, sorted(self.counting)))} alone")
        if proof.top_k is not None:
            said.append(f"until the label is not among the {proof.top_k} best")
        return ", ".join(said)

    def variables(self) -> Floats:
        """Elements (n,) of z at the proof's point, in float64; those of x where they are z."""
        assert self.proof.point is not None
        point = self.proof.point.astype(np.float64).reshape(-1)
        front = self.proof.front
        if front is None or front.weights is None:
            return point
        x = self.proof.anchor.astype(np.float64).reshape(-1)
        moves = front.weights > 0.0
        return np.divide(point - x, front.weights, out=np.zeros(len(x)), where=moves)

    def image(self) -> Point:
        """The input x of the proof's point, in the units of the anchor and the file's type."""
        front, point = self.proof.front, self.proof.point
        assert point is not None
        if front is None or front.steps is None:
            return point
        if front.image is None or front.image.dtype != self.file.dtype:
            raise Refused("the input of its point is missing, or of another type than the model's")
        x = self.proof.anchor.astype(np.float64).reshape(-1)
        made = np.clip(x + point.astype(np.float64) @ front.steps, *self.ends)
        given = front.image.astype(np.float64).reshape(-1)
        close = 2.0 * float(np.finfo(self.file.dtype).eps) * np.maximum(1.0, np.abs(made))
        if given.shape != made.shape or np.any(np.abs(given - made) > close):
            raise Refused("the input of its point is not that of its variables")
        return front.image.reshape(self.file.shape)

    def fed(self, x: Point) -> Point:
        """An input as the file takes it, computed in the file's type."""
        front = self.proof.front
        if front is None or front.mean is None or front.std is None:
            return x
        kind = self.file.dtype
        mean, std = (part.astype(kind).reshape(x.shape) for part in (front.mean, front.std))
        return np.asarray((x.astype(kind) - mean) / std)


def _require(file: Model, proof: Proof, low: float, high: float) -> None:
    """Refuse parts of other sizes than the file's, and signs that mean nothing."""
    if proof.anchor.shape != file.shape:
        raise Refused(f"its anchor has shape {proof.anchor.shape}, not {file.shape}")
    if not 0 <= proof.label < file.classes:
        raise Refused(f"label {proof.label} is not a class of the model")
    bottom, top = (proof.anchor.dtype.type(end) for end in (low, high))
    if np.any(proof.anchor < bottom) or np.any(proof.anchor > top):
        raise Refused("its anchor lies outside the domain")
    n, fixed, front = file.inputs, proof.fixed, proof.front
    if fixed is not None and (fixed.size != n or np.any((fixed != 0) & (fixed != 1))):
        raise Refused("its fixed elements are not those of the model's input")
    if front is None:
        return
    several = sum(part is not None for part in (fixed, front.weights, front.steps))
    units = front.mean is not None and front.std is not None
    if several > 1 or (front.mean is None) != (front.std is None) or several + units == 0:
        raise Refused("its front has more than one form, or none")
    if front.mean is not None and front.std is not None:
        good = front.mean.size == front.std.size == n and np.all(front.std > 0.0)
        if not good:
            raise Refused("its units are not those of the model's input")
    if front.weights is not None and not (
        front.weights.size == n and np.all(front.weights >= 0.0) and np.any(front.weights > 0.0)
    ):
        raise Refused("its weights are not those of the model's input")
    steps = front.steps
    if (steps is None) != (front.low is None) or (steps is None) != (front.high is None):
        raise Refused("its directions have no ends")
    if steps is not None and not (
        steps.dtype == np.float64 and steps.ndim == 2 and steps.shape[1] == n and len(steps)
        and front.low is not None and front.high is not None
        and len(front.low) == len(front.high) == len(steps)
        and np.all(front.low <= 0.0) and np.all(front.high >= 0.0)
    ):  # fmt: skip
        raise Refused("its directions are not those of the model's input")


def _counting(proof: Proof, classes: int) -> frozenset[int]:
    """The classes that count as adversarial."""
    others = frozenset(range(classes)) - {proof.label}
    if proof.top_k is not None:
        if proof.counting is not None or not 1 < proof.top_k < classes:
            raise Refused("its rank is none of the model's classes, or stands with other classes")
        return frozenset({classes})
    if proof.counting is None:
        return others
    given = frozenset(proof.counting.tolist())
    if not given or not given <= others:
        raise Refused("the classes that count are no other classes of the model")
    return given


def _before(model: Model, variables: str, size: int, *steps: AffineStep | ReluStep) -> Model:
    """A model whose point is made by steps in front; the last one makes the model's own."""
    relus = tuple(size for step in steps if isinstance(step, ReluStep))
    return replace(
        model, input=variables, shape=(size,), steps=(*steps, *model.steps),
        relus=(*(model.inputs for _ in relus), *model.relus),
    )  # fmt: skip


def _in_units(model: Model, front: Prefix) -> Model:
    assert front.mean is not None
    assert front.std is not None
    step = AffineStep(model.input, RAW, diagonal(1.0 / front.std), -front.mean / front.std)
    return replace(model, input=RAW, steps=(step, *model.steps))


def _weighted(
    model: Model, weights: Floats, x: Floats, low: Floats, high: Floats
) -> tuple[Model, tuple[Floats, Floats]]:
    """The model of z with x0 + w z, and the ends of z, rounded outward."""
    moving = weights > 0.0
    ends = []
    for end, out in ((low, -np.inf), (high, np.inf)):
        way = np.divide(end - x, weights, out=np.zeros(len(x)), where=moving)
        # A difference and a quotient are rounded.
        ends.append(np.where(moving, np.nextafter(np.nextafter(way, out), out), 0.0))
    step = AffineStep(model.input, VARIABLES, diagonal(weights), x)
    return _before(model, VARIABLES, len(x), step), (
        np.minimum(ends[0], 0.0),
        np.maximum(ends[1], 0.0),
    )


def _directed(model: Model, steps: Floats, x: Floats, low: float, high: float) -> Model:
    """The model of z with x0 + B z, clipped: l + relu(x - l), then h - relu(h - x)."""
    n = len(x)
    made: list[AffineStep | ReluStep] = []
    names = iter(f"{RAW}{i}" for i in range(9))
    last = next(names)
    made.append(AffineStep(last, VARIABLES, sparse.csr_array(steps.T), x))

    def add(matrix: sparse.csr_array | None, bias: Floats | None) -> None:
        nonlocal last
        name = next(names)
        made.append(AffineStep(name, last, matrix, bias))
        last = name

    def relu() -> None:
        nonlocal last
        name = next(names)
        made.append(ReluStep(name, last))
        last = name

    back = negative((n,))
    if np.isfinite(low):
        add(None, np.full(n, -low))
        relu()
        add(None, np.full(n, low))
    if np.isfinite(high):
        add(back, np.full(n, high))
        relu()
        add(back, np.full(n, high))
    made[-1] = replace(made[-1], output=model.input)
    return _before(model, VARIABLES, len(steps), *made)


def ranked(model: Model, label: int, top_k: int) -> Model:
    """The model with one more class: the `top_k`-th best of the others than the label.

    Rounds of a knock-out from the nearer end: the best, or the least, of all that are left.
    """
    classes = model.classes
    largest = 2 * top_k <= classes
    sign = 1.0 if largest else -1.0
    steps = list(model.steps)
    relus = list(model.relus)
    number = 0

    def name() -> str:
        nonlocal number
        number += 1
        return f"{RANK}{number}"

    def add(given: str, matrix: sparse.csr_array, plus: str | None = None) -> str:
        steps.append(AffineStep(made := name(), given, matrix, None, plus))
        return made

    def joined(parts: list[tuple[str, int]]) -> tuple[str, int]:
        total, start, made = sum(size for _, size in parts), 0, None
        for part, size in parts:
            places = np.full(total, -1)
            places[start : start + size] = np.arange(size)
            made, start = add(part, selection(places, size), made), start + size
        assert made is not None
        return made, total

    others = selection(np.delete(np.arange(classes), label), classes)
    left = add(model.output, sparse.csr_array(sign * others)), classes - 1
    count = top_k if largest else classes - top_k
    for i in range(count):
        losers: list[tuple[str, int]] = []
        while left[1] > 1:
            given, size = left
            half = size // 2
            a, b = (selection(np.arange(half) + start, size) for start in (0, half))
            ahead = name()
            steps.append(ReluStep(ahead, add(given, sparse.csr_array(a - b))))
            relus.append(half)
            eye = selection(np.arange(half), half)
            winners = add(ahead, eye, add(given, b)), half
            losers.append((add(ahead, sparse.csr_array(-eye), add(given, a)), half))
            odd = [(add(given, selection(np.array([size - 1]), size)), 1)] if size % 2 else []
            left = joined([winners, *odd]) if odd else winners
        if i < count - 1:
            left = joined(losers)
    up = np.full(classes + 1, -1)
    up[classes] = 0
    rank = add(left[0], sparse.csr_array(sign * selection(up, 1)))
    kept = np.append(np.arange(classes), -1)
    output = add(model.output, selection(kept, classes), rank)
    return replace(
        model, steps=tuple(steps), relus=tuple(relus), output=output, classes=classes + 1
    )


def wins(logits: NDArray[np.floating], label: int, top_k: int | None, target: int) -> bool:
    """True where the target's logit is at least the label's, and so many others' are."""
    better = np.delete(logits, label) >= logits[label]
    enough = int(np.sum(better)) >= (1 if top_k is None else top_k)
    return enough and bool(logits[target] >= logits[label])


def slack_of(size: Floats, norm: BallNorm) -> float:
    """The most that a distance of steps whose terms are of these sizes can be rounded by."""
    terms = 0 if norm.boxed else len(size)
    return (terms + 8.0) * UNIT * norm.length(size)
