"""Read a pickle that holds data only: plain containers, text, numbers and numpy arrays.

A pickle is a program for a small machine, and the machine can call anything Python can import. Here it can
reach nothing of Python or numpy: the few names that stored arrays need are answered by the stand-ins below,
which only copy bytes into an array of numbers. Any other name stops the reading before anything is called.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any, ClassVar

import numpy as np


class RefusedError(Exception):
    """The pickle asks for something other than data; the message names it."""


def loads(content: bytes) -> Any:
    """The dict, list, tuple, str, bytes, number, None or array in a pickle. RefusedError for anything else.

    Protocols 0 to 5, from Python 2 as well: its byte strings become surrogate-escaped text, as ids are.
    Arrays of booleans, integers, floats and text are admitted, object and record arrays are not.
    """
    try:
        return _finished(_DataUnpickler(content).load())
    except RefusedError:
        raise
    except Exception as error:  # a damaged pickle can fail in any opcode, with any exception
        raise RefusedError(f"a damaged pickle ({type(error).__name__}: {error})") from error


class _Dtype:
    """Stands in for numpy.dtype: the kind, the size and the byte order, of numbers and text only."""

    def __init__(self, code: Any, *_flags: Any) -> None:
        kind = str(_bytes(code), "ascii") if isinstance(code, (str, bytes)) else repr(code)
        if kind[:1] not in tuple("biufSU") or not kind[1:].isdigit() or int(kind[1:]) > 1 << 16:
            what = "an array of Python objects" if kind[:1] == "O" else f"an array of {kind!r}"
            raise RefusedError(f"{what}, where only numbers and text are admitted")
        self.dtype = np.dtype(kind)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = str(_bytes(state[1]), "ascii")
        if order not in ("<", ">", "|", "="):
            raise RefusedError(f"byte order {order!r}")
        self.dtype = self.dtype.newbyteorder(order)  # type: ignore[arg-type]


class _Array:
    """Stands in for numpy.ndarray while it is built; holds an array once its state has arrived."""

    value: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, is_fortran, raw = state
        self.value = _from_bytes(raw, dtype, shape, "F" if is_fortran else "C")


def _from_bytes(raw: Any, dtype: _Dtype, shape: Any, order: str = "C") -> np.ndarray:
    """Exactly the bytes in the file, seen as an array: nothing larger than the file can be allocated."""
    data = _bytes(raw)
    sizes = [shape] if isinstance(shape, int) else list(shape)
    if any(type(size) is not int or size < 0 for size in sizes) or len(sizes) > 8:
        raise RefusedError(f"an array of shape {str(shape)[:80]}")
    if math.prod(sizes) * dtype.dtype.itemsize != len(data):
        raise RefusedError(f"an array of shape {str(shape)[:80]} with {len(data)} bytes of data")
    return np.frombuffer(data, dtype.dtype).reshape(sizes, order=order)  # type: ignore[call-overload]


def _reconstruct(subtype: Any, *_shape_and_kind: Any) -> _Array:
    if subtype is not _Array:
        raise RefusedError("an array of another class than numpy.ndarray")
    return _Array()


def _scalar(dtype: _Dtype, raw: Any) -> Any:
    return _from_bytes(raw, dtype, ()).item()


def _from_buffer(raw: Any, dtype: _Dtype, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.value = _from_bytes(raw, dtype, shape, "F" if order == "F" else "C")
    return array


def _encode(text: str, encoding: str = "") -> bytes:
    # Python 3 writes bytes this way into protocols 0 to 2; no other encoding is ever used for it.
    if encoding != "latin1":
        raise RefusedError(f"text encoded as {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""  # Python 3 writes b"" into protocols 0 to 2 as a call of bytes()


def _bytes(raw: Any) -> bytes:
    """The bytes of a string from any Python; Python 2's arrive as surrogate-escaped text."""
    if isinstance(raw, str):
        return raw.encode("utf-8", "surrogateescape")
    if not isinstance(raw, bytes):
        raise RefusedError(f"a {type(raw).__name__} where an array's bytes belong")
    return raw


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "bytes"): _no_bytes,
}
for _core in ("numpy.core", "numpy._core"):  # before and since numpy 2
    _STAND_INS[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _STAND_INS[f"{_core}.multiarray", "scalar"] = _scalar
    _STAND_INS[f"{_core}.numeric", "_frombuffer"] = _from_buffer

_NOT_DATA = (
    *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX),  # instances of classes
    *(pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID, pickle.BINPERSID),  # things kept elsewhere
    *(pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
)


# The interpreter in Python, not the one in C: that one sizes its memo by a number in the file, and so
# can be made to fill the memory by ten bytes.
class _DataUnpickler(pickle._Unpickler):
    dispatch: ClassVar[dict[int, Any]] = {
        code: step for code, step in pickle._Unpickler.dispatch.items() if bytes([code]) not in _NOT_DATA
    }

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8", errors="surrogateescape")
        self._size = len(content)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise RefusedError(f"{module}.{name}")
        return _STAND_INS[module, name]

    def _build(self) -> None:
        state = self.stack.pop()  # type: ignore[attr-defined]
        target = self.stack[-1]  # type: ignore[attr-defined]
        if type(target) not in (_Array, _Dtype):
            raise RefusedError(f"a state for a {type(target).__name__}")
        target.__setstate__(state)

    def _bytearray(self) -> None:
        size = int.from_bytes(self.read(8), "little")  # type: ignore[attr-defined]
        if size > self._size:
            raise RefusedError(f"{size} bytes in a file of {self._size}")
        self.append(self.read(size))  # type: ignore[attr-defined]

    dispatch[pickle.BUILD[0]] = _build
    dispatch[pickle.BYTEARRAY8[0]] = _bytearray


def _finished(value: Any, depth: int = 8, done: dict[int, Any] | None = None) -> Any:
    """The value with every stand-in replaced by its array, in a structure no deeper than ground truths are.

    `done` maps id -> result: a small pickle may hold one list a thousand times in each of a thousand others.
    """
    done = {} if done is None else done
    if isinstance(value, _Array):
        if value.value is None:
            raise RefusedError("an array without data")
        return value.value
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if depth == 0:
        raise RefusedError("containers nested deeper than a ground truth is")
    if id(value) not in done:
        if isinstance(value, dict):
            result: Any = {_finished(key, 0): _finished(item, depth - 1, done) for key, item in value.items()}
        elif isinstance(value, (list, tuple)):
            result = [_finished(item, depth - 1, done) for item in value]
        else:
            raise RefusedError(f"a {getattr(value, '__name__', type(value).__name__)}")
        done[id(value)] = result
    return done[id(value)]
