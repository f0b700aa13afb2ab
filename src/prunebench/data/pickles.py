"""Batches of images in Python pickles, read as data: of what a pickle names nothing is imported, made or called."""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from prunebench.data.fetch import one_line
from prunebench.errors import InputError


def unpickle(content: bytes, name: str) -> dict[bytes, Any]:
    """The dictionary in a pickle: bytes -> bytes, int, str, None, list, or array of bytes, uint8.

    `pickletools` of the standard library lists the operations without running them; those that a dictionary of arrays
    needs are followed here, and any other ends in InputError, with `name`. Python's own reader with a list of allowed
    names would not do: a few bytes make it take all memory, or hash for ever.
    """
    try:
        batch = _Reader().read(content)
        if not isinstance(batch, dict):
            raise ValueError("it holds no dictionary")
        return {key: _array(value) if isinstance(value, _Made) else value for key, value in batch.items()}
    except Exception as error:  # a damaged pickle raises nearly anything
        raise InputError(f"{name} cannot be read as a batch of images: {one_line(error)}") from None


@dataclass(eq=False)
class _Made:
    """What a pickle says is made by calling `function`, "module.name", with `arguments`, and then given `state`."""

    function: Any
    arguments: Any
    state: Any = None


@dataclass(eq=False)
class _Named:
    """What a pickle would import."""

    name: str


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_MAKERS: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = ("PROTO", "FRAME", "READONLY_BUFFER")
_VALUES = ("BININT", "BININT1", "BININT2", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_OLD_BYTES = ("BINSTRING", "SHORT_BINSTRING")
"""Strings of Python 2, which pickletools decodes as Latin-1."""


class _Reader:
    """Follows the operations of a pickle; their meaning: the comments of CPython's Lib/pickletools.py."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def read(self, content: bytes) -> Any:
        """The one object of a pickle; nearly any error for a damaged one."""
        for operation, value, _ in pickletools.genops(content):
            if operation.name == "STOP":
                return self.stack.pop()
            self._follow(operation.name, value)
        raise ValueError("it has no end")

    def _follow(self, name: str, value: Any) -> None:
        stack = self.stack
        if name in _VALUES:
            stack.append(value)
        elif name in _BYTES:
            stack.append(bytes(value))
        elif name in _OLD_BYTES:
            stack.append(value.encode("latin-1"))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _MAKERS:
            stack.append(_MAKERS[name]())
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if value is None else value] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[value])
        elif name == "APPEND":
            self._append(self._pop(1))
        elif name == "APPENDS":
            self._append(self._since_mark())
        elif name == "SETITEM":
            self._set(self._pop(2))
        elif name == "SETITEMS":
            self._set(self._since_mark())
        elif name == "TUPLE":
            stack.append(tuple(self._since_mark()))
        elif name in _TUPLES:
            stack.append(tuple(self._pop(_TUPLES[name])))
        elif name == "GLOBAL":
            stack.append(_Named(value.replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            stack.append(_Named(".".join(self._pop(2))))
        elif name == "REDUCE":
            stack.append(_made(*self._pop(2)))
        elif name == "BUILD":
            (state,) = self._pop(1)
            if not isinstance(stack[-1], _Made):
                raise ValueError("it gives a state to what is no array")
            stack[-1].state = state
        elif name not in _IGNORED:
            raise ValueError(f"it holds the operation {name}, which no batch of images needs")

    def _pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("it takes more than it has given")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def _since_mark(self) -> list[Any]:
        mark = self.marks.pop()
        taken = self.stack[mark:]
        del self.stack[mark:]
        return taken

    def _append(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("it appends to what is no list")
        self.stack[-1].extend(values)

    def _set(self, items: list[Any]) -> None:
        keys = [key.encode() if isinstance(key, str) else key for key in items[::2]]
        if type(self.stack[-1]) is not dict or not all(isinstance(key, bytes) for key in keys):
            raise ValueError("it has keys that are no strings")
        self.stack[-1].update(zip(keys, items[1::2], strict=True))


_NUMPY = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_FUNCTIONS = {f"{module}.{name}" for module in _NUMPY for name in ("_reconstruct", "_frombuffer", "ndarray", "dtype")}


def _made(function: Any, arguments: Any) -> Any:
    """What a call stands for: an array or a type of NumPy's (see `_array`), or Python 3's bytes in protocol 2."""
    if not isinstance(function, _Named) or not isinstance(arguments, tuple):
        raise ValueError("it calls what is no function")
    if function.name == "_codecs.encode" and len(arguments) == 2 and isinstance(arguments[0], str):
        return arguments[0].encode("latin-1")
    if function.name not in _FUNCTIONS:
        raise ValueError(f"it names {function.name}, which no batch of images needs")
    return _Made(function.name.split(".")[-1], arguments)


def _array(made: _Made) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The array that NumPy would make; ValueError where it is not one of bytes in C order."""
    if made.function == "_frombuffer":  # how NumPy pickles an array from protocol 5 on
        content, dtype, shape, order = made.arguments[:4]
        in_order = order == "C"
    else:
        _, shape, dtype, fortran, content = made.state
        in_order = fortran is False
    code = dtype.arguments[0] if isinstance(dtype, _Made) and dtype.function == "dtype" else None
    if code not in ("u1", b"u1") or not in_order or not isinstance(content, bytes):
        raise ValueError("its array is not one of bytes in C order")
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError("its array has no shape")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)
