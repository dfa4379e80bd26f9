"""Property-based testing of networks: random models with Hypothesis (extra ``testing``)."""

from graphprune.testing.strategies import anchors, models, networks

__all__ = ["anchors", "models", "networks"]
