"""Values for dead biases of an off-policy model, fitted to what its own buffer recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch as th

from sacdoctor.errors import SacdoctorError
from sacdoctor.repair.in_training import refit_in_training
from sacdoctor.training.live import LiveModel
from sacdoctor.training.zeros.bias_tensors import drawn

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

_WHAT_MAY_BE_IN_THE_WAY = (
    SacdoctorError,
    ModuleNotFoundError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
)
"""Policies and buffers of somebody's own may do anything; a training does not end for a repair."""


class Fitted(NamedTuple):
    """Values of a whole tensor, NaN where nothing was learned, and in words where they are from."""

    values: th.Tensor
    fill: str


def fitted_to_own_buffer(
    model: BaseAlgorithm, live: LiveModel, dead: Mapping[str, th.Tensor], seed: int
) -> dict[str, Fitted]:
    """Return values for the elements in `dead`, masks by the bias's name, where a refit pays.

    Empty where there is nothing to fit to, or what was fitted is not proven to be better.
    """
    positions = {
        name: np.flatnonzero(mask.reshape(-1).cpu().numpy()) for name, mask in dead.items()
    }
    draws = {
        name: drawn(live.roles[name], live.parameters[name], seed)
        .reshape(-1)
        .double()
        .cpu()
        .numpy()[where]
        for name, where in positions.items()
    }
    try:
        found = refit_in_training(model, positions, draws, seed)
    except _WHAT_MAY_BE_IN_THE_WAY:
        return {}
    fitted = {}
    for account in found.accounts:
        for name in account.tensors if account.is_written else ():
            parameter = live.parameters[name]
            whole = np.full(parameter.numel(), np.nan)
            whole[positions[name]] = found.values[name]
            values = th.as_tensor(whole, dtype=parameter.dtype, device=parameter.device)
            fill = f"values fitted to {account.transitions:,} of its own transitions"
            fitted[name] = Fitted(values.reshape(parameter.shape), fill)
    return fitted
