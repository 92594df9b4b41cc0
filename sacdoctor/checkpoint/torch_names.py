"""The short list: the names that state dicts and optimizer states refer to, and what they become.

`state_dict_names` is the vocabulary that reads it.

Sources: torch/_utils.py, torch/_tensor.py and torch/storage.py, whose `__reduce_ex__` name them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sacdoctor.checkpoint.dtypes import DTYPES, STORAGES, DType
from sacdoctor.checkpoint.tensors import Storage, Tensor
from sacdoctor.errors import CorruptCheckpoint
from sacdoctor.pickles import ENCODED_TEXT, NUMPY_NUMBERS, ListedNames, Name, OpaqueNames, as_key


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, *_rest: Any, dtype: DType | None = None
) -> Tensor:
    if not isinstance(storage, Storage):
        raise CorruptCheckpoint("its pickle builds a tensor from something that is no storage")
    if not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise CorruptCheckpoint("its pickle builds a tensor without a shape")
    return Tensor(storage, offset, size, stride, dtype or storage.dtype)


def _tensor_v3(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    _requires_grad: Any,
    _hooks: Any,
    dtype: Any,
    *_rest: Any,
) -> Tensor:
    """Types without a storage class of their own lie in an untyped storage of bytes."""
    if not isinstance(storage, Storage) or not isinstance(dtype, DType):
        raise CorruptCheckpoint("its pickle builds a tensor from something that is no storage")
    numel = storage.numel * storage.dtype.itemsize // dtype.itemsize
    typed = Storage(storage.key, dtype, numel, storage.data, storage.position, storage.record)
    return _tensor(typed, offset, size, stride)


def _parameter(tensor: Any, *_rest: Any) -> Any:
    return tensor


def _from_type(function: Any, _type: Any, args: Any, _state: Any) -> Any:
    """A tensor with Python attributes of its own: the function and arguments that rebuild it."""
    if function not in (_tensor, _tensor_v3, _parameter) or not isinstance(args, tuple):
        raise CorruptCheckpoint("its pickle rebuilds a tensor in an unknown way")
    return function(*args)


def _size(items: Any = ()) -> tuple[Any, ...]:
    return tuple(items)


def _dict(items: Any = ()) -> dict[Any, Any]:
    return {as_key(key): value for key, value in items if isinstance(key, (str, int))}


def _defaultdict(_factory: Any = None, items: Any = ()) -> dict[Any, Any]:
    return _dict(items)


def _list(items: Any = ()) -> list[Any]:
    return list(items)


def _inert(*_args: Any) -> None:
    """Devices, layouts and hooks: nothing here depends on them."""
    return None


def writes_so(function: Any, args: tuple[Any, ...]) -> bool:
    """Return whether `torch.save` writes this call for a dict of tensors, which have no hooks."""
    if function is _dict:
        return not args
    is_tensor = function is _tensor or function is _tensor_v3
    return is_tensor and len(args) > 5 and type(args[4]) is bool and args[5] == {}


TORCH_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _dict,
    ("collections", "defaultdict"): _defaultdict,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
    ("torch", "Tensor"): _parameter,
    ("torch.nn.parameter", "Parameter"): _parameter,
    ("torch.nn.parameter", "Buffer"): _parameter,
    ("torch", "Size"): _size,
    ("torch", "device"): _inert,
    ("torch.serialization", "_get_layout"): _inert,
    # A learning rate that a numpy schedule computed stands as a numpy number in the groups.
    **NUMPY_NUMBERS,
    **ENCODED_TEXT,
}
for _module in ("__builtin__", "builtins"):
    TORCH_NAMES |= {
        (_module, "dict"): _dict,
        (_module, "list"): _list,
        (_module, "set"): _list,
        (_module, "tuple"): _size,
    }
for _module in ("torch", "torch.storage", "torch.cuda"):
    TORCH_NAMES |= {(_module, name): DTYPES[dtype] for name, dtype in STORAGES.items()}
TORCH_NAMES |= {("torch", name): dtype for name, dtype in DTYPES.items()}
"""What each name becomes: a function that builds the value from its arguments, or a constant."""


class StateDictNames(ListedNames):
    """The short list, and whether a pickle did with its names what `torch.save` has it do.

    The list says what becomes of a call here. What torch makes of other arguments, of a state that
    reaches what is not the object's own, or of a set, is another question, which the list alone
    does not answer.
    """

    is_plain = True

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.is_plain = self.is_plain and writes_so(function, args)
        return super().call(function, args, kwargs)

    def build(self, thing: Any, state: Any) -> None:
        super().build(thing, state)
        if not isinstance(state, dict) or not state.keys() <= {"_metadata"}:
            self.is_plain = False


class AnyNames(StateDictNames, OpaqueNames):
    """The same with names that are on no list: what is done with these is not plain."""

    def name(self, module: str, qualname: str, protocol: int) -> Any:
        known = super().name(module, qualname, protocol)
        if isinstance(known, Name):
            self.is_plain = False
        return known


def state_dict_names(persistent: Callable[[Any], Any], *, opaque: bool) -> StateDictNames:
    """Return the vocabulary of a torch file; with `opaque` names on no list are symbols."""
    return (AnyNames if opaque else StateDictNames)(TORCH_NAMES, persistent)
