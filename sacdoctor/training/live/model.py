"""What is training: its parameters by name, which optimizer holds which, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch as th
from msgspec import Struct
from torch import nn
from torch.nn.parameter import UninitializedParameter

from sacdoctor.algorithms import ALGORITHMS, TRAINED_VARIABLES, Algorithm
from sacdoctor.layers import Role, online_names, roles, says_target
from sacdoctor.optimizers import STEP

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

Optimizers = Mapping[str, th.optim.Optimizer]


class Pace(Struct, frozen=True):
    """How far a training is, and how often parts of it have their turn.

    Where the number of environment steps is not known, `num_timesteps` is None.
    """

    n_updates: int
    num_timesteps: int | None = None
    learning_starts: int = 0
    policy_delay: int = 1
    target_update_interval: int = 1


class LiveModel(Struct, frozen=True):
    """A model that is training: SB3's, or modules and optimizers of one's own.

    `names` has every name of every parameter, `parameters` each parameter once, under its first
    name, as an SB3 checkpoint's scan does. `online` has the counterpart of every target network's
    tensor, by names and shapes. `optimizers` are named as in SB3's zip
    (`policy.optimizer`, `actor.optimizer`, `ent_coef_optimizer`), or as the caller names them;
    `owners` maps the `id` of a parameter to the names of the optimizers that hold it. `variables`
    are tensors outside of the modules that one trains: SB3's `log_ent_coef`. `called` is
    what messages call the model, `updates_before` its counter of updates when this was made, and
    `pace` says how far it is now.
    """

    called: str
    modules: Mapping[str, nn.Module]
    names: Mapping[str, nn.Parameter]
    parameters: Mapping[str, nn.Parameter]
    roles: Mapping[str, Role]
    online: Mapping[str, str]
    optimizers: Optimizers
    owners: Mapping[int, tuple[str, ...]]
    variables: Mapping[str, th.Tensor]
    algorithm: Algorithm | None
    updates_before: int
    pace: Callable[[], Pace]

    @classmethod
    def of(cls, model: BaseAlgorithm) -> LiveModel:
        """Return what an SB3 model is made of now.

        Its parameters are called as in the policy's state dict. `algorithm` is what is known of the
        model's class, or of the nearest that it is derived from.
        """
        names = (each.__name__ for each in type(model).__mro__)
        return cls._made(
            {"": model.policy},
            dict(_optimizers(model)),
            {
                name: value
                for name in TRAINED_VARIABLES.values()
                if isinstance(value := getattr(model, name, None), th.Tensor)
            },
            type(model).__name__,
            next((ALGORITHMS[name] for name in names if name in ALGORITHMS), None),
            lambda: _pace_of(model),
        )

    @classmethod
    def of_modules(
        cls, modules: Mapping[str, nn.Module], optimizers: Optimizers, called: str = "the agent"
    ) -> LiveModel:
        """Return what a training loop of one's own trains, without SB3.

        A parameter is called by its module's name and its own: `actor.0.weight`. The names say
        which networks are targets: `critic_target` is that of `critic`. Updates are counted by what
        the optimizers keep; where they keep nothing, as plain SGD, by how often parameters changed.
        """
        versions = {id(p): p._version for of in optimizers.values() for p in parameters_of(of)}
        return cls._made(
            dict(modules),
            dict(optimizers),
            {},
            called,
            None,
            lambda: Pace(_steps_of(optimizers, versions)),
        )

    @classmethod
    def _made(
        cls,
        modules: Mapping[str, nn.Module],
        optimizers: Optimizers,
        variables: Mapping[str, th.Tensor],
        called: str,
        algorithm: Algorithm | None,
        pace: Callable[[], Pace],
    ) -> LiveModel:
        names = dict(_named_parameters(modules))
        first: dict[int, str] = {}
        for name, parameter in names.items():
            first.setdefault(id(parameter), name)
        shapes = {name: tuple(parameter.shape) for name, parameter in names.items()}
        buffers = {
            _joined(place, name): tuple(buffer.shape)
            for place, module in modules.items()
            for name, buffer in module.named_buffers()
        }
        owners: dict[int, tuple[str, ...]] = {}
        for optimizer_name, optimizer in optimizers.items():
            for parameter in parameters_of(optimizer):
                owners[id(parameter)] = (*owners.get(id(parameter), ()), optimizer_name)
        return cls(
            called,
            modules,
            names,
            {name: names[name] for name in first.values()},
            roles({**buffers, **shapes}),
            online_names(shapes),
            optimizers,
            owners,
            variables,
            algorithm,
            pace().n_updates,
            pace,
        )

    @property
    def is_complete(self) -> bool:
        """Whether it still is all there is: no layer or group of an optimizer came or went."""
        now = dict(_named_parameters(self.modules))
        return (
            now.keys() == self.names.keys()
            and all(parameter is self.names[name] for name, parameter in now.items())
            and {id(p) for of in self.optimizers.values() for p in parameters_of(of)}
            == self.owners.keys()
        )

    def holders(self, name: str) -> Iterator[nn.Module]:
        """Yield the modules that a parameter is in, from the outermost to its layer."""
        for place, outermost in self.modules.items():
            if name.startswith(f"{place}." if place else ""):
                module = outermost
                yield module
                for part in name.removeprefix(f"{place}." if place else "").split(".")[:-1]:
                    module = getattr(module, part)
                    yield module
                return

    @property
    def biases(self) -> dict[str, nn.Parameter]:
        """The policy's biases with at least one element, each once, by name."""
        return {
            name: parameter
            for name, parameter in self.parameters.items()
            if self.roles[name].role == "bias" and parameter.numel()
        }

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
        """How many updates there were: SB3's counter, 0 for an algorithm without one."""
        return self.pace().n_updates

    @property
    def was_updated(self) -> bool:
        """Whether any update has taken place, now or before the model was loaded."""
        return self.n_updates > 0 or any(map(has_state, self.optimizers.values()))

    def has_stepped(self, optimizer_name: str) -> bool:
        """Return whether this optimizer has made a step.

        Its state shows it. One without state (plain SGD; all gradients None) has stepped once
        there were more updates than TD3 and CrossQ delay the actor's by.
        """
        pace = self.pace()
        return (
            has_state(self.optimizers[optimizer_name])
            or pace.n_updates - self.updates_before > pace.policy_delay
        )

    def counterpart(self, name: str) -> str | None:
        """Return the online parameter's first name for a target network's, else None."""
        online = self.online.get(name)
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
        pace = self.pace()
        interval = pace.target_update_interval
        if pace.n_updates <= max(interval, pace.policy_delay):
            return False
        return pace.num_timesteps is None or pace.num_timesteps > pace.learning_starts + interval

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
    return says_target(name)


def parameters_of(optimizer: th.optim.Optimizer) -> Iterator[nn.Parameter]:
    """Yield the parameters of all of the optimizer's groups, in its order."""
    for group in optimizer.param_groups:
        yield from group["params"]


def has_state(optimizer: th.optim.Optimizer) -> bool:
    """Return whether the optimizer keeps anything for any parameter: it has stepped."""
    return any(optimizer.state.values())


def _pace_of(model: BaseAlgorithm) -> Pace:
    """Return how far an SB3 model is."""
    return Pace(
        int(getattr(model, "_n_updates", 0)),
        model.num_timesteps,
        int(getattr(model, "learning_starts", 0)),
        int(getattr(model, "policy_delay", 1)),
        int(getattr(model, "target_update_interval", 1)),
    )


def _steps_of(optimizers: Optimizers, versions: Mapping[int, int]) -> int:
    """Return the most updates that any parameter has had.

    An optimizer that does not count them changes a parameter in place in each, which PyTorch
    counts; `versions` has those counts from the start, by the parameter's `id`.
    """
    counted = [
        int(state[STEP])
        for of in optimizers.values()
        for state in of.state.values()
        if STEP in state
    ]
    changed = [
        parameter._version - versions.get(id(parameter), 0)
        for of in optimizers.values()
        for parameter in parameters_of(of)
    ]
    return max(counted or changed, default=0)


def _named_parameters(modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Parameter]]:
    for place, module in modules.items():
        for name, parameter in module.named_parameters(remove_duplicate=False):
            if not isinstance(parameter, UninitializedParameter):
                yield _joined(place, name), parameter


def _joined(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


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
