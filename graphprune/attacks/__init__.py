"""Attacks: the closest adversarial point that is found in the time an effort allows.

In comes a :class:`~graphprune.ir.query.Query`; out comes an adversarial point that the file's own
model confirms in ONNX Runtime and in float64.

Read first: `attack.py` (what is tried, in which order), `descent.py` (minimum-norm descent),
`confirm.py` (which points count).
"""
