"""Pipelines of passes: text form, options, running."""

from graphprune.pipeline.pipeline import PassReport, Pipeline, PipelineResult

__all__ = ["PassReport", "Pipeline", "PipelineResult"]
