"""A query as attacks see it: steps from the anchor, and the margins there."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from graphprune import transforms
from graphprune.ir import Network, Query
from graphprune.region import Norm
from graphprune.runtime.session import Resident, compiled

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Indices = NDArray[np.intp]
# Inputs of a graph by name.
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
        """Inputs that all graphs of steps share, (1, n) each, on the device."""
        arrays = {"start": self.start, "lower": self.lower, "upper": self.upper}
        return {name: Resident.of(a.astype(np.float32)[None]) for name, a in arrays.items()}

    @property
    def targets(self) -> Indices:
        """The classes that count as adversarial."""
        return self.query.targets

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
