"""Parameters that no optimizer holds: told, or put where they belong.

SB3's policies create their optimizer at the end of `__init__`; a layer that a subclass adds after
calling it is in no optimizer, and stays at its initial values for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch as th
from torch import nn

from sacdoctor.errors import SacdoctorError
from sacdoctor.training.live.model import LiveModel, parameters_of

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

_NAMED = 5
"""How many names a message lists."""


class MissingParameters(SacdoctorError):
    """Parameters are in no optimizer, and training was asked not to start then."""


def add_missing_parameters(model: BaseAlgorithm) -> dict[str, str]:
    """Put the trainable parameters that no optimizer holds into the one of their part.

    Returns the optimizer's name by parameter; empty where nothing was missing. `actor.…` goes to
    `actor.optimizer`, `critic.…` to `critic.optimizer`, all else to `policy.optimizer`; what has
    none of these stays out. Target networks, frozen parameters and algorithms that update by other
    means (TRPO, ARS) are left alone. The options are those of the optimizer's first group; where
    it is the only one, the parameters join it at their place in `parameters()` order, so that a
    saved model fits a policy that creates its optimizer last.

    Before `model.set_parameters(path)` it makes room for a model that was saved with them:
    `load` itself fails there, as it builds the policy as it was.
    """
    live = LiveModel.of(model)
    chosen: dict[str, str] = {}
    for name in live.missing():
        home = home_of(name, live.optimizers)
        if home is not None:
            chosen[name] = home
    order = {id(parameter): place for place, parameter in enumerate(live.parameters.values())}
    for home in dict.fromkeys(chosen.values()):
        added = {n: live.parameters[n] for n, optimizer in chosen.items() if optimizer == home}
        _add(live.optimizers[home], added, order)
    return chosen


def home_of(name: str, optimizers: Mapping[str, th.optim.Optimizer]) -> str | None:
    """Return the optimizer that looks after the part of the policy that `name` is in."""
    part = name.rpartition(".")[0]
    while part:
        if f"{part}.optimizer" in optimizers:
            return f"{part}.optimizer"
        part = part.rpartition(".")[0]
    return "policy.optimizer" if "policy.optimizer" in optimizers else None


def listed(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")


def _add(
    optimizer: th.optim.Optimizer, added: Mapping[str, nn.Parameter], order: Mapping[int, int]
) -> None:
    first = optimizer.param_groups[0]
    alone = len(optimizer.param_groups) == 1 and "param_names" not in first
    places = [order.get(id(parameter), -1) for parameter in parameters_of(optimizer)]
    options = {k: v for k, v in first.items() if k not in ("params", "param_names")}
    named = "param_names" in first
    optimizer.add_param_group(
        {**options, "params": list(added.items()) if named else list(added.values())}
    )
    if alone and all(a < b for a, b in pairwise([-1, *places])):
        new = optimizer.param_groups.pop()
        first["params"] = sorted([*first["params"], *new["params"]], key=lambda p: order[id(p)])
