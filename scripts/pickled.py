"""Read arrays out of a pickle without running it.

A pickle is a program for a small stack machine, and Python's own reader calls whatever the program names.
Here the instructions are only looked at: nothing is imported and nothing is called. What is accepted is
nested dictionaries of NumPy arrays of little-endian float32, as checkpoints of JAX are; all else is refused.
"""

import pickletools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from unstatic.core.errors import InputError

# NumPy 2 calls its inner module by another name.
ARRAYS = (("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"))
DTYPE = ("numpy", "dtype")
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
KNOWN = (*ARRAYS, DTYPE, ("numpy", "ndarray"))

Arrays = dict[str, Float[np.ndarray, "..."]]


@dataclass(eq=False, slots=True)
class _Made:
    """What a pickle would make by calling something known: kept as it is described, not called."""

    name: tuple[str, str]
    arguments: tuple[Any, ...]
    state: Any = None


def read_arrays(data: bytes) -> Arrays:
    """Return the arrays of a pickled tree of dictionaries, by their keys joined with "/".

    Raises InputError for a damaged pickle and for one that holds anything but dictionaries and arrays.
    """
    machine = _Machine()
    try:
        for instruction, value, _ in pickletools.genops(data):
            machine.step(instruction.name, value)
        return _flat(machine.stack.pop())
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"this pickle is damaged ({error}), fetch it again") from error


class _Machine:
    """The part of the pickle machine that describes data."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, instruction: str, value: Any) -> None:
        """Follow one instruction, or raise InputError if it is not about plain data."""
        stack = self.stack
        match instruction:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE" | "EMPTY_TUPLE":
                stack.append(CONSTANTS[instruction])
            case "BININT" | "BININT1" | "BININT2" | "SHORT_BINUNICODE" | "BINUNICODE":
                stack.append(value)
            case "SHORT_BINBYTES" | "BINBYTES" | "BINBYTES8":
                stack.append(value)
            case "MARK":
                self.marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._last(int(instruction[-1]))))
            case "EMPTY_DICT":
                stack.append({})
            case "SETITEM":
                self._set(self._last(2))
            case "SETITEMS":
                self._set(self._since_mark())
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINPUT" | "LONG_BINPUT":
                self.memo[value] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[value])
            case "GLOBAL":
                stack.append(_known(*value.split(" ")))
            case "STACK_GLOBAL":
                stack.append(_known(*self._last(2)))
            case "REDUCE":
                stack.append(_Made(*self._last(2)))
            case "BUILD":
                state = stack.pop()
                stack[-1].state = state
            case _:
                raise InputError(f"this pickle has the instruction {instruction}: only arrays are read")

    def _last(self, count: int) -> list[Any]:
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def _since_mark(self) -> list[Any]:
        mark = self.marks.pop()
        taken = self.stack[mark:]
        del self.stack[mark:]
        return taken

    def _set(self, items: list[Any]) -> None:
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))


def _known(module: str, name: str) -> tuple[str, str]:
    if (module, name) not in KNOWN:
        raise InputError(f"this pickle names {module}.{name}: only arrays are read")
    return module, name


def _flat(tree: Any, name: str = "") -> Arrays:
    if isinstance(tree, dict):
        parts = [_flat(part, f"{name}/{key}" if name else key) for key, part in tree.items()]
        return {key: array for part in parts for key, array in part.items()}
    return {name: _array(tree)}


def _array(made: Any) -> Float[np.ndarray, "..."]:
    """Build what `ndarray.__setstate__` would from (version, shape, dtype, in Fortran's order, bytes)."""
    if not isinstance(made, _Made) or made.name not in ARRAYS:
        raise InputError(f"this pickle holds {type(made).__name__}: only arrays are read")
    _, shape, dtype, is_fortran, data = made.state
    if dtype.name != DTYPE or dtype.arguments[0] != "f4" or dtype.state[1] != "<" or is_fortran:
        raise InputError("this pickle holds an array that is not little-endian float32 in C order")
    return np.frombuffer(data, "<f4").reshape(shape)
