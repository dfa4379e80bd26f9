"""Legalisation: any supported ONNX model as a canonical network.

A checked model file comes in; a network of affine operators and activations that equals it goes
out, or an error that names the node, the reason and the remedy.

Read first: ``legalise.py`` (the driver), ``context.py`` (the view of a rule), ``rules/linear.py``
(rules of one operator family; each docstring is the rule's algebra).
"""

from graphprune.canonical.legalise import canonicalise, from_proto, load

__all__ = ["canonicalise", "from_proto", "load"]
