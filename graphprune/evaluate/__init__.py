"""Metrics, estimates and runs over anchors.

In come networks, anchors and `Settings`; out comes an `Outcome` with one JSON document per network
and the adversarial points behind its upper bounds. A `Job` is cut into `Task`s (a metric of an
anchor, or an estimate of it), an executor does them here, in processes or on a cluster, a `Store`
keeps every `Result`, and `serialise.py` alone knows their JSON. Read `results.py`, `tasks.py` and
`run.py` first; `distance.py` is the exact distance, `estimates/` has one file per estimator.
"""
