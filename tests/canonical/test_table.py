"""The README lists exactly what the registry has."""

from pathlib import Path

from graphprune.canonical import rules
from graphprune.canonical.context import RULES
from graphprune.canonical.refusals import REASONS
from graphprune.canonical.table import table, updated


def test_the_readme_is_up_to_date() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    assert updated(text) == text, "run: python -m graphprune.canonical.table README.md"


def test_every_rule_says_its_algebra_and_no_operator_is_both() -> None:
    rules.install()
    ours = {n: r for n, r in RULES.items() if r.__module__.startswith(rules.__name__)}
    assert all(rule.__doc__ for rule in ours.values())
    assert not set(ours) & set(REASONS)
    assert all(f"`{name}`" in table() for name in ours)
