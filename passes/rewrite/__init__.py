"""Rewrites: make a new network."""
