"""Write the skip-free form: a chain of affine layers and ReLUs, which every verifier reads."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.bounds import Method
from graphprune.errors import PipelineError
from graphprune.ir.network import operator
from graphprune.operators import Relu
from graphprune.operators.clip import without_ends
from graphprune.passes.analysis.bounds import BallBounds
from graphprune.passes.base import Facts, Promise, State, record, register_pass
from graphprune.substitutes.chain import sequential


@register_pass
@dataclass(frozen=True)
class Sequential:
    """Write skips as neurons: only Conv, Gemm, Flatten and ReLU remain, one after the other.

    A value z that has to pass a ReLU layer unchanged, with a certified bound z >= l on the ball,
    becomes relu(z - l) + l, l rounded down past the float32 error of computing z; outputs of
    ReLUs pass as they are. What passes is the smaller of the values that later layers read and
    of the parts of their sums that are known so far. A network that is a chain already stays as
    it is; otherwise its layers become matrices over the living neurons. Valid where the rewrites
    before it are (or on the ball of the bounds): an export form.
    """

    name: ClassVar[str] = "sequential"
    promise: ClassVar[Promise] = "ball"
    needs: ClassVar[Facts] = frozenset({BallBounds})
    keeps: ClassVar[Facts] = frozenset()

    method: Method = "crown"

    def run(self, state: State) -> State:
        network = state.network
        for i, activation in enumerate(network.activations):
            if not isinstance(operator(activation), Relu):
                kind = type(operator(activation)).__name__
                raise PipelineError(
                    f"pass '{self.name}': activation layer {i + 1} is {kind}; only ReLU layers"
                    " can carry other values"
                )
        region = state.region
        if region is None:
            bounds, state = state.need(BallBounds)
            region = bounds.region
        result, shifted = sequential(network, region, self.method)
        result = without_ends(result)
        record(result, state, self.name, {"shifted": shifted}, region)
        return state.rewritten(result, region=region)
