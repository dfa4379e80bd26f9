"""Legalisation: any supported ONNX model to affine operators and activations."""

from graphprune.canonical.legalise import canonicalise, from_proto, load

__all__ = ["canonicalise", "from_proto", "load"]
