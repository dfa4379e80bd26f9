"""Rules: steps of the model for each ONNX operator that the checker reads.

In: a node, with the shapes and constants known so far. Out: steps of the model. A rule takes the
attributes that it understands out of the node's; what is left is refused.

Read first: ``linear.py`` (products and sums), ``activations.py`` (what ReLUs express),
``maximum.py`` (trees of maxima).
"""

from graphprune.check.rules import activations, convolution, linear, maximum, movement

__all__ = ["activations", "convolution", "linear", "maximum", "movement"]
