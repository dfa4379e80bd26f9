"""Property-based testing of networks, operators and passes (extra ``testing``).

In: a network, operator, pass or region of yours. Out: random ones that shrink (strategies), and a
failure with the model's text where something owed is not kept (assertions).

Read `strategies`, `assertions` and `plugin` first. Names are imported at their first use: pytest
loads :mod:`graphprune.testing.plugin` everywhere, also where Hypothesis is not installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphprune.testing.assertions import (
        assert_adjoint,
        assert_encloses,
        assert_equivalent,
        assert_preserves,
    )
    from graphprune.testing.operators import many_operator_models
    from graphprune.testing.strategies import (
        affine_segments,
        anchors,
        model_text,
        models,
        networks,
        pipelines,
    )

_ASSERTIONS = ("assert_adjoint", "assert_encloses", "assert_equivalent", "assert_preserves")
_HOMES = {"many_operator_models": "operators"}

__all__ = [
    "affine_segments",
    "anchors",
    "assert_adjoint",
    "assert_encloses",
    "assert_equivalent",
    "assert_preserves",
    "many_operator_models",
    "model_text",
    "models",
    "networks",
    "pipelines",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'graphprune.testing' has no attribute '{name}'")
    home = "assertions" if name in _ASSERTIONS else _HOMES.get(name, "strategies")
    return getattr(import_module(f"graphprune.testing.{home}"), name)
