"""Replace neurons by any line, in any order: the published pruners are instances."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from graphprune.attacks.attack import Attack
from graphprune.bounds import Method
from graphprune.option_text import OneOf
from graphprune.passes.base import Facts, Promise, State, register_pass
from graphprune.passes.substitution import Substitution
from graphprune.substitutes import replacements, scores


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

    by: Annotated[str, OneOf(replacements)] = "secant"
    rank: Annotated[str, OneOf(scores)] = "influence"
    gamma: float = 0.75
    step: float = 0.5
    only: tuple[int, ...] = ()
    bounds: Method = "crown"
    radius: float | None = None

    def __post_init__(self) -> None:
        self._substitution().check(self.name)

    def _substitution(self) -> Substitution:
        return Substitution(
            self.by, self.rank, self.gamma, self.step, self.bounds, self.radius, self.only
        )

    def run(self, state: State) -> State:
        return self._substitution().run(state, self.name)
