"""Dead elements of a live policy's parameters: the only ones that a refit moves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Positions = Mapping[str, NDArray[np.int64]]
"""Elements in C order, by the name of their tensor in the policy's state dict."""


class Variables:
    """Elements of parameters, by name; all others stay as they are."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], positions: Positions) -> None:
        self.parameters = dict(parameters)
        self._positions = {name: torch.as_tensor(positions[name]) for name in parameters}
        self._masks = {name: self._mask(name) for name in parameters}
        self._moved = {name: torch.zeros_like(mask) for name, mask in self._masks.items()}

    def __len__(self) -> int:
        return sum(len(positions) for positions in self._positions.values())

    def values(self) -> dict[str, Tensor]:
        """Return a copy of the elements, shape (elements,) for each tensor."""
        return {
            name: parameter.detach().reshape(-1)[self._positions[name]].clone()
            for name, parameter in self.parameters.items()
        }

    @torch.no_grad()
    def put(self, values: Mapping[str, Tensor]) -> None:
        """Set the elements."""
        for name, parameter in self.parameters.items():
            parameter.view(-1)[self._positions[name]] = values[name].to(parameter.dtype)

    def moved(self) -> dict[str, NDArray[np.bool_]]:
        """Return which elements ever had a gradient: of the others nothing was learned."""
        return {
            name: self._moved[name].reshape(-1)[self._positions[name]].numpy() > 0
            for name in self.parameters
        }

    @contextmanager
    def free(self) -> Iterator[list[nn.Parameter]]:
        """Let gradients reach these elements and no others; they are the optimizer's to move."""
        handles = []
        for name, parameter in self.parameters.items():
            parameter.requires_grad_(True)
            hook = self._masked(name)
            handles.append(parameter.register_hook(hook))  # type: ignore[no-untyped-call]
        try:
            yield list(self.parameters.values())
        finally:
            for handle in handles:
                handle.remove()
            for parameter in self.parameters.values():
                parameter.requires_grad_(False)
                parameter.grad = None

    def _mask(self, name: str) -> Tensor:
        parameter = self.parameters[name]
        mask = torch.zeros(parameter.numel(), dtype=parameter.dtype)
        mask[self._positions[name]] = 1.0
        return mask.reshape(parameter.shape)

    def _masked(self, name: str) -> object:
        mask, moved = self._masks[name], self._moved[name]

        def hook(gradient: Tensor) -> Tensor:
            masked = gradient * mask
            moved.add_((masked != 0).to(moved.dtype))
            return masked

        return hook


def parameters_of(modules: Iterable[nn.Module | None]) -> set[int]:
    """Return the identities of the parameters of these modules."""
    return {id(p) for module in modules if module is not None for p in module.parameters()}
