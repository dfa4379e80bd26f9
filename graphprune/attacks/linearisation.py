"""The margin of a target around a point: its gradient, and the activation pattern's hinges."""

from dataclasses import dataclass

import numpy as np

from graphprune import transforms
from graphprune.attacks.problem import AttackProblem, Floats, Indices
from graphprune.ir.network import operator, sample_shape
from graphprune.operators import Relu
from graphprune.runtime.session import compiled


@dataclass(frozen=True, eq=False)
class LayerPattern:
    """The piecewise linear neurons of one layer at a point.

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
    pattern
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
        self.pattern: dict[int, LayerPattern] = {}
        for i, activation in enumerate(network.activations):
            if isinstance(operator(activation), Relu):
                side = np.where(wide[f"slope{i}"] > 0, 1.0, -1.0)
                self.pattern[i] = LayerPattern(wide[f"z{i}"], side, wide[f"weight{i}"] / unit)

    def push(self, direction: Floats) -> dict[int, Floats]:
        """Changes (n_i,) of the pre-activations of the ReLU layers for a change of the input."""
        network = self.network
        run = compiled(network, "tangent", lambda: transforms.tangent(network))
        shaped = direction.astype(np.float32).reshape(1, *network.input_shape)
        found = dict(zip(run.outputs, run({"direction": shaped, **self._slopes}), strict=True))
        return {i: found[f"z{i}"].astype(np.float64).reshape(-1) for i in self.pattern}

    def rows(self, layer: int, neurons: Indices) -> Floats:
        """Gradients (len(neurons), n) of pre-activations of a layer."""
        network = self.network
        run = compiled(network, ("cotangent", layer), lambda: transforms.cotangent(network, layer))
        shape = sample_shape(network.segments[layer].target)
        rows = np.zeros((len(neurons), int(np.prod(shape))), np.float32)
        rows[np.arange(len(neurons)), neurons] = 1.0
        gradient = run({"rows": rows.reshape(len(neurons), *shape), **self._slopes})[0]
        return gradient.astype(np.float64).reshape(len(neurons), -1)
