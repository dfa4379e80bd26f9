"""Analyses: find facts and annotate values."""
