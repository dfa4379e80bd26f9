"""Variables of a property: one by one in VNN-LIB 1.0, tensors of a network in 2.0."""

import re
from dataclasses import dataclass, replace
from math import prod

from graphprune.vnnlib.formulas import Variable

# Elements of a property's tensors together.
MOST_ELEMENTS = 1 << 26
_INDICES = r"\s*(\d{1,9}(?:\s*,\s*\d{1,9})*)?\s*"
_SCALAR = re.compile(r"([XY])_(\d{1,9})")
_ELEMENT = re.compile(rf"([A-Za-z]\w*)(\s*\[{_INDICES}\])?")
_SHAPED = re.compile(rf"([A-Za-z]\w*)\s*\[{_INDICES}\]")
# Element types whose values are real numbers, as the network's are.
_REALS = ("Real", "float16", "float32", "float64", "bfloat16")


class DeclarationError(ValueError):
    """A declaration or an element that cannot be."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a network declared in VNN-LIB 2.0.

    Attributes
    ----------
    offset
        Number of elements of the tensors of its kind before it.
    onnx_name
        The tensor in the ONNX file, where the property names it.
    """

    name: str
    is_input: bool
    shape: tuple[int, ...]
    offset: int = 0
    onnx_name: str | None = None

    @property
    def size(self) -> int:
        return prod(self.shape)

    def element(self, indices: tuple[int, ...] | None) -> int:
        """The number of an element among all of its kind; None: a scalar without indices."""
        given = indices or ()
        if len(given) != len(self.shape) or (indices is None and self.shape):
            raise DeclarationError(
                f"{self.name} has shape {list(self.shape)}: its elements have {len(self.shape)}"
                f" indices, not {len(given)}"
            )
        place = 0
        for index, length in zip(given, self.shape, strict=True):
            if index >= length:
                raise DeclarationError(
                    f"{self.name}{list(given)} is outside of the shape {list(self.shape)}"
                )
            place = place * length + index
        return self.offset + place


class Declarations:
    """Names and their meaning; `known` has those that were looked up."""

    def __init__(self) -> None:
        self.network: str | None = None
        self.tensors: dict[str, Tensor] = {}
        self._scalars: tuple[set[int], set[int]] = (set(), set())
        self.known: dict[str, Variable] = {}

    def scalar(self, name: str) -> None:
        """Declare ``X_i`` or ``Y_j`` of VNN-LIB 1.0, or again an element of a tensor."""
        if self.network is not None:
            self._again(name)
            return
        match = _SCALAR.fullmatch(name)
        if match is None:
            raise DeclarationError(f"expected X_i or Y_i of type Real, found '{name[:40]}'")
        is_input, index = match[1] == "X", int(match[2])
        if index in self._scalars[is_input]:
            raise DeclarationError(f"{name} is declared twice")
        self._scalars[is_input].add(index)
        self.known[f"{match[1]}_{index}"] = (is_input, index)

    def begin(self, network: str) -> None:
        """Begin the declaration of a network of VNN-LIB 2.0."""
        if self.network is not None:
            raise DeclarationError(
                f"the property speaks of several networks ('{self.network}' and '{network}'):"
                " properties of one network are decided"
            )
        if any(self._scalars):
            raise DeclarationError("a file declares a network or single variables, not both")
        self.network = network

    def tensor(self, name: str, typed: str, onnx_name: str | None, *, is_input: bool) -> None:
        """Declare a tensor of the network; `typed` is its element type and its shape."""
        match = _SHAPED.fullmatch(typed)
        if match is None:
            raise DeclarationError(f"expected an element type and a shape, found '{typed[:40]}'")
        if match[1].lower() not in map(str.lower, _REALS):
            raise DeclarationError(
                f"{name} has elements of type {match[1]}; supported: {', '.join(_REALS)}"
            )
        if name in self.tensors:
            raise DeclarationError(f"{name} is declared twice")
        shape = tuple(int(n) for n in match[2].split(",")) if match[2] else ()
        tensor = Tensor(name, is_input, shape, self.count(is_input=is_input), onnx_name)
        if tensor.offset + tensor.size > MOST_ELEMENTS:
            raise DeclarationError(f"{name} has more than {MOST_ELEMENTS} elements")
        self.tensors[name] = tensor

    def _again(self, name: str) -> None:
        """Declare an element of a tensor: converted files do, and give its vector no length."""
        match = _ELEMENT.fullmatch(name)
        tensor = None if match is None else self.tensors.get(match[1])
        if match is None or tensor is None:
            raise DeclarationError(f"'{name[:40]}' is no element of a declared tensor")
        indices = _indices(match)
        alone = sum(t.is_input == tensor.is_input for t in self.tensors.values()) == 1
        if alone and len(tensor.shape) == 1 and indices == tensor.shape and name not in self.known:
            self.tensors[tensor.name] = replace(tensor, shape=(tensor.size + 1,))
        self.resolve(name)

    def resolve(self, name: str) -> Variable:
        """The variable of a name.

        Raises
        ------
        DeclarationError
            It is not declared, or outside of its tensor.
        """
        known = self.known.get(name)
        if known is not None:
            return known
        match = _ELEMENT.fullmatch(name) if self.network is not None else _SCALAR.fullmatch(name)
        if match is None:
            raise DeclarationError(f"expected a number or a variable, found '{name[:40]}'")
        tensor = self.tensors.get(match[1])
        if tensor is None:
            raise DeclarationError(f"{name} is not declared")
        variable = tensor.is_input, tensor.element(_indices(match))
        self.known[name] = variable
        return variable

    def count(self, *, is_input: bool) -> int:
        """The number of elements of the inputs, or of the outputs.

        Raises
        ------
        DeclarationError
            A number of VNN-LIB 1.0 is left out.
        """
        if self.network is not None:
            return sum(t.size for t in self.tensors.values() if t.is_input == is_input)
        declared, kind = self._scalars[is_input], "X" if is_input else "Y"
        missing = set(range(len(declared))) - declared
        if missing:
            raise DeclarationError(
                f"{kind} variables must be numbered from 0 without gaps;"
                f" {kind}_{min(missing)} is missing"
            )
        return len(declared)

    def input_name(self, index: int) -> str:
        """The name of an input's element, for messages."""
        for tensor in self.tensors.values():
            place = index - tensor.offset
            if tensor.is_input and 0 <= place < tensor.size:
                indices = []
                for length in reversed(tensor.shape):
                    place, last = divmod(place, length)
                    indices.append(str(last))
                return f"{tensor.name}[{','.join(reversed(indices))}]"
        return f"X_{index}"

    def onnx_names(self, *, is_input: bool) -> tuple[str | None, ...]:
        """Per tensor in their order its name in the ONNX file, where it is given."""
        return tuple(t.onnx_name for t in self.tensors.values() if t.is_input == is_input)


def _indices(match: re.Match[str]) -> tuple[int, ...] | None:
    """The indices of an element's name; None without brackets."""
    if match[2] is None:
        return None
    return tuple(int(n) for n in match[3].split(",")) if match[3] else ()
