"""Files that values of dead elements may come from: checkpoints of the run, a replay buffer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from sacdoctor.algorithms import ALGORITHMS
from sacdoctor.diagnosis import Facts, normalised, scan
from sacdoctor.diagnosis.rules import RULES
from sacdoctor.errors import SacdoctorError, UnsupportedCheckpoint
from sacdoctor.options import ScanOptions
from sacdoctor.repair.model import Left, Refit
from sacdoctor.severity import Severity
from sacdoctor.trust import is_pickle_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sacdoctor.repair.refit import Asked, Refitted
    from sacdoctor.replay import ReplayBuffer

_ARRAYS = ".npz"


class Donor(Struct, frozen=True):
    """A checkpoint whose values may fill dead elements.

    `age`: timesteps between it and the checkpoint that is repaired, None where that is not known.
    `sick` are its tensors that something is wrong with, from which nothing is taken.
    """

    path: Path
    age: int | None = None
    sick: frozenset[str] = frozenset()


class Donors(Struct, frozen=True):
    """Where values may come from. `buffer` is a replay buffer, or a `.npz` of observations and the
    actions that a healthy policy took, to which dead elements are fitted; `checkpoints` come
    nearest first.

    `are_found`: they were looked for, not named. Then the target network is a donor, too, one that
    does not fit is passed over, and `unused` says which were not taken, and why.
    """

    checkpoints: tuple[Donor, ...] = ()
    buffer: Path | None = None
    are_found: bool = False
    unused: tuple[Left, ...] = ()


def donor_named(path: str | Path | Donors | None) -> Donors:
    """Return the donors that a path is: a replay buffer, told by what is in the file, or else a
    checkpoint."""
    if isinstance(path, Donors):
        return path
    if path is None:
        return Donors()
    if str(path).lower().endswith(_ARRAYS) or is_pickle_file(path):
        return Donors(buffer=Path(path))
    return Donors((Donor(Path(path)),))


class Unused(SacdoctorError):
    """A recording that is not used, as what it holds is not what the agent did."""


def refitted(facts: Facts, path: Path, asked: Asked) -> Refitted:
    """Return values for dead elements, fitted to what a replay buffer or rollout recorded.

    Raises `Unused` where its actions are not those of the agent, or led to something else, and
    other `SacdoctorError`s where it or the model cannot be read, or do not belong together.
    """
    donor = _opened(path, facts)
    reason = None if isinstance(donor, Path) else _why_unused(path)
    if reason is not None:
        raise Unused(reason, path)
    try:
        from sacdoctor.repair.refit import refit
    except ModuleNotFoundError as error:
        raise SacdoctorError(
            f"a refit needs {(error.name or '').partition('.')[0]}: pip install 'sacdoctor[train]'"
        ) from None
    found = refit(facts.checkpoint.path, donor, asked, *_wrapper(facts))
    age = None if isinstance(donor, Path) else _age(donor, facts)
    accounts = tuple(replace(account, source=str(path), age=age) for account in found.accounts)
    return replace(found, accounts=accounts)


def _opened(path: Path, facts: Facts) -> ReplayBuffer | Path:
    """Return a replay buffer, or the path of a `.npz` that is none, or that none could use."""
    from sacdoctor.replay import read_replay_buffer

    is_arrays = path.suffix.lower() == _ARRAYS
    algorithm = ALGORITHMS.get(facts.checkpoint.algorithm or "")
    if is_arrays and algorithm is not None and not algorithm.replays:
        return path
    try:
        return read_replay_buffer(path)
    except UnsupportedCheckpoint:
        if is_arrays:
            return path
        raise


def in_words(account: Refit) -> str:
    """Return what an account of a refit says of where its values come from."""
    return f"fitted to {account.transitions:,} transitions of {Path(account.source).name}"


def _why_unused(path: Path) -> str | None:
    bars = tuple(rule.code for rule in RULES if rule.bars_refit)
    findings = scan(path, ScanOptions(select=bars)).findings
    found = [finding for finding in findings if finding.severity is not Severity.NOTICE]
    if not found:
        return None
    return f"{found[0].rule}: {found[0].message}; what it records is not what the agent did"


def _age(buffer: ReplayBuffer, facts: Facts) -> int | None:
    """Return how many timesteps before the checkpoint a buffer was saved, None where untold.

    Until it is full it holds all steps there were; later only its position tells.
    """
    steps = facts.checkpoint.hyperparameters.integer("num_timesteps")
    if steps is None:
        return None
    rows = steps // buffer.n_envs
    if not buffer.full:
        return (rows - buffer.size) * buffer.n_envs
    return ((rows - buffer.pos) % buffer.capacity) * buffer.n_envs


def _wrapper(facts: Facts) -> tuple[Callable[[str, NDArray[Any]], NDArray[Any]] | None, float]:
    """Return what `VecNormalize` made of observations, and by what it divided rewards.

    SB3's buffers hold what came before it. Raises `Unused` where the agent was trained under one
    whose statistics are not beside it.
    """
    agent = normalised(facts.checkpoint)
    if agent is None or (agent.proof is None and not agent.belongs):
        return None, 1.0
    statistics = agent.own
    if statistics is None:
        raise Unused(
            "the agent was trained under VecNormalize, and its statistics are not beside it, so "
            "what it observed is not known",
        )

    def observed(key: str, observations: NDArray[Any]) -> NDArray[Any]:
        if key not in statistics.moments:
            return observations
        scaled = statistics.scaled(key, observations)
        return np.clip(scaled, -statistics.clip, statistics.clip).astype(np.float32)

    deviation = statistics.reward_deviation
    if deviation is not None and not deviation > 0.0:
        raise Unused(
            "the agent was trained under VecNormalize, whose statistics do not tell by what it "
            "divided rewards"
        )
    return observed, 1.0 if deviation is None else deviation
