"""Pipelines of passes.

In come a text such as ``prune-constant{gamma=0.75}, fuse-affine``, a network and an anchor; out
come the rewritten network, a report per pass and the facts found on the way.

Read first: `pipeline.py` (passes one after the other), `text.py` (names and options),
`verify.py` (promises looked at on points).
"""

from graphprune.pipeline.pipeline import PassReport, Pipeline, PipelineResult
from graphprune.pipeline.verify import BrokenPromiseError

__all__ = ["BrokenPromiseError", "PassReport", "Pipeline", "PipelineResult"]
