"""Gelu, written as p x (q + q erf(k x)) or p x (q + q tanh(a x + b x^3)).

With y = sqrt(2) k x the first is (2 p q / (sqrt(2) k)) gelu(y). The second is the tanh form with
y = (a / r) x, r = sqrt(2/pi), and the cube's factor b r^2 / a^3 in place of 0.044715. Both hold
exactly for the constants of the file.
"""

from math import sqrt

import onnx_ir as ir

from graphprune.canonical.patterns.algebra import (
    above,
    line,
    multiple,
    polynomial,
    roots,
    substitute,
)
from graphprune.functions.gelu import CUBES, ROOT

# outer * gelu(inner * x), with the factor of the cube in the tanh form.
INNER, OUTER, CUBE = "graphprune.inner", "graphprune.outer", "graphprune.cube"


def recognise(graph: ir.Graph, node: ir.Node) -> None:
    """Replace the product of an Erf or Tanh that is a Gelu."""
    if node.op_type not in ("Erf", "Tanh"):
        return
    curve = node.outputs[0]
    top = above(curve)
    product = next((usage.node for usage in top.uses()), None)
    shifted = line(top, curve)
    if product is None or product.op_type != "Mul" or len(top.uses()) != 1:
        return
    if shifted is None or shifted[0] != shifted[1] or shifted[0] == 0:
        return
    other = next((v for v in product.inputs if v is not top), None)
    for root in roots(other):
        side = multiple(other, root)
        found = None if side is None else _argument(node, root)
        if side is not None and found is not None:
            found[OUTER] = 2.0 * side * shifted[0] / float(found[INNER])
            substitute(graph, product, ir.node("Gelu", [root], found, name=product.name))
            return


def _argument(curve: ir.Node, root: ir.Value) -> dict[str, float | str] | None:
    """Attributes of the Gelu whose curve is this one of `root`."""
    if curve.op_type == "Erf":
        factor = multiple(curve.inputs[0], root)
        return None if factor is None else {INNER: sqrt(2.0) * factor}
    found = polynomial(curve.inputs[0], root)
    if found is None or len(found) != 4 or found[0] != 0 or found[1] == 0 or found[2] != 0:
        return None
    cube = float(found[3] * ROOT**2 / found[1] ** 3)
    if not CUBES[0] <= cube <= CUBES[1]:
        return None
    return {INNER: float(found[1] / ROOT), CUBE: cube, "approximate": "tanh"}
