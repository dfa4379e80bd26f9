"""Points that may be perturbed, and how far: anchors, domains, balls and boxes."""

from graphprune.region.points import NORMS, Anchor, Ball, Box, Domain, Norm, Region

__all__ = ["NORMS", "Anchor", "Ball", "Box", "Domain", "Norm", "Region"]
