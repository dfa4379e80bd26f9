"""Metrics, estimates and runs over anchors."""
