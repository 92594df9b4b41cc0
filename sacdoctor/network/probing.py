"""A checkpoint's networks set to work on observations: what they do, and what rules say of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sacdoctor.checkpoint import Checkpoint
from sacdoctor.diagnosis import Activity, NetworkActivity
from sacdoctor.diagnosis import observations as kept
from sacdoctor.diagnosis.rules import Subject, findings, selected
from sacdoctor.errors import SacdoctorError
from sacdoctor.model import Finding
from sacdoctor.network.agents import Agent, Batch, agent_of
from sacdoctor.network.load import load
from sacdoctor.network.observations import (
    Observed,
    Seen,
    Source,
    of_checkpoint,
    of_environment,
    of_file,
)
from sacdoctor.network.scaling import Scaling
from sacdoctor.network.work import at_work
from sacdoctor.options import ScanOptions
from sacdoctor.replay import buffer_of as replay_buffer_of
from sacdoctor.severity import Status

COUNT = 10_000
"""Observations that are looked at unless more are asked for."""
FEWEST = 100
"""Observations from which on it is judged what networks do on nearly all of them."""


class ProbeReport(Struct, frozen=True):
    """What the networks of one checkpoint do on observations.

    `source` says what kind of place the `count` observations are from: a `buffer`, a `file`, an
    `environment` in which the policy acted, or the `checkpoint` itself; and `name` which. `notes`
    are sentences about what limits the result.
    """

    path: str
    status: Status
    algorithm: str | None
    source: str
    name: str
    count: int
    networks: tuple[NetworkActivity, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def probe(
    path: str | Path,
    *,
    buffer: str | Path | None = None,
    observations: str | Path | None = None,
    env: str | None = None,
    count: int = COUNT,
    seed: int = 0,
    device: torch.device | str = "cpu",
    trust: Iterable[str] = (),
    options: ScanOptions | None = None,
    advance: Callable[[int, int], None] = lambda done, count: None,
) -> ProbeReport:
    """Return what the networks of an SB3 checkpoint do on observations.

    The model is made as by `sacdoctor.load`: nothing in the file is executed. Of `buffer`,
    `observations` and `env` one at most is given; without any the replay buffer beside the
    checkpoint is taken, and without one the last observation in the checkpoint, which is too
    little to judge by. Statistics of `VecNormalize` beside the checkpoint are applied.

    :param path: the checkpoint
    :param buffer: a replay buffer of any kind that is read here
    :param observations: a `.npy`, shape (n, …), or a `.npz`, as the environment gives them
    :param env: a gymnasium environment by its id, in which the policy acts; its code runs
    :param count: how many observations at most, spread evenly over a file
    :param seed: of the environment, and of what is random in the policy
    :param device: where the networks work
    :param trust: modules of your own, as `sacdoctor.load` takes them
    :param options: which rules
    :param advance: is called after each batch with how many observations are done, and of how many

    Raises `SacdoctorError` where the checkpoint or the observations cannot be read, or do not fit,
    and for a device that there is not.
    """
    options = options or ScanOptions()
    path = Path(path)
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise SacdoctorError(f"there is no device {device!r}: {_line(error)}") from None
    if sum(given is not None for given in (buffer, observations, env)) > 1:
        raise SacdoctorError("a buffer, a file of observations or an environment: one of them")
    with Checkpoint(path) as checkpoint:
        scaling = Scaling.of(checkpoint)
        last = {key: np.array(rows) for key, rows in kept(checkpoint, "_last_obs").items()}
    with warnings.catch_warnings(record=True) as left_out:
        warnings.simplefilter("always")
        model = load(path, device=device, trust=trust)
    agent = agent_of(model)
    model.policy.set_training_mode(False)
    if buffer is None and observations is None and env is None:
        buffer = replay_buffer_of(path)
    file = buffer if observations is None else observations
    if file is not None:
        source = of_file(Path(file), model, count, in_order=agent.is_recurrent)
    elif env is not None:
        source = of_environment(env, model, count, seed, scaling.observed)
    else:
        source = of_checkpoint(last, model)
    networks = _networks(agent, source, scaling, advance)
    return _report(
        path, agent, source, scaling, networks, options, [str(one.message) for one in left_out]
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _networks(
    agent: Agent, source: Source, scaling: Scaling, advance: Callable[[int, int], None]
) -> tuple[NetworkActivity, ...]:
    def batches() -> Iterator[Batch]:
        done = 0
        for seen in source.batches:
            batch = _tensors(seen, agent, source, scaling)
            yield batch
            done += batch.size
            advance(done, source.count)

    largest = None if source.largest_reward is None else scaling.reward(source.largest_reward)
    try:
        return at_work(agent, batches(), source.count, largest)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise SacdoctorError(
            f"its networks do not work on {source.name}: {_line(error)}"
        ) from error


def _tensors(seen: Seen, agent: Agent, source: Source, scaling: Scaling) -> Batch:
    """Return a batch as the networks take it."""
    policy = agent.policy

    def observed(given: Observed) -> Any:
        scaled = given if source.is_normalised else scaling.observed(given)
        return policy.obs_to_tensor(scaled)[0]

    def tensor(given: Any, dtype: Any = np.float32) -> Any:
        return None if given is None else torch.as_tensor(np.asarray(given, dtype), device=device)

    device = policy.device
    actions, rewards = seen.actions, seen.rewards
    if actions is not None and agent.critic_takes_actions:
        actions = actions if source.are_scaled else policy.scale_action(actions)
        actions = actions.reshape(len(actions), -1)
    if rewards is not None:
        rewards = scaling.reward(np.asarray(rewards, np.float64))
    return Batch(
        observed(seen.observations),
        tensor(actions),
        tensor(rewards),
        None if seen.following is None else observed(seen.following),
        tensor(seen.ends),
        tensor(seen.starts),
        tensor(seen.masks, np.bool_),
    )


def _report(
    path: Path,
    agent: Agent,
    source: Source,
    scaling: Scaling,
    networks: tuple[NetworkActivity, ...],
    options: ScanOptions,
    notes: list[str],
) -> ProbeReport:
    model = agent.model
    subjects: list[Subject] = [] if scaling.subject is None else [scaling.subject]
    is_judged = source.count >= FEWEST and not scaling.is_missing
    if is_judged:
        subjects.append(
            Activity(
                algorithm=type(model).__name__,
                observations=source.count,
                updates=model._n_updates,
                replays=isinstance(model, OffPolicyAlgorithm),
                follows_slowly=agent.follows_slowly,
                knows_rewards=scaling.is_reward_known,
                knows_largest=source.is_whole,
                networks=networks,
            )
        )
    found = findings(subjects, selected(options.select, options.ignore))
    return ProbeReport(
        path=str(path),
        status=Status.of([one.severity for one in found if not one.in_passing], judged=is_judged),
        algorithm=type(model).__name__,
        source=source.kind,
        name=source.name,
        count=source.count,
        networks=networks,
        findings=found,
        notes=(*notes, *_notes(source, scaling)),
    )


def _notes(source: Source, scaling: Scaling) -> Iterator[str]:
    if source.count < FEWEST:
        yield (
            f"{source.count} observation{'s are' if source.count > 1 else ' is'} too few to judge "
            "by: --buffer FILE, --observations FILE or --env ID gives more"
        )
    if scaling.is_missing:
        yield (
            "nothing is judged: the networks saw observations that were not normalised, as the "
            "statistics are missing"
        )
    elif scaling.statistics is not None and not source.is_normalised:
        yield f"observations were normalised by {scaling.statistics.path}"
