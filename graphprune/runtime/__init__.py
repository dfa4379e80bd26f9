"""Execution: graphs in ONNX Runtime or its reference, compiled kernels, HiGHS, worker processes.

In come graphs, kernels or messages, and the :class:`~graphprune.runtime.resources.Resources` that
may be used; out come numbers.

Read first: `resources.py` (time, memory, device), `session.py` (graphs in ONNX Runtime),
`original.py` (the file's own model, which has the last word on every point).
"""
