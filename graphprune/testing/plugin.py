"""The pytest plugin: ``--graphprune-examples N`` sets how many examples every property tries."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    group = parser.getgroup("graphprune")
    group.addoption(
        "--graphprune-examples",
        type=int,
        metavar="N",
        help="Hypothesis examples per property, where a test does not set its own number.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Load a Hypothesis profile with that many examples and no deadline, over the current one."""
    count = config.getoption("--graphprune-examples")
    if count is None:
        return
    if count < 1:
        raise pytest.UsageError("--graphprune-examples must be at least 1")
    from hypothesis import settings

    # The first run of a graph compiles it: a deadline per example would only make tests flaky.
    settings.register_profile("graphprune-examples", settings(), max_examples=count, deadline=None)
    settings.load_profile("graphprune-examples")
