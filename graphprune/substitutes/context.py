"""The local context of a substitute: a network around one anchor, and the points to keep."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from graphprune import transforms
from graphprune.bounds import Boxes, LayerBounds, Method, pre_activation_bounds
from graphprune.errors import PipelineError
from graphprune.ir import Network
from graphprune.ir.network import Activation, activation_of
from graphprune.region import Anchor, Ball
from graphprune.runtime.reference import forward64, pre_activations
from graphprune.runtime.session import compiled
from graphprune.transforms.replace import Replacement

Floats = NDArray[np.float64]

# Points of a least-squares fit.
BALL_SAMPLES = 256
SEGMENT_SAMPLES = 33


@dataclass(frozen=True, eq=False)
class KeptPoints:
    """Fact: the points, besides the anchor, at which a substitute has to be exact, the best first.

    Without it they are the attack's point alone.
    """

    points: tuple[NDArray[np.floating], ...]


@dataclass(frozen=True, eq=False)
class LocalContext:
    """A network around one anchor.

    Attributes
    ----------
    ball
        Where the substitute has to resemble the network.
    keep
        Points at which lines have to be exact, the best one first; may be empty (the anchor is
        never listed).
    method
        The method of bounds on the ball.
    """

    network: Network
    anchor: Anchor
    ball: Ball
    keep: tuple[NDArray[np.floating], ...]
    method: Method

    def activation(self, layer: int) -> Activation:
        return activation_of(self.network.activations[layer])

    def live(self, layer: int) -> NDArray[np.bool_]:
        return self.network.live(self.network.activations[layer])

    @cached_property
    def at_anchor(self) -> list[Floats]:
        """Pre-activations (neurons,) of every layer at the anchor."""
        return [z[0] for z in pre_activations(self.network, self.anchor.x)]

    @cached_property
    def at_kept(self) -> list[Floats]:
        """Pre-activations (1 + kept points, neurons) of every layer, the anchor's first."""
        return pre_activations(self.network, self.anchor.x, *self.keep)

    @cached_property
    def in_ball(self) -> list[Floats]:
        """Pre-activations (BALL_SAMPLES, neurons) at points drawn from the ball."""
        rng = np.random.default_rng(self.anchor.index)
        unit = rng.uniform(size=(BALL_SAMPLES, *self.ball.center.shape))
        box = self.ball.lower + unit * (self.ball.upper - self.ball.lower)
        return self._recorded(self.ball.pulled(box))

    @cached_property
    def on_segment(self) -> list[Floats]:
        """Pre-activations (SEGMENT_SAMPLES, neurons) from the anchor to the first kept point."""
        if not self.keep:
            raise PipelineError("no adversarial point is known: there is no segment to fit")
        step = self.keep[0].astype(np.float64) - self.ball.center
        shares = np.linspace(0.0, 1.0, SEGMENT_SAMPLES).reshape(-1, *(1,) * step.ndim)
        return self._recorded(self.ball.center + shares * step)

    def _recorded(self, points: Floats) -> list[Floats]:
        run = compiled(
            self.network,
            "forward-recorded",
            lambda: transforms.forward(self.network, "float32", record=True),
        )
        layers = run({"x": points.astype(np.float32)})[1:]
        return [z.astype(np.float64).reshape(len(points), -1) for z in layers]

    @cached_property
    def sensitivity(self) -> list[Floats]:
        """|d margin / d h| (neurons,) of every layer, the mean over the anchor and kept points.

        The margin is the one to the class that is closest at the first kept point, or at the
        anchor.
        """
        points = np.stack([self.anchor.x, *self.keep]).astype(np.float32)
        logits = forward64(self.network, points[:2][-1:])[0][0].copy()
        logits[self.anchor.label] = -np.inf
        rows = np.zeros((len(points), self.network.classes), np.float32)
        rows[:, self.anchor.label] = 1.0
        rows[:, int(np.argmax(logits))] = -1.0
        run = compiled(
            self.network,
            "gradient-recorded",
            lambda: transforms.gradient(self.network, record=True),
        )
        layers = run({"x": points, "rows": rows})[2:]
        return [np.abs(a.reshape(len(a), -1)).mean(axis=0).astype(np.float64) for a in layers]

    def bounds(self, replaced: Mapping[int, Replacement]) -> list[LayerBounds]:
        """Bounds of every neuron over the ball with some neurons replaced already."""
        boxes = Boxes.of(self.ball)
        return pre_activation_bounds(
            self.network, boxes, self.method, replaced=replaced, every=True
        )
