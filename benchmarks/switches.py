"""Techniques of the search, each with the way it is switched off, for ablations.

Most are settings of the search; those without one are replaced where they are called.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import patch

import numba
import numpy as np

from graphprune.backends import search
from graphprune.backends.relaxation import kernels, tighten
from graphprune.backends.relaxation.kernels import ascent, tightening
from graphprune.backends.relaxation.tighten import ConstrainedSettings, LateLayerSettings
from graphprune.backends.search import candidates, cases, layers, radius_step, tree
from graphprune.backends.search.branching import StrongBranching
from graphprune.backends.search.settings import DEFAULT, SearchSettings
from graphprune.evaluate import distance
from graphprune.runtime.jit import named

Patches = Callable[[], list[AbstractContextManager[object]]]


def recompiled(**constants: object) -> list[AbstractContextManager[object]]:
    """The search's kernels compiled anew, and not kept, with other constants of the ascent.

    The callees first, so that each finds the new ones.
    """

    def again(kernel: Any) -> Any:
        return numba.njit(nogil=True, error_model="numpy")(kernel.py_func)

    with ExitStack() as stack:
        for name, value in constants.items():
            stack.enter_context(patch.object(ascent, name, value))
        stack.enter_context(patch.object(ascent, "climb_step", again(ascent.climb_step)))
        ascend = again(ascent.ascend)
        stack.enter_context(patch.object(tightening, "ascend", ascend))
        tighten_neurons = again(kernels.tighten_neurons)
        pairs: list[tuple[Any, Any]] = [
            (ascent.ascend, ascend), (kernels.tighten_neurons, tighten_neurons)
        ]  # fmt: skip
        for old, new in pairs:
            for signature in old.signatures:
                new.compile(signature)
    optimise = named(kernels.OptimisedBound)(ascend)
    return [
        patch.object(kernels, "optimise", optimise),
        patch.object(kernels, "tighten_neurons", tighten_neurons),
    ]


def with_settings(settings: SearchSettings) -> list[AbstractContextManager[object]]:
    """The search with other tuning constants."""
    return [
        patch.object(search, "Search", partial(search.Search, settings)),
        patch.object(distance, "first_attempt", partial(search.first_attempt, settings=settings)),
    ]


def with_tree(**constants: Any) -> list[AbstractContextManager[object]]:
    return with_settings(replace(DEFAULT, tree=replace(DEFAULT.tree, **constants)))


def with_step(**constants: Any) -> list[AbstractContextManager[object]]:
    return with_settings(replace(DEFAULT, step=replace(DEFAULT.step, **constants)))


def with_cuts(share: float) -> list[AbstractContextManager[object]]:
    levels = [replace(level, cuts=int(share * level.cuts)) for level in DEFAULT.step.levels]
    return with_step(levels=tuple(levels))


def with_schedule(**constants: Any) -> list[AbstractContextManager[object]]:
    return with_settings(replace(DEFAULT, schedule=replace(DEFAULT.schedule, **constants)))


def _as_they_are(_: object, __: object, found: Any, *___: object) -> Any:
    """Layers that are not optimised."""
    return found


NOTHING = "nothing"
TECHNIQUES: dict[str, Patches] = {
    NOTHING: list,
    "cuts folded into planes": lambda: with_cuts(0.0),
    "cuts: half of the rounds": lambda: with_cuts(0.5),
    "output-constrained bounds at roots": lambda: [
        patch.object(tighten, "constrain_root", lambda root, *_, **__: (root, False))
    ],
    "the limit on them: of all neurons": lambda: with_step(
        constrained=ConstrainedSettings(neurons=1 << 30)
    ),
    "late layers by branch and bound": lambda: with_step(late=LateLayerSettings(first=1 << 30)),
    "strong branching (first candidate only)": lambda: with_tree(rule=StrongBranching(1)),
    "optimiser steps in nodes": lambda: with_tree(steps=0),
    "step cap (Polyak's rule)": lambda: recompiled(CONSTANTS=ascent.CONSTANTS._replace(aim=np.inf)),
    "primal heuristic": lambda: [patch.object(candidates, "search_near", lambda *_: False)],
    "linear programs in nodes": lambda: [patch.object(tree.Tree, "_lp_due", lambda *_: False)],
    "bounds and box anew in nodes": lambda: with_tree(refresh_share=0.0),
    "the limit on their time": lambda: with_tree(refresh_share=1e9),
    "neurons clipped in nodes": lambda: with_step(clipped=0),
    "box shrinking": lambda: [patch.object(tighten, "_cut_box", lambda *_: None)],
    "first radius attempt": lambda: [patch.object(distance, "first_attempt", lambda *_: None)],
    "radii by their cost (shares only)": lambda: with_schedule(slow=np.inf),
    "forecasts": lambda: [patch.object(radius_step.RadiusProof, "_forecasts", False)],
    "cases handed on": lambda: [patch.object(cases.KnownCases, "put", lambda *_: None)],
    "the limit on late layers and constrained bounds": lambda: with_step(worth=np.inf),
    "wide: bounds of layers optimised": lambda: [
        patch.object(layers, "optimised_layers", _as_they_are)
    ],
    "wide: margins before condensing": lambda: [patch.object(layers, "promising", lambda *_: True)],
    "wide: attempts": lambda: with_schedule(wide=1 << 30),
}


@contextmanager
def without(technique: str) -> Iterator[None]:
    """Switch a technique off."""
    with ExitStack() as stack:
        for one in TECHNIQUES[technique]():
            stack.enter_context(one)
        yield
