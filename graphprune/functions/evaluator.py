"""Runs of ``onnx.reference`` that keep no value longer than it is read."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from graphprune.functions.reference import NEW_OPS


class Evaluator:
    """A graph run by ``onnx.reference``, which gives values up after their last use.

    Networks of attention have layers of hundreds of megabytes each; all of them at once do not fit.
    """

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._reference = ReferenceEvaluator(proto, new_ops=NEW_OPS)
        nodes = self._reference.rt_nodes_
        # Control flow reads values of the graph around it by name.
        self._whole = any(node.need_context() or node.has_linked_attribute for node in nodes)
        self._calls = [] if self._whole else [_call(node) for node in nodes]
        self._uses = Counter(name for node in nodes for name in node.input)
        self._uses.update(self._reference.output_names)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Values of the outputs."""
        reference = self._reference
        if self._whole:
            return list(reference.run(None, dict(feeds)))
        known: dict[str, Any] = {"": None, **reference.rt_inits_, **feeds}
        left = self._uses.copy()
        for node, call in zip(reference.rt_nodes_, self._calls, strict=True):
            made = call(*(known[name] for name in node.input))
            known.update(zip(node.output, made, strict=False))
            for name in node.input:
                left[name] -= 1
                if name and not left[name]:
                    known.pop(name, None)
        return [known[name] for name in reference.output_names]


def _call(node: OpRun) -> Callable[..., tuple[Any, ...]]:
    """An operator as a call; its attributes are read once, and nothing is written to a log."""
    if type(node).run is not OpRun.run:
        return node.run  # with checks or casts of its own
    attributes = {name: getattr(node, name) for name in node.attributes_names_}
    return partial(_arrays, partial(node._run, **attributes))


def _arrays(call: Callable[..., tuple[Any, ...]], *given: Any) -> tuple[Any, ...]:
    """Values of an operator; NumPy's own numbers become arrays."""
    return tuple(np.array(v) if isinstance(v, np.generic) else v for v in call(*given))
