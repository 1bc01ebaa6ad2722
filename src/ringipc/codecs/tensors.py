"""Tensors of torch as arrays, and back.

Nothing here imports torch: users do, and consumers with arrays="torch".
"""

import sys
from typing import Any

import numpy as np

from .dtypes import STANDS_FOR, stand_in

_Array = np.ndarray[Any, np.dtype[Any]]


class _Writable:
    """The memory of a read-only array, as NumPy's array interface with the writable flag.

    Torch has no read-only tensors: it warns if it gets a read-only array.
    """

    def __init__(self, array: _Array) -> None:
        self.array = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def is_tensor(value: object) -> bool:
    """Return whether a value is a tensor of torch."""
    return isinstance(value, getattr(sys.modules.get("torch"), "Tensor", ()))


def to_array(tensor: Any) -> _Array:
    """Return an array with the memory of a tensor. Its dtype is a stand-in if NumPy lacks that of the tensor.

    Raises what torch raises if that is not possible: the tensor is not in CPU memory, requires a gradient, is sparse.
    """
    dtype = stand_in(str(tensor.dtype).removeprefix("torch."))
    if dtype is None:
        array: _Array = tensor.numpy()
        return array
    if tensor.requires_grad:
        raise ValueError("it requires a gradient")  # its view as integers does not
    integers = getattr(sys.modules["torch"], f"int{8 * dtype.itemsize}")
    array = tensor.view(integers).numpy()
    return array.view(dtype)


def to_tensor(array: _Array) -> Any:
    """Return a tensor with the memory of an array, even if that is read-only; the array if torch lacks its dtype."""
    torch = sys.modules["torch"]
    metadata = array.dtype.metadata
    name = None if metadata is None else metadata.get(STANDS_FOR)
    elements = array if name is None else array.view(f"i{array.itemsize}")
    if not elements.flags.writeable:
        elements = np.asarray(_Writable(elements))
    try:
        tensor = torch.from_numpy(elements)
    except (TypeError, ValueError):  # text, dates, fields; another byte order
        return array
    return tensor if name is None else tensor.view(getattr(torch, name))
