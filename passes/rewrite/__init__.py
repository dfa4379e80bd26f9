"""Rewrites: passes that make a new network, each with a promise where it computes the same.

In comes a state; out comes one with a new network, its report and the facts that stay true.

Read `prune_stable.py` first, then `substitute.py` and `fuse_affine.py`.
"""
