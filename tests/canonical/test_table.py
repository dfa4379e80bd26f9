"""The page of operators lists exactly what the registries have."""

from pathlib import Path

from graphprune.canonical import rules
from graphprune.canonical.context import RULES
from graphprune.canonical.refusals import REASONS
from graphprune.canonical.table import affine, functions, supported, updated
from graphprune.operators import REGISTRY


def test_the_page_is_up_to_date() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operators.md").read_text(encoding="utf-8")
    assert updated(text) == text, "run: python -m graphprune.canonical.table docs/operators.md"


def test_every_rule_says_its_algebra_and_no_operator_is_both() -> None:
    rules.install()
    ours = {n: r for n, r in RULES.items() if r.__module__.startswith(rules.__name__)}
    assert all(rule.__doc__ for rule in ours.values())
    assert not set(ours) & set(REASONS)
    assert all(f"`{name}`" in supported() for name in ours)


def test_every_operator_of_the_dialect_is_in_one_table() -> None:
    ours = [n for n, cls in REGISTRY.items() if cls.__module__.startswith("graphprune.")]
    listed = affine() + functions()
    assert all(REGISTRY[name].__doc__ for name in ours)
    assert all(listed.count(f"| `{name}` |") == 1 for name in ours)
