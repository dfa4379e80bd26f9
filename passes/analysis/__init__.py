"""Analyses: passes that find facts and annotate a network's values.

In comes a state; out comes the same network with more facts. Each calls one algorithm of
`graphprune/attacks`, `bounds` or `runtime`. Read `bounds.py` first, then `attack.py` and
`activations.py`.
"""
