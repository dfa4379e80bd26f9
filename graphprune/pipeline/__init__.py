"""Pipelines of passes: text form, options, running."""

from graphprune.pipeline.pipeline import PassReport, Pipeline, PipelineResult
from graphprune.pipeline.verify import BrokenPromiseError

__all__ = ["BrokenPromiseError", "PassReport", "Pipeline", "PipelineResult"]
