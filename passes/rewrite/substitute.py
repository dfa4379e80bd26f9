"""Substitutes by any line, in any order: the frame of which the published pruners are instances."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.attacks.attack import Attack
from graphprune.bounds import Method
from graphprune.errors import PipelineError
from graphprune.passes.base import Facts, Promise, State, record, register_pass
from graphprune.passes.rewrite.lines import LINES, By
from graphprune.passes.rewrite.ranks import RANKS, Rank
from graphprune.passes.rewrite.scene import Scene
from graphprune.passes.rewrite.schedule import replace_least
from graphprune.transforms.replace import apply


def checked_shares(name: str, gamma: float, step: float) -> None:
    """Raise where a share is none; both may be 1, which is every neuron at once."""
    everything = gamma == step == 1
    if not everything and not (0 < gamma < 1 and 0 < step < 1):
        raise PipelineError(f"pass '{name}': gamma and step must lie between 0 and 1, or both be 1")


def run_substitute(
    state: State,
    name: str,
    *,
    by: By,
    rank: Rank,
    gamma: float,
    step: float,
    bounds: Method,
    radius: float | None,
    only: tuple[int, ...] = (),
) -> State:
    """Replace the least neurons of the named layers (from 1; default: all but the first)."""
    if by in ("secant", "segment"):
        found, state = state.need(Attack)
        if found.witness is None:
            raise PipelineError(f"pass '{name}': the attack found no adversarial point to preserve")
    scene, state = Scene.of(state, name, bounds, radius)
    network = scene.network
    count = len(network.source_activations)
    if only and not 1 <= min(only) <= max(only) <= count:
        raise PipelineError(f"pass '{name}': layers are counted from 1 to {count}")
    named = sorted(set(only)) or range(2, count + 1)
    replaced = replace_least(
        scene, network.source_layers(named), LINES[by], RANKS[rank],
        gamma=gamma, step=step, deadline=state.deadline, progress=state.progress,
    )  # fmt: skip
    result = apply(network, replaced)
    removed = {i: int(new.removed.sum()) for i, new in replaced.items()}
    counts = [removed.get(i, 0) for i in network.source_layers(range(1, count + 1))]
    record(
        result, state, name, {by: sum(counts)}, scene.ball, rank=rank, gamma=gamma, removed=counts
    )
    # Only a secant keeps the attack's point adversarial, at the same distance.
    return state.rewritten(result, *(() if by == "secant" else (Attack,)))


@register_pass
@dataclass(frozen=True)
class Substitute:
    """Replace the least important neurons by lines.

    `rank` says which go first, `by` what they become, `gamma` how many of the neurons of the layers
    `only` (N+N+..., from 1; default: all but the first) go in all, `step` how many of those left
    go between two computations of the bounds. Keeps g(x0) = f(x0); by=secant also g(x_adv) =
    f(x_adv).
    """

    name: ClassVar[str] = "substitute"
    promise: ClassVar[Promise] = "anchor"
    needs: ClassVar[Facts] = frozenset({Attack})
    keeps: ClassVar[Facts] = frozenset({Attack})

    by: By = "secant"
    rank: Rank = "influence"
    gamma: float = 0.75
    step: float = 0.5
    only: tuple[int, ...] = ()
    bounds: Method = "crown"
    radius: float | None = None

    def __post_init__(self) -> None:
        checked_shares(self.name, self.gamma, self.step)

    def run(self, state: State) -> State:
        return run_substitute(
            state, self.name, by=self.by, rank=self.rank, gamma=self.gamma, step=self.step,
            bounds=self.bounds, radius=self.radius, only=self.only,
        )  # fmt: skip


@register_pass
@dataclass(frozen=True)
class Combined:
    """Replace the least variable neurons by secants that keep every known adversarial point.

    Algorithm 1's choice (the smallest ranges on the ball, a share `step` per round, layers 2 and
    above) with Algorithm 2's lines: the future work of "Robustness Evaluation Using Local
    Substitute Networks". Keeps g(x0) = f(x0) and g(x_adv) = f(x_adv), so d_bnd(g) <= d_adv.
    """

    name: ClassVar[str] = "combined"
    promise: ClassVar[Promise] = "anchor and adversarial"
    needs: ClassVar[Facts] = frozenset({Attack})
    keeps: ClassVar[Facts] = frozenset({Attack})

    gamma: float = 0.75
    step: float = 0.25
    bounds: Method = "fastlin-ibp"
    radius: float | None = None

    def __post_init__(self) -> None:
        checked_shares(self.name, self.gamma, self.step)

    def run(self, state: State) -> State:
        return run_substitute(
            state, self.name, by="secant", rank="range", gamma=self.gamma, step=self.step,
            bounds=self.bounds, radius=self.radius,
        )  # fmt: skip
