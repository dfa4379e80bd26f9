"""What an attack knows about the network around a point: margins, and the activation pattern."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from graphprune import transforms
from graphprune.ir import Network, Query
from graphprune.ir.network import operator, sample_shape
from graphprune.operators import Relu
from graphprune.region import Norm
from graphprune.runtime.session import Resident, compiled

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Indices = NDArray[np.intp]
# What a graph is run with, by name.
Feeds = dict[str, NDArray[np.generic] | Resident]


@dataclass(frozen=True, eq=False)
class AttackProblem:
    """A query in terms of steps from its anchor: (N, input size) arrays, float64."""

    query: Query

    @property
    def network(self) -> Network:
        return self.query.network

    @property
    def norm(self) -> Norm:
        return self.query.norm

    @cached_property
    def start(self) -> Floats:
        """The anchor, flat."""
        return self.query.anchor.center.reshape(-1)

    @cached_property
    def _ends(self) -> tuple[Floats, Floats]:
        lower, upper = self.query.domain.steps(self.query.anchor.x)
        return lower.reshape(-1), upper.reshape(-1)

    @property
    def lower(self) -> Floats:
        """Smallest steps that stay in the domain, <= 0."""
        return self._ends[0]

    @property
    def upper(self) -> Floats:
        """Largest steps that stay in the domain, >= 0."""
        return self._ends[1]

    @cached_property
    def held(self) -> dict[str, Resident]:
        """What the loops read of the problem, (1, n) each, on the device."""
        arrays = {"start": self.start, "lower": self.lower, "upper": self.upper}
        return {name: Resident.of(a.astype(np.float32)[None]) for name, a in arrays.items()}

    @cached_property
    def targets(self) -> Indices:
        """Every class but the label."""
        return np.delete(np.arange(self.network.classes), self.query.anchor.label)

    def clip(self, steps: Floats) -> Floats:
        """The nearest steps inside the domain."""
        return np.clip(steps, self.lower, self.upper)

    def points(self, steps: Floats) -> Singles:
        """Positions (N, *sample) in float32, as the graphs take them."""
        flat = (self.start + steps).astype(np.float32)
        return flat.reshape(len(steps), *self.network.input_shape)

    def lengths(self, steps: Floats) -> Floats:
        return self.norm.lengths(steps)

    def rows(self, targets: Indices) -> Singles:
        """Rows (N, classes) of f_y - f_t."""
        rows = np.zeros((len(targets), self.network.classes), np.float32)
        rows[np.arange(len(targets)), targets] = -1.0
        rows[:, self.query.anchor.label] = 1.0
        return rows

    def margins(self, steps: Floats, targets: int | Indices) -> Singles:
        """f_y - f_t (N,), t for all steps or each its own, by the float32 graph."""
        run = compiled(
            self.network, "forward", lambda: transforms.forward(self.network, np.float32)
        )
        logits = run({"x": self.points(steps)})[0]
        others = logits[np.arange(len(steps)), targets]
        margins: Singles = logits[:, self.query.anchor.label] - others
        return margins


@dataclass(frozen=True, eq=False)
class Kinks:
    """The neurons of one layer at a point.

    Attributes
    ----------
    z
        (n,) pre-activations.
    side
        (n,) +1 where active, -1 where not.
    weight
        (n,) derivative of the margin with respect to the neurons' outputs.
    """

    z: Floats
    side: Floats
    weight: Floats


class Linearisation:
    """The margin of one target around one point, as its activation pattern continues it.

    In units of the steepest slope there: tolerances of solvers are absolute, networks are not.

    Attributes
    ----------
    step
        The point, as a step (n,) from the anchor.
    margin
        f_y - f_t there.
    gradient
        (n,) of the margin.
    kinks
        By layer, of the layers whose activation is a ReLU.
    """

    def __init__(self, problem: AttackProblem, step: Floats, target: int) -> None:
        network = self.network = problem.network
        self.step = step
        run = compiled(network, "linearise", lambda: transforms.linearise(network))
        row = problem.rows(np.array([target]))
        found = dict(
            zip(run.outputs, run({"x": problem.points(step[None]), "rows": row}), strict=True)
        )
        wide = {name: a.astype(np.float64).reshape(-1) for name, a in found.items()}
        logits = wide["logits"]
        steepest = float(np.max(np.abs(wide["gradient"]), initial=0.0))
        # Zero or no number: nothing that a program could be made of.
        self.usable = bool(steepest > 0 and np.isfinite(steepest) and np.all(np.isfinite(logits)))
        unit = steepest if self.usable else 1.0
        self.margin = float(logits[problem.query.anchor.label] - logits[target]) / unit
        self.gradient: Floats = wide["gradient"] / unit
        self._slopes = {name: a for name, a in found.items() if name.startswith("slope")}
        self.kinks: dict[int, Kinks] = {}
        for i, activation in enumerate(network.activations):
            if isinstance(operator(activation), Relu):
                side = np.where(wide[f"slope{i}"] > 0, 1.0, -1.0)
                self.kinks[i] = Kinks(wide[f"z{i}"], side, wide[f"weight{i}"] / unit)

    def push(self, direction: Floats) -> dict[int, Floats]:
        """Changes (n_i,) of the pre-activations of the ReLU layers for a change of the input."""
        network = self.network
        run = compiled(network, "tangent", lambda: transforms.tangent(network))
        shaped = direction.astype(np.float32).reshape(1, *network.input_shape)
        found = dict(zip(run.outputs, run({"direction": shaped, **self._slopes}), strict=True))
        return {i: found[f"z{i}"].astype(np.float64).reshape(-1) for i in self.kinks}

    def rows(self, layer: int, neurons: Indices) -> Floats:
        """Gradients (len(neurons), n) of pre-activations of a layer."""
        network = self.network
        run = compiled(network, ("cotangent", layer), lambda: transforms.cotangent(network, layer))
        shape = sample_shape(network.segments[layer].target)
        rows = np.zeros((len(neurons), int(np.prod(shape))), np.float32)
        rows[np.arange(len(neurons)), neurons] = 1.0
        gradient = run({"rows": rows.reshape(len(neurons), *shape), **self._slopes})[0]
        return gradient.astype(np.float64).reshape(len(neurons), -1)
