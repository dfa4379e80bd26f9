"""The distance of a network of any functions: radius steps, each proven by a tree of ranges."""

from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.protocol import DistanceInterval
from graphprune.backends.ranges.relaxation import RangeRelaxation, require_ranges
from graphprune.backends.ranges.settings import DEFAULT, RangeSettings
from graphprune.backends.ranges.tree import Minimisers, RangeTree
from graphprune.backends.search import Search
from graphprune.backends.search.candidates import CandidateSink
from graphprune.backends.search.outcome import RadiusStep
from graphprune.backends.search.settings import DEFAULT as SEARCH
from graphprune.backends.search.tree import HeuristicSchedule
from graphprune.bounds import Boxes, LayerBounds, optimised_bounds, pre_activation_bounds
from graphprune.bounds.certify import margin_rows
from graphprune.errors import GraphpruneError
from graphprune.region import Ball
from graphprune.runtime.original import run_original
from graphprune.runtime.resources import Resources, using

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RangeSearch:
    """Branch and bound over ranges, on balls of growing radius."""

    settings: RangeSettings = DEFAULT

    @property
    def name(self) -> str:
        return "search"

    def run(self, interval: DistanceInterval, resources: Resources) -> None:
        """Prove one radius after the other until the interval is closed or a limit is reached.

        Raises
        ------
        UnsupportedError
            The network is too large for the engine, or no kernel knows the norm.
        """
        require_ranges(interval.problem.network, interval.problem.norm, resources)
        with using(resources):
            Search(prove=self.prove).run(interval, resources)

    def prove(
        self, interval: DistanceInterval, resources: Resources, radius: float, level: int, *,
        fine: float = 0.0, least: float | None = None,
    ) -> RadiusStep:  # fmt: skip
        """Prove as much of the ball of `radius` as the resources allow; see `prove_radius`."""
        return _RangeProof(self.settings, interval, resources, fine > 0.0).run(radius, level, least)


class _RangeProof:
    """The proof for one ball: layers bounded by CROWN at level 0, optimised from level 1 on."""

    def __init__(
        self, settings: RangeSettings, interval: DistanceInterval, resources: Resources, fine: bool
    ) -> None:
        self.settings, self.interval, self.resources = settings, interval, resources
        self.query = interval.problem.query
        label, target = self.query.anchor.label, self.query.target
        self.rows = margin_rows(self.query.network, label, target)
        self.points = CandidateSink(interval, resources, SEARCH.step, fine)
        self.schedule = HeuristicSchedule(1)
        self.fine = fine
        self.nodes = 0
        self.tree_seconds = 0.0

    def run(self, radius: float, level: int, least: float | None) -> RadiusStep:
        """Prove the ball, level by level."""
        start, ball = monotonic(), self.query.ball(radius)
        proven, complete, full = 0.0, False, False
        try:
            layers = self._layers(ball)
            for effort in range(min(level, 1), 2):
                level = effort
                if effort:
                    layers = self._optimised(ball, layers)
                relaxation = RangeRelaxation(self.query.network, ball, layers, radius)
                self.interval.unstable = relaxation.neurons
                limits = np.zeros(len(self.rows))
                tree = RangeTree(
                    relaxation, self.rows, limits, self.resources, settings=self.settings
                )
                if self.resources.over:
                    break
                self._try(tree.add_roots(range(len(self.rows))))
                hopeless = least is not None and tree.radius < least * radius
                if not hopeless:
                    each = self.settings.first if level == 0 or least is not None else np.inf
                    self._work(tree, each * len(self.rows))
                proven, full = max(proven, tree.radius), tree.full
                complete = not len(tree)
                if complete or least is not None or self.interval.closed or self.resources.over:
                    break
        except GraphpruneError:  # the bounds overflow, or leave a function's domain
            self.interval.unstable = self.query.network.neurons
        stopped = not complete and self.resources.over
        roots = monotonic() - start - self.tree_seconds
        return RadiusStep(
            proven, complete, self.nodes, level, roots, self.tree_seconds, stopped, full
        )

    def _layers(self, ball: Ball) -> list[LayerBounds]:
        return pre_activation_bounds(
            self.query.network, Boxes.of(ball), until=self.resources.deadline
        )

    def _optimised(self, ball: Ball, layers: list[LayerBounds]) -> list[LayerBounds]:
        return optimised_bounds(
            self.query.network, Boxes.of(ball), layers, steps=self.settings.layer_steps
        )

    def _work(self, tree: RangeTree, budget: float) -> None:
        """Expand a tree until it is done, its budget of cases is, or a limit is reached."""
        start, interval, before = monotonic(), self.interval, self.interval.nodes
        while tree.waiting and tree.nodes < budget and not tree.full and not self.resources.over:
            self._try(tree.expand())
            tree.shrink(self.points.radius)
            interval.nodes = before + tree.nodes
            interval.raise_lower(tree.radius, certified=True)
            if interval.closed and not self.fine:
                break
            interval.report(f"search at {tree.ball:.5f}, {len(tree)} open")
        self.nodes += tree.nodes
        self.tree_seconds += monotonic() - start

    def _try(self, seen: Minimisers) -> None:
        """Take minimisers that are adversarial, and look near one of them now and then."""
        if not len(seen.rows):
            return
        network = self.query.network
        points = seen.points.astype(np.float32).reshape(len(seen.points), *network.input_shape)
        scores = run_original(network, points)[:, : network.classes].astype(np.float64)
        margins = np.nan_to_num((scores @ self.rows.T).min(axis=1), nan=np.inf)
        for r in np.argsort(margins)[: self.settings.tried]:
            if margins[r] <= 0.0:
                self.points.add_candidate(seen.points[r])
        if self.schedule.primal_due(self.nodes + 1, SEARCH.tree.primal_growth):
            nearest = int(np.argmin(margins))
            target = int(self.query.targets[seen.rows[nearest]])
            self.points.search_near(target, seen.points[nearest])
