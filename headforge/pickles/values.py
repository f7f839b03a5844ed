"""Names allowed in every pickle, and the functions that build and check their values."""

from __future__ import annotations

import io
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
import scipy.sparse
import torch

from headforge.pickles.objects import as_dict
from headforge.pickles.records import Holder, Rebuild

PLAIN_KINDS = "biufcSU"
"""Kinds of array elements that are plain values."""
_MODULES = {
    "__builtin__": "builtins", "copy_reg": "copyreg", "numpy.core": "numpy._core",
    "scipy.sparse.csc": "scipy.sparse._csc", "scipy.sparse.csr": "scipy.sparse._csr",
    "scipy.sparse.coo": "scipy.sparse._coo",
}  # fmt: skip
"""Current names of modules by their old names."""


def current_module(module: str) -> str:
    """Return the current name of a module as written by Python 2, numpy 1 or an older scipy."""
    if module.startswith("numpy.core."):
        return "numpy._core." + module.removeprefix("numpy.core.")
    return _MODULES.get(module, module)


def _bytes(holder: Holder) -> bytes:
    """Return bytes as protocols up to 2 write them: text whose characters are the bytes."""
    text, encoding = holder.args
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes as {encoding!r:.20}")
    return text.encode("latin1")


def _empty_bytes(holder: Holder) -> bytes:
    if holder.args:
        raise ValueError("bytes with arguments")
    return b""


def _complex(holder: Holder) -> complex:
    real, imaginary = holder.args
    if not isinstance(real, float) or not isinstance(imaginary, float):
        raise ValueError("a complex number without two parts")
    return complex(real, imaginary)


def _set(holder: Holder) -> set[object]:
    (values,) = holder.args or ((),)
    if not isinstance(values, list | tuple | set):
        raise ValueError(f"a set of a {type(values).__name__}")
    return {*values, *holder.items}


def _frozenset(holder: Holder) -> frozenset[object]:
    return frozenset(_set(holder))


def _ordered_dict(holder: Holder) -> OrderedDict[object, object]:
    return OrderedDict(as_dict(holder))


def _dtype(holder: Holder) -> np.dtype:
    """Return a plain element type, or "object"; structures and times are refused."""
    spec = holder.args[0]
    if not isinstance(spec, str):
        raise ValueError(f"an element type of a {type(spec).__name__}")
    dtype = np.dtype(spec)
    if dtype.kind not in PLAIN_KINDS + "O" or dtype.hasobject != (dtype.kind == "O"):
        raise ValueError(f"elements of the type '{spec}'")
    if holder.state is None:
        return dtype
    if not isinstance(holder.state, tuple) or len(holder.state) < 5 or any(s is not None for s in holder.state[2:5]):
        raise ValueError(f"elements of the type '{spec}' with parts")
    order = holder.state[1]
    return dtype.newbyteorder(order) if order in ("<", ">") else dtype


def _array(holder: Holder) -> np.ndarray:
    """Return a `numpy.ndarray` from its state; the number of bytes must match shape and type."""
    if holder.args[:1] != ("numpy.ndarray",) or not isinstance(holder.state, tuple) or len(holder.state) != 5:
        raise ValueError("an array of another class than numpy.ndarray")
    _, shape, dtype, is_fortran, data = holder.state
    if not isinstance(dtype, np.dtype):
        raise ValueError("an array without element type")
    order = "F" if is_fortran else "C"
    if dtype.kind == "O":
        if not isinstance(data, list):
            raise ValueError("an array of objects without a list of them")
        objects = np.empty(len(data), dtype=object)
        for index, value in enumerate(data):  # numpy would turn lists of equal length into further axes
            objects[index] = value
        return objects.reshape(_shape(shape), order=order)
    return _from_bytes(data, dtype, _shape(shape), order)


def _array_of_buffer(holder: Holder) -> np.ndarray:
    """Return an array as protocol 5 writes it (`numpy._core.numeric._frombuffer`)."""
    data, dtype, shape, order, *axes = holder.args
    if not isinstance(dtype, np.dtype) or dtype.kind == "O" or order not in ("C", "F", "K"):
        raise ValueError("an array of an unknown layout")
    if order == "K" and axes and axes[0] is not None:
        return _from_bytes(data, dtype, _shape(shape), "C").transpose(_shape(axes[0]))
    return _from_bytes(data, dtype, _shape(shape), "F" if order == "F" else "C")


def _from_bytes(data: object, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    """Return a writable copy as an array; Python 2 wrote bytes as text. A wrong byte count doesn't fit the shape."""
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(raw, bytes | bytearray):
        raise ValueError(f"an array of a {type(raw).__name__}")
    if not raw:
        return np.zeros(0, dtype).reshape(shape)
    flat = np.frombuffer(raw, dtype).astype(dtype.newbyteorder("="))
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _shape(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple) or not all(isinstance(n, int) and n >= 0 for n in value):
        raise ValueError(f"the shape {value!r:.40}")
    return value


def _scalar(holder: Holder) -> object:
    dtype, data = holder.args
    if not isinstance(dtype, np.dtype) or dtype.kind == "O":
        raise ValueError("a number without a type")
    return _from_bytes(data, dtype, (), "C")[()]


def _sparse(holder: Holder) -> scipy.sparse.spmatrix:
    """Return a compressed sparse matrix with checked indices."""
    state = holder.state
    if not isinstance(state, dict):
        raise ValueError("a sparse matrix without parts")
    parts = (state["data"], state["indices"], state["indptr"])
    if not all(isinstance(part, np.ndarray) for part in parts):
        raise ValueError("a sparse matrix of something else than arrays")
    make = scipy.sparse.csc_matrix if holder.class_name.endswith("csc_matrix") else scipy.sparse.csr_matrix
    matrix = make(parts, shape=_shape(state.get("_shape", state.get("shape"))))
    matrix.check_format(full_check=True)
    return matrix


def _chumpy(holder: Holder) -> np.ndarray:
    """Return the value of a leaf `chumpy.ch.Ch`; released files have no computed ones."""
    state = holder.state
    if not isinstance(state, dict) or "x" not in state:
        raise ValueError("a chumpy object that is computed from others")
    return np.array(state["x"])


def _storage(holder: Holder) -> torch.TypedStorage:
    """Return a storage that torch.save wrote into the pickle; torch reads it with `weights_only`, running nothing."""
    (data,) = holder.args
    if not isinstance(data, bytes):
        raise ValueError("a tensor's storage without bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about the protocol of damaged bytes
            storage = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"an invalid tensor storage: {str(error).splitlines()[0]}") from error
    if not isinstance(storage, torch.TypedStorage):
        raise ValueError(f"a tensor's storage that is a {type(storage).__name__}")
    return storage


def _tensor(holder: Holder) -> torch.Tensor:
    """Return a tensor of `torch._utils._rebuild_tensor_v2`; as_strided checks its bounds; no hooks, no gradients."""
    storage, offset, size, stride = holder.args[:4]
    if not isinstance(storage, torch.TypedStorage) or not isinstance(offset, int) or offset < 0:
        raise ValueError("a tensor without storage")
    size, stride = _shape(tuple(size)), _shape(tuple(stride))  # pyright: ignore[reportArgumentType]
    if len(size) != len(stride):
        raise ValueError(f"a tensor {size} with the strides {stride}")
    flat = torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)  # storage.untyped() warns
    return torch.as_strided(flat, size, stride, offset)


def _parameter(holder: Holder) -> torch.Tensor:
    """Return only the tensor of a `torch._utils._rebuild_parameter`."""
    tensor = holder.args[0]
    if not isinstance(tensor, torch.Tensor):
        raise ValueError("a parameter without a tensor")
    return tensor


def _torch_size(holder: Holder) -> tuple[int, ...]:
    (sizes,) = holder.args or ((),)
    return _shape(tuple(sizes))  # pyright: ignore[reportArgumentType]


def _device(holder: Holder) -> str:
    return ":".join(str(arg) for arg in holder.args)


REBUILDS: Mapping[tuple[str, str], Rebuild] = {
    ("_codecs", "encode"): _bytes,
    ("builtins", "bytes"): _empty_bytes,
    ("builtins", "complex"): _complex,
    ("builtins", "set"): _set,
    ("builtins", "frozenset"): _frozenset,
    ("collections", "OrderedDict"): _ordered_dict,
    ("numpy", "dtype"): _dtype,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _array_of_buffer,
    ("scipy.sparse._csc", "csc_matrix"): _sparse,
    ("scipy.sparse._csr", "csr_matrix"): _sparse,
    ("chumpy.ch", "Ch"): _chumpy,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): _torch_size,
    ("torch", "device"): _device,
}
"""Rebuild functions by name."""

_DTYPES = (
    "float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool", "complex64",
)  # fmt: skip
CONSTANTS: Mapping[tuple[str, str], object] = {
    ("numpy", "ndarray"): "numpy.ndarray",
    ("builtins", "object"): "builtins.object",
    ("builtins", "dict"): "builtins.dict",
    **{("torch", name): getattr(torch, name) for name in _DTYPES},
}
"""Values of names that are never called."""
