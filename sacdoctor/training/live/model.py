"""What a live SB3 model is made of: its parameters by name, and which optimizer holds which."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn
from torch.nn.parameter import UninitializedParameter

from sacdoctor.algorithms import ALGORITHMS, Algorithm
from sacdoctor.layers import Role, online_name, roles

_TARGET = re.compile(r"(^|[._])target([._]|$)")
"""In a name: a target network, SB3's (`critic_target`) or one's own (`target_net`)."""


@dataclass(frozen=True, slots=True)
class LiveModel:
    """A model at the start of training.

    `names` has every name of every parameter of the policy, `parameters` each parameter once,
    under its first name, as an SB3 checkpoint's scan does. `optimizers` are named as in SB3's zip
    (`policy.optimizer`, `actor.optimizer`, `ent_coef_optimizer`); `owners` maps the `id` of a
    parameter to the names of the optimizers that hold it. `updates_before` is SB3's counter of
    updates when training started.
    """

    model: BaseAlgorithm
    names: Mapping[str, nn.Parameter]
    parameters: Mapping[str, nn.Parameter]
    roles: Mapping[str, Role]
    optimizers: Mapping[str, th.optim.Optimizer]
    owners: Mapping[int, tuple[str, ...]]
    updates_before: int

    @classmethod
    def of(cls, model: BaseAlgorithm) -> LiveModel:
        """Return what the model is made of now."""
        policy = model.policy
        names = {
            name: parameter
            for name, parameter in policy.named_parameters(remove_duplicate=False)
            if not isinstance(parameter, UninitializedParameter)
        }
        first: dict[int, str] = {}
        for name, parameter in names.items():
            first.setdefault(id(parameter), name)
        shapes = {name: tuple(parameter.shape) for name, parameter in names.items()}
        buffers = {name: tuple(buffer.shape) for name, buffer in policy.named_buffers()}
        optimizers = dict(_optimizers(model))
        owners: dict[int, tuple[str, ...]] = {}
        for optimizer_name, optimizer in optimizers.items():
            for parameter in parameters_of(optimizer):
                owners[id(parameter)] = (*owners.get(id(parameter), ()), optimizer_name)
        return cls(
            model,
            names,
            {name: names[name] for name in first.values()},
            roles({**buffers, **shapes}),
            optimizers,
            owners,
            _counter(model),
        )

    @property
    def biases(self) -> dict[str, nn.Parameter]:
        """The policy's biases with at least one element, each once, by name."""
        return {
            name: parameter
            for name, parameter in self.parameters.items()
            if self.roles[name].role == "bias" and parameter.numel()
        }

    @property
    def algorithm(self) -> Algorithm | None:
        """What is known of the model's class, or of the nearest that it is derived from."""
        names = (cls.__name__ for cls in type(self.model).__mro__)
        return next((ALGORITHMS[name] for name in names if name in ALGORITHMS), None)

    @property
    def updates_without_optimizer(self) -> bool:
        """Whether the algorithm updates parameters by other means than its optimizers."""
        return self.algorithm is not None and self.algorithm.updates_by_other_means

    @property
    def keeps_its_own_weights(self) -> bool:
        """Whether the policy's weights are a copy that the algorithm overwrites: ARS."""
        return self.algorithm is not None and not self.algorithm.has_gradients

    @property
    def n_updates(self) -> int:
        """SB3's counter of updates, 0 for an algorithm without one."""
        return _counter(self.model)

    @property
    def was_updated(self) -> bool:
        """Whether any update has taken place, now or before the model was loaded."""
        return self.n_updates > 0 or any(map(has_state, self.optimizers.values()))

    def has_stepped(self, optimizer_name: str) -> bool:
        """Return whether this optimizer has made a step.

        Its state shows it. One without state (plain SGD; all gradients None) has stepped once
        there were more updates than TD3 and CrossQ delay the actor's by.
        """
        delay = getattr(self.model, "policy_delay", 1)
        return (
            has_state(self.optimizers[optimizer_name])
            or self.n_updates - self.updates_before > delay
        )

    def counterpart(self, name: str) -> str | None:
        """Return the online parameter's first name for a target network's, else None."""
        online = online_name(name)
        if online is None or online not in self.names:
            return None
        if self.names[online].shape != self.names[name].shape:
            return None
        return next(n for n, p in self.parameters.items() if p is self.names[online])

    @property
    def targets_have_followed(self) -> bool:
        """Whether every target network was updated at least once since its online one learned.

        DQN and QRDQN copy every `target_update_interval` environment steps, TD3 and its like mix
        every `policy_delay` updates: until then a target holds initial values, zeros among them.
        """
        interval = int(getattr(self.model, "target_update_interval", 1))
        delay = int(getattr(self.model, "policy_delay", 1))
        start = int(getattr(self.model, "learning_starts", 0))
        return self.n_updates > max(interval, delay) and self.model.num_timesteps > start + interval

    def missing(self) -> dict[str, nn.Parameter]:
        """Return the trainable parameters that no optimizer holds, without target networks.

        Empty for algorithms that update by other means (TRPO, ARS).
        """
        if self.updates_without_optimizer:
            return {}
        return {
            name: parameter
            for name, parameter in self.parameters.items()
            if parameter.requires_grad and id(parameter) not in self.owners and not is_target(name)
        }

    def frozen(self) -> dict[str, nn.Parameter]:
        """Return the parameters that are kept from training by `requires_grad`."""
        return {
            name: parameter
            for name, parameter in self.parameters.items()
            if not parameter.requires_grad and not is_target(name)
        }


def is_target(name: str) -> bool:
    """Return whether a tensor of this name belongs to a target network."""
    return _TARGET.search(name) is not None


def parameters_of(optimizer: th.optim.Optimizer) -> Iterator[nn.Parameter]:
    """Yield the parameters of all of the optimizer's groups, in its order."""
    for group in optimizer.param_groups:
        yield from group["params"]


def has_state(optimizer: th.optim.Optimizer) -> bool:
    """Return whether the optimizer keeps anything for any parameter: it has stepped."""
    return any(optimizer.state.values())


def _counter(model: BaseAlgorithm) -> int:
    return int(getattr(model, "_n_updates", 0))


def _optimizers(model: BaseAlgorithm) -> Iterator[tuple[str, th.optim.Optimizer]]:
    """Yield every optimizer of the model and of its policy's modules once, with its name."""
    seen: set[int] = set()
    places: list[tuple[str, object]] = [
        (name or "policy", module) for name, module in model.policy.named_modules()
    ]
    for place, holder in [*places, ("", model)]:
        for attribute, value in list(vars(holder).items()):
            name = f"{place}.{attribute}" if place else attribute
            for label, optimizer in _within(name, value):
                if id(optimizer) not in seen:
                    seen.add(id(optimizer))
                    yield label, optimizer


def _within(name: str, value: Any) -> Iterator[tuple[str, th.optim.Optimizer]]:
    if isinstance(value, th.optim.Optimizer):
        yield name, value
    elif isinstance(value, dict):
        yield from ((f"{name}.{k}", v) for k, v in value.items() if _is_optimizer(v))
    elif isinstance(value, (list, tuple)):
        yield from ((f"{name}.{i}", v) for i, v in enumerate(value) if _is_optimizer(v))


def _is_optimizer(value: object) -> bool:
    return isinstance(value, th.optim.Optimizer)
