"""What the units of a torch module do while it works: counted by hooks, batch by batch.

Nothing is kept of a batch but sums, so that memory does not grow with the observations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from sacdoctor.diagnosis import DORMANT, LEFT_OUT, NEAR, NEARLY_ALL, LayerActivity, NetworkActivity

MOST_RANKED = 2048
"""Units up to which a layer's effective rank is worked out: it takes their square of memory."""
BATCH = 1024
"""Observations that a network is given at once."""

_LIMITS: Mapping[type[nn.Module], tuple[float, float]] = {
    nn.Tanh: (-1.0, 1.0),
    nn.Softsign: (-1.0, 1.0),
    nn.Hardtanh: (-1.0, 1.0),
    nn.Sigmoid: (0.0, 1.0),
    nn.Hardsigmoid: (0.0, 1.0),
    nn.LSTM: (-1.0, 1.0),
    nn.LSTMCell: (-1.0, 1.0),
    nn.GRU: (-1.0, 1.0),
    nn.GRUCell: (-1.0, 1.0),
}
"""Between which limits the outputs of a module lie, where both are limits."""
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_ACTIVATIONS = tuple(
    thing
    for thing in vars(nn.modules.activation).values()
    if isinstance(thing, type) and issubclass(thing, nn.Module) and thing is not nn.Module
    if thing is not nn.MultiheadAttention
)
_CONVOLUTIONS = tuple(
    getattr(nn, f"{name}{n}d") for name in ("Conv", "ConvTranspose") for n in (1, 2, 3)
)


def activity_of(module: nn.Module, *inputs: Any, name: str = "") -> NetworkActivity:
    """Return what the layers of a torch module do on observations.

    For agents of one's own; `sacdoctor.probe` does it for those of SB3. The module is called in
    batches, in evaluation mode, without gradients, on the device of its parameters, and is left as
    it was.

    :param module: any network, of which modules of PyTorch's are looked at: `F.relu` is none
    :param inputs: what it is called with: arrays or tensors, shape (n, …), or dicts of those; a
        critic, e.g., with observations and actions
    :param name: what to call the network

    Raises `ValueError` where there are no observations, or not equally many in all inputs.
    """
    sizes = {len(array) for one in inputs for array in _arrays(one)}
    if len(sizes) != 1 or not max(sizes):
        raise ValueError("a network works on one number of observations, and at least on one")
    parameter = next(module.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    watched = Watch(module)
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad(), watched.while_working():
            for start in range(0, max(sizes), BATCH):
                module(*(_batch(one, start, device) for one in inputs))
    finally:
        for part, mode in modes.items():
            part.training = mode
    return NetworkActivity(name, watched.layers())


def _arrays(given: Any) -> list[Any]:
    return [*given.values()] if isinstance(given, Mapping) else [given]


def _batch(given: Any, start: int, device: torch.device) -> Any:
    if isinstance(given, Mapping):
        return {key: _batch(value, start, device) for key, value in given.items()}
    return torch.as_tensor(given[start : start + BATCH], device=device)


class Watch:
    """Watches the layers of a module, or of those below it that work while it is asked to.

    A layer is a module with a weight (norms have none but a scale), together with the activation
    that works next: what that puts out is what the layer's units do.
    """

    def __init__(self, module: nn.Module) -> None:
        self._names: dict[nn.Module, str] = {}
        for name, part in module.named_modules():
            if not any(part.children()) or isinstance(part, _RECURRENT):
                self._names.setdefault(part, name)
        self._layers: dict[nn.Module, _Units] = {}
        self._waiting: tuple[nn.Module, torch.Tensor] | None = None

    @contextmanager
    def while_working(self) -> Iterator[None]:
        """Count what the layers put out within the block, without gradients."""
        hooks = [part.register_forward_hook(self._see) for part in self._names]
        try:
            with torch.no_grad():
                yield
            self._count_waiting()
        finally:
            self._waiting = None
            for hook in hooks:
                hook.remove()

    def layers(self) -> tuple[LayerActivity, ...]:
        """Return what was counted, a row for each layer, in the order of the first work."""
        return tuple(units.row() for units in self._layers.values())

    def _see(self, part: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, tuple) and output:  # of an LSTM, beside its states
            output = output[0]
        if not isinstance(output, torch.Tensor) or output.dim() < 2 or not output.numel():
            return
        if isinstance(part, _ACTIVATIONS):
            layer = part if self._waiting is None else self._waiting[0]
            self._waiting = None
            self._count(layer, output, part)
        elif isinstance(part, _RECURRENT):
            self._count_waiting()
            self._count(part, output, part)
        elif any(parameter.dim() > 1 for parameter in part.parameters(recurse=False)):
            self._count_waiting()
            self._waiting = part, output

    def _count_waiting(self) -> None:
        if self._waiting is not None:
            self._count(*self._waiting, None)
            self._waiting = None

    def _count(self, layer: nn.Module, output: torch.Tensor, activation: nn.Module | None) -> None:
        units = self._layers.get(layer)
        if units is None:
            units = _Units(self._names[layer], activation, isinstance(layer, _CONVOLUTIONS))
            self._layers[layer] = units
        units.add(output)


class _Units:
    """The sums over the outputs of one layer; `is_image`: its units are the second dimension."""

    def __init__(self, name: str, activation: nn.Module | None, is_image: bool) -> None:
        self._name, self._is_image = name, is_image
        self._activation = None if activation is None else type(activation).__name__
        self._limits = _limits(activation)
        self._rows = 0
        self._sizes: torch.Tensor | float = 0.0
        self._at_limit: torch.Tensor | float = 0.0
        self._beyond: torch.Tensor | float = 0.0
        self._gram: torch.Tensor | float | None = None if is_image else 0.0

    def add(self, output: torch.Tensor) -> None:
        """Take in a batch of outputs, shape (n, units), (n, …, units), or (n, units, …)."""
        rows = output.detach()
        rows = rows.movedim(1, -1) if self._is_image else rows
        rows = rows.reshape(-1, rows.shape[-1]).float()
        self._rows += len(rows)
        sizes = rows.abs()
        self._sizes = self._sizes + sizes.sum(dim=0, dtype=torch.float64)
        if self._limits is not None:
            low, high = self._limits
            middle, half = (low + high) / 2, (high - low) / 2
            apart = sizes if not middle else (rows - middle).abs()
            self._at_limit = self._at_limit + (apart >= NEAR * half).sum(dim=0)
            self._beyond = self._beyond + (apart >= half).sum(dim=0)
        if self._gram is not None and rows.shape[1] <= MOST_RANKED:
            exact = rows.double()
            self._gram = self._gram + exact.T @ exact

    def row(self) -> LayerActivity:
        """Return the figures."""
        sizes = torch.as_tensor(self._sizes)
        at_limit, beyond = torch.as_tensor(self._at_limit), torch.as_tensor(self._beyond)
        has_limits = self._limits is not None
        return LayerActivity(
            name=self._name,
            activation=self._activation,
            units=len(sizes),
            dead=int((sizes == 0).sum()),
            saturated=int((at_limit >= NEARLY_ALL * self._rows).sum()) if has_limits else None,
            at_limit=float(at_limit.sum()) / (self._rows * len(sizes)) if has_limits else None,
            stuck=int((beyond >= self._rows).sum()) if has_limits else 0,
            dormant=int((sizes <= DORMANT * sizes.mean()).sum()),
            rank=_effective_rank(self._gram) if isinstance(self._gram, torch.Tensor) else None,
        )


def _limits(activation: nn.Module | None) -> tuple[float, float] | None:
    if isinstance(activation, nn.Hardtanh):  # ReLU6, too: one limit of it is that of a ReLU
        is_relu = isinstance(activation, nn.ReLU6)
        return None if is_relu else (activation.min_val, activation.max_val)
    return _LIMITS.get(type(activation)) if activation is not None else None


def _effective_rank(gram: torch.Tensor) -> int | None:
    """Return how many singular values it takes to all but δ of their sum, of features X by XᵀX.

    The srank of Kumar et al. 2021, "Implicit under-parameterization inhibits data-efficient deep
    reinforcement learning". None where an output is not finite.
    """
    if not bool(torch.isfinite(gram).all()):
        return None
    values = torch.linalg.eigvalsh(gram).clamp(min=0.0).sqrt().flip(0)
    total = values.sum()
    if not float(total):
        return 0
    return int((values.cumsum(0) < (1.0 - LEFT_OUT) * total).sum()) + 1
