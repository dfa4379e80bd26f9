"""Attacks: minimum-norm descent, PGD, polish, and the confirmation of points."""
