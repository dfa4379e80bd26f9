"""The file as it was, in the place of a rewritten one that would be slower."""

import onnx

from graphprune.ir import Network
from graphprune.ir.export import written
from graphprune.ir.origin import untouched
from graphprune.runtime.timing import Times, race

# A rewritten file takes no longer than its input by more than this factor.
SLOWER = 1.0 / 0.98


def no_slower(
    before: Network, after: Network, *, keep_outputs: bool = False
) -> tuple[onnx.ModelProto, str, Times | None]:
    """The model to write of a network that computes what another one computes where it has to.

    Both are right: so the file's own graph is written instead of one that saves nothing, or takes
    longer. Time is measured only where the numbers do not tell: more nodes, but less to compute.

    Returns
    -------
    The model; why it is the one before, or an empty text; milliseconds of both where they were
    measured.
    """
    proto = written(after, keep_outputs=keep_outputs)
    if untouched(after):
        return proto, "", None
    own = written(before, keep_outputs=keep_outputs)
    old = len(own.graph.node), before.multiply_adds, own.ByteSize()
    new = len(proto.graph.node), after.multiply_adds, proto.ByteSize()
    if not new[1] < old[1] and not new[2] < old[2]:
        return own, "saves nothing", None
    if all(a <= b for a, b in zip(new, old, strict=True)):
        return proto, "", None
    times = race(before, own, proto)
    if times[1] > SLOWER * times[0]:
        return own, f"takes {times[1] / times[0]:.2f} times as long", times
    return proto, "", times
