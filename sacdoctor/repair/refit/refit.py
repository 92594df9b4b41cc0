"""Dead elements fitted to recorded transitions, network by network, and judged on held-out ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import Struct, field
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor, nn

from sacdoctor.errors import UnsupportedCheckpoint
from sacdoctor.network import LeftOut, load
from sacdoctor.repair.model import Refit
from sacdoctor.repair.refit import critics
from sacdoctor.repair.refit.actors import (
    ANYBODYS,
    Greedy,
    NoisyActor,
    OnPolicy,
    Policy,
    SquashedGaussian,
)
from sacdoctor.repair.refit.critics import Critic, Expected, OfActor, OfValues, residuals, targets
from sacdoctor.repair.refit.fitting import BATCH, batches, descend
from sacdoctor.repair.refit.proof import Gain, decisive, gain
from sacdoctor.repair.refit.recorded import BLOCK, Normalise, Recorded, at, recorded
from sacdoctor.repair.refit.rollout import rollout
from sacdoctor.repair.refit.variables import Variables, parameters_of
from sacdoctor.replay import ReplayBuffer

RECENT, PER_VARIABLE = 4000, 8
"""Newest transitions that a policy is fitted on: so many, or so many for each variable where that
is more."""
EXPECTED = 20.0
"""How much more than the likelihood of what was done it counts what a living critic expects, each
in its own unit: nats, and how far the critic spreads actions. The critic knows the policy as it is
now, the recorded actions as it was. A TD3 agent of -153 had just got over a bad time, of which most
of its buffer tells. With its actor dead it was at -193; fitted to the likelihood alone at -847, to
both 1 : 5 at -189, 1 : 20 at -164, to the critic alone at -167. A TQC agent of -135 came to -140,
-135 and -137, by the critic alone to -155."""
RECENT_VALUES, PER_VARIABLE_OF_VALUES = 4000, 16
"""The same for a critic, which has to know more than what the policy does now."""
PASSES, RATE = 40, 1e-2
TURNS, PASSES_IN_A_TURN, RATE_OF_VALUES = 30, 5, 3e-2
"""A critic's targets are made anew so many times, and fitted each time."""
TURNS_OF_Q, RATE_OF_Q = 20, 1e-2
"""The same where the values are the policy."""
WITHIN_NOISE = 0.5
"""Nats per number of an action: what a mean that is off by one standard deviation of the
exploration costs. Two policies nearer than that are one for all that recorded actions tell."""
_VALUE, _LIKELIHOOD = "value that the critic expects", "log likelihood of the recorded actions"
_LEAST_GAIN_OF_VALUES = 0.5
"""Share of the Bellman error that must go before a critic's known values give way."""


class Asked(Struct, frozen=True):
    """What to refit: `dead` elements by the name of their tensor in the policy's state dict.

    `given` are elements, and their values, that are known already: they are put into the model
    first. `drawn` are values that would be drawn for the dead elements, and `known` values that
    another donor has for some of them: positions among the dead ones, and values.
    """

    dead: Mapping[str, NDArray[np.int64]]
    given: Sequence[tuple[str, NDArray[np.int64], NDArray[np.float64]]] = ()
    drawn: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    known: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    seed: int = 0
    trust: tuple[str, ...] = ()


class Refitted(Struct, frozen=True):
    """What came of it: for each network an account, and new values, NaN where nothing was learned,
    of the elements that were asked for, by tensor."""

    accounts: tuple[Refit, ...]
    values: Mapping[str, NDArray[np.float64]]


def refit(
    path: Path,
    donor: ReplayBuffer | Path,
    asked: Asked,
    normalise: Normalise | None = None,
    reward_unit: float = 1.0,
) -> Refitted:
    """Return values for dead elements of the SB3 checkpoint at `path`, from recorded transitions.

    `donor` is its replay buffer, or the path of a `.npz` that holds what a healthy policy did.

    Nothing in either file is executed; policies of somebody's own are imported from the modules in
    `asked.trust`. The same arguments give the same values on the same machine.

    Raises `Unloadable` where no model can be made of the checkpoint, and `UnsupportedCheckpoint`
    where the transitions are not this agent's, or it learns from none.
    """
    with _alone(asked.seed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LeftOut)  # of settings that a refit does not look at
            model = load(path, trust=asked.trust)
        if isinstance(donor, Path):
            refitter = _Refitter(model, None, asked, normalise, reward_unit)
            return refitter.of_rollout(rollout(donor, model, normalise))
        return _Refitter(model, donor, asked, normalise, reward_unit).refitted()


def refit_model(
    model: BaseAlgorithm,
    buffer: ReplayBuffer,
    asked: Asked,
    normalise: Normalise | None = None,
    reward_unit: float = 1.0,
) -> Refitted:
    """Return values for dead elements of a live model, from recorded transitions.

    The model's policy is put to use and is not the same afterwards. Else as `refit`.
    """
    with _alone(asked.seed):
        return _Refitter(model, buffer, asked, normalise, reward_unit).refitted()


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """Make what torch does here depend on the seed alone, and leave its state as it was.

    Sums of several threads are in another order on every machine.
    """
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


class _Refitter:
    """Holds the live model and what was recorded."""

    def __init__(
        self,
        model: BaseAlgorithm,
        buffer: ReplayBuffer | None,
        asked: Asked,
        normalise: Normalise | None,
        reward_unit: float,
    ) -> None:
        self.model: Any = model
        self.buffer = buffer
        self.asked = asked
        self.normalise = normalise
        self.reward_unit = reward_unit
        self.generator = torch.Generator().manual_seed(asked.seed)
        self.accounts: list[Refit] = []
        self.values: dict[str, NDArray[np.float64]] = {}
        policy: nn.Module = model.policy
        policy.train(False)
        policy.requires_grad_(False)
        self.live: dict[str, Any] = dict(policy.state_dict(keep_vars=True))
        for name, positions, values in asked.given:
            _put(self.live[name], positions, values)

    def refitted(self) -> Refitted:
        if hasattr(self.model, "actor") and hasattr(self.model, "critic"):
            self._actor_and_critic()
        elif hasattr(self.model, "replay_buffer_class"):
            self._values()
        else:
            raise UnsupportedCheckpoint(
                f"{type(self.model).__name__} learns from no replay buffer, so none tells of it"
            )
        return Refitted(tuple(self.accounts), self.values)

    def of_rollout(self, data: Recorded) -> Refitted:
        """Fit the policy alone, to the likelihood of the actions that somebody wants of it."""
        model, network = self.model, "actor"
        policy: Policy
        if hasattr(model, "actor") and hasattr(model, "critic"):
            policy = self._policy_of_actor()
        elif hasattr(model, "replay_buffer_class"):
            policy, network = Greedy(model), _network_of_values(model)
        elif hasattr(model.policy, "get_distribution"):
            policy = OnPolicy(model)
        else:
            raise UnsupportedCheckpoint(
                f"{type(model).__name__} has no likelihood of actions, so none can be fitted to"
            )

        def unlikely(rows: Tensor) -> Tensor:
            return -policy.log_likelihood(at(data.observations, rows), data.actions[rows]).mean()

        variables = self._variables(policy.module)
        with variables.free():
            told_of = unlikely(data.fitted[:BATCH])
            if told_of.requires_grad:  # else no dead element has a say in what is done
                told_of.backward()  # type: ignore[no-untyped-call]
            told = {n for n, p in variables.parameters.items() if p.grad is not None}
        variables = self._variables(policy.module, names=told)
        if len(variables):
            self._fit_policy(network, policy, variables, data, None)
        return Refitted(tuple(self.accounts), self.values)

    # -- actor and critic ------------------------------------------------------------------------

    def _actor_and_critic(self) -> None:
        model = self.model
        policy = self._policy_of_actor()
        of_actor = self._variables(model.actor)
        of_critic = self._variables(model.critic, but=of_actor)
        if len(of_actor):
            acted = self._recorded(RECENT, PER_VARIABLE * len(of_actor))
            self._fit_policy("actor", policy, of_actor, acted, self._living_critic(acted))
        if len(of_critic):
            data = self._recorded(RECENT_VALUES, PER_VARIABLE_OF_VALUES * len(of_critic))
            critic = OfActor(model, policy, data)
            self._fit_critic(critic, of_critic, data)

    def _policy_of_actor(self) -> Policy:
        model = self.model
        return SquashedGaussian(model) if hasattr(model.actor, "action_dist") else NoisyActor(model)

    def _fit_policy(
        self,
        network: str,
        policy: Policy,
        variables: Variables,
        data: Recorded,
        expected: tuple[Expected, float] | None,
    ) -> None:
        """Fit a policy to what was done, and to what a critic expects where there is one."""

        def unlikely(rows: Tensor, anybodys: float = ANYBODYS) -> Tensor:
            observations, actions = at(data.observations, rows), data.actions[rows]
            return -policy.log_likelihood(observations, actions, anybodys)

        def loss(rows: Tensor, anybodys: float = ANYBODYS) -> Tensor:
            weights = data.weights[rows]
            mean = (weights * unlikely(rows, anybodys)).sum() / weights.sum()
            if expected is None:
                return mean
            critic, scale = expected
            return mean - EXPECTED / scale * critic(at(data.observations, rows)).mean()

        @torch.no_grad()
        def held_out() -> dict[str, Tensor]:
            losses = {}
            if expected is not None:
                torch.manual_seed(self.asked.seed)  # before and after with the same noise
                losses[_VALUE] = -expected[0](at(data.observations, data.held_out))
            return losses | {_LIKELIHOOD: unlikely(data.held_out)}

        start = self._before(policy, loss, variables, data)
        before = held_out()
        for anybodys, rate in ((0.0, RATE), (ANYBODYS, RATE / 3)):
            self._descend(
                variables,
                lambda rows, share=anybodys: loss(rows, share),  # type: ignore[misc]
                data,
                others=policy.others,
                rate=rate,
            )
        rows, after = data.held_out, held_out()
        blocks, weights = data.blocks[rows.numpy()], data.weights[rows]
        measure, found = decisive(
            {name: gain(was, after[name], blocks, weights) for name, was in before.items()}
        )
        is_noise = measure == _LIKELIHOOD and self._is_known(variables)
        least = WITHIN_NOISE * data.actions[0].numel() if is_noise else 0.0
        self._conclude(network, variables, start, data, measure, found, least, sign=-1.0)

    def _living_critic(self, data: Recorded) -> tuple[Expected, float] | None:
        """Return the critic, with its scale, where nothing of it is dead and it judges what the
        actor does."""
        own = parameters_of([self.model.critic])
        if any(id(self.live[name]) in own for name in self.asked.dead):
            return None
        expected = Expected(self.model)
        scale = expected.scale(data, data.fitted)
        return (expected, scale) if scale > 0.0 else None

    def _fit_critic(self, critic: Critic, variables: Variables, data: Recorded) -> None:
        def held_out() -> Tensor:
            return residuals(critic, data, data.held_out)

        def first(rows: Tensor) -> Tensor:
            return residuals(critic, data, rows).mean()

        self._start(variables, first, data)
        before, start = held_out(), variables.values()
        self._turn(critic, variables, data, TURNS, RATE_OF_VALUES)
        found = gain(before, held_out(), data.blocks[data.held_out.numpy()])
        least = _LEAST_GAIN_OF_VALUES * found.before if self._is_known(variables) else 0.0
        self._conclude(
            "critic",
            variables,
            start,
            data,
            "Bellman error",
            found,
            least,
        )

    # -- values that are the policy ----------------------------------------------------------------

    def _values(self) -> None:
        policy = Greedy(self.model)
        variables = self._variables(policy.module)
        if not len(variables):
            return
        data = self._recorded(RECENT_VALUES, PER_VARIABLE_OF_VALUES * len(variables))
        critic = OfValues(self.model, policy)

        def unlikely(rows: Tensor) -> Tensor:
            return -policy.log_likelihood(at(data.observations, rows), data.actions[rows])

        start = self._before(policy, lambda rows: unlikely(rows).mean(), variables, data)
        with torch.no_grad():
            before = unlikely(data.held_out)
        self._turn(critic, variables, data, TURNS_OF_Q, RATE_OF_Q, unlikely, policy.others)
        with torch.no_grad():
            found = gain(before, unlikely(data.held_out), data.blocks[data.held_out.numpy()])
        least = WITHIN_NOISE if self._is_known(variables) else 0.0
        self._conclude(
            _network_of_values(self.model),
            variables,
            start,
            data,
            _LIKELIHOOD,
            found,
            least,
            sign=-1.0,
        )

    # -- what all have in common -------------------------------------------------------------------

    def _recorded(self, least: int, wanted: int) -> Recorded:
        assert self.buffer is not None
        newest = max(least, wanted)
        return recorded(self.buffer, self.model, newest, self.normalise, self.reward_unit)

    def _variables(
        self, module: nn.Module, but: Variables | None = None, names: Iterable[str] | None = None
    ) -> Variables:
        """Return the dead elements that are parameters of `module`, and not of `but`; of those
        with these `names` where any are given."""
        own = parameters_of([module])
        taken = {id(p) for p in but.parameters.values()} if but is not None else set()
        found = {
            name: self.live[name]
            for name in (self.asked.dead if names is None else names)
            if id(self.live[name]) in own and id(self.live[name]) not in taken
        }
        return Variables(found, self.asked.dead)

    def _is_known(self, variables: Variables) -> bool:
        return any(name in self.asked.known for name in variables.parameters)

    def _start(
        self, variables: Variables, loss: Callable[[Tensor], Tensor], data: Recorded
    ) -> None:
        """Put the variables where the loss is lowest of all that is known without a fit."""
        names = variables.parameters
        zeros = {name: torch.zeros(len(self.asked.dead[name])) for name in names}
        candidates = [zeros]
        for source in (self.asked.drawn, self.asked.known):
            if any(name in source for name in names):
                values = {
                    name: torch.as_tensor(source[name]) if name in source else zeros[name]
                    for name in names
                }
                candidates.append(values)
        if self._is_known(variables):
            candidates = candidates[-1:]
        losses = []
        for values in candidates:
            variables.put(values)
            with torch.no_grad():
                losses.append(float(loss(data.fitted)))
        variables.put(candidates[int(np.argmin(losses))])

    def _before(
        self,
        policy: Policy,
        loss: Callable[[Tensor], Tensor],
        variables: Variables,
        data: Recorded,
    ) -> dict[str, Tensor]:
        """Make the best policy that needs no fit, with what fits it best beside its parameters, and
        return the values of the variables in it."""
        self._start(variables, loss, data)
        policy.adapt(at(data.observations, data.fitted), data.actions[data.fitted])
        if policy.others:
            self._descend(Variables({}, {}), loss, data, others=policy.others, passes=PASSES // 4)
        return variables.values()

    def _descend(
        self,
        variables: Variables,
        loss: Callable[[Tensor], Tensor],
        data: Recorded,
        *,
        others: Sequence[Tensor] = (),
        passes: int = PASSES,
        rate: float = RATE,
    ) -> None:
        descend(
            variables,
            loss,
            data.fitted,
            data.stopping,
            passes=passes,
            rate=rate,
            generator=self.generator,
            others=others,
            # Of a recurrent policy neighbours cost little more than one.
            blocks=data.fitted // BLOCK if data.comes_in_stretches else None,
        )

    def _turn(
        self,
        critic: Critic,
        variables: Variables,
        data: Recorded,
        turns: int,
        rate: float,
        unlikely: Callable[[Tensor], Tensor] | None = None,
        others: Sequence[Tensor] = (),
    ) -> None:
        """Fit a critic to its targets and make these anew, in turns."""
        passes = max(1, round(PASSES_IN_A_TURN * RECENT_VALUES / len(data)))
        with variables.free() as parameters:
            optimizer = torch.optim.Adam([*parameters, *others], lr=rate)
            for turn in range(turns):
                wanted = targets(critic, data)
                scale = wanted.std().clamp(min=1e-6)
                for group in optimizer.param_groups:
                    group["lr"] = rate * (1.0 - 0.95 * turn / turns)
                for _ in range(passes):
                    for rows in batches(data.fitted, self.generator):
                        loss = critics.loss(critic.estimates(data, rows), wanted[rows], scale)
                        if unlikely is not None:
                            loss = loss + unlikely(rows).mean()
                        optimizer.zero_grad()
                        loss.backward()  # type: ignore[no-untyped-call]
                        optimizer.step()

    def _conclude(
        self,
        network: str,
        variables: Variables,
        start: Mapping[str, Tensor],
        data: Recorded,
        measure: str,
        found: Gain,
        least: float,
        *,
        sign: float = 1.0,
    ) -> None:
        """Take the new values where they are better, else put back what was there.

        Better is what loses more than `least`, and is proven to. `measure` is the loss, times
        `sign`.
        """
        is_better = found.is_proven and found.before - found.after > least
        if not is_better:
            variables.put(start)
        moved = variables.moved()
        for name, values in variables.values().items() if is_better else ():
            learned = np.where(moved[name], values.double().numpy(), np.nan)
            self.values[name] = learned
        self.accounts.append(
            Refit(
                network=network,
                tensors=tuple(variables.parameters),
                elements=len(variables),
                transitions=len(data),
                held_out=len(data.held_out),
                measure=measure,
                before=sign * found.before,
                after=sign * found.after,
                low=found.low,
                high=found.high,
                is_written=is_better,
            )
        )


def _network_of_values(model: Any) -> str:
    return "q_net" if hasattr(model, "q_net") else "quantile_net"


@torch.no_grad()
def _put(tensor: Tensor, positions: NDArray[np.int64], values: NDArray[np.float64]) -> None:
    tensor.view(-1)[torch.as_tensor(positions)] = torch.as_tensor(values).to(tensor.dtype)
