"""Bound propagation on the CPU in float64: compiled kernels on compact weight blocks."""

from graphprune.bounds.compact.layout import Compact, compact, worthwhile

__all__ = ["Compact", "compact", "worthwhile"]
