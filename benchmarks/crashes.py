"""Whether `history` names a total collapse of the return, and keeps quiet about healthy trainings.

Trains agents with real SB3, breaks each in several ways at one moment and trains on, so that every
log is a healthy one up to there. A collapse is total where the rest of the log is at the level of
an agent that acts at random, played for itself. Odd seeds are the held-out half: what the detector
does was decided on the even ones.
"""

from __future__ import annotations

import argparse
import copy
import csv
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from rich.console import Console
from rich.table import Table
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sacdoctor.history.crash import falls, low_end

FIRST_SEED = 700
LEFT = (15, 20, 30, 50, 100)
"""So many episodes after a collapse are left to the detector."""
FELL_BY_ITSELF = "fell by itself"
_NEAR = 10
"""A crash that is named so many episodes from where it was made is that one."""
_KEPT_FROM_RANDOM = 0.1
"""Of the way from random returns to those before the break: no more is kept in a total collapse."""

Values = np.ndarray[Any, np.dtype[np.float64]]
Draw = np.random.Generator


# -- trainings ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """One kind of training: `steps` in all, broken after a share of them of `broken_from` or more.

    `after` are the steps that a broken one is trained on for; `limit` are those of an episode.
    """

    name: str
    algorithm: type[BaseAlgorithm]
    env: str
    steps: int
    after: int
    seeds: int
    limit: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    broken_from: float = 0.5

    def make(self, log: Path | None = None) -> Monitor[Any, Any]:
        env = gym.make(self.env, max_episode_steps=self.limit)
        return Monitor(env, None if log is None else str(log))


_SMALL = {"net_arch": [64, 64]}
_QUICK: dict[str, Any] = {
    **{"learning_rate": 1e-3, "train_freq": 4, "gradient_steps": 2, "learning_starts": 500},
    "policy_kwargs": _SMALL,
}
_ZOO_CART_DQN: dict[str, Any] = {
    # rl-zoo's dqn.yml, CartPole-v1, with smaller layers
    **{"learning_rate": 2.3e-3, "batch_size": 64, "buffer_size": 100_000, "gamma": 0.99},
    **{"learning_starts": 1000, "target_update_interval": 10, "train_freq": 256},
    **{"gradient_steps": 128, "exploration_fraction": 0.16, "exploration_final_eps": 0.04},
    "policy_kwargs": _SMALL,
}
_ZOO_CAR_SAC: dict[str, Any] = {
    # rl-zoo's sac.yml, MountainCarContinuous-v0, with smaller batches
    **{"learning_rate": 3e-4, "buffer_size": 50_000, "batch_size": 128, "ent_coef": 0.1},
    **{"train_freq": 32, "gradient_steps": 16, "gamma": 0.9999, "tau": 0.01},
    **{"learning_starts": 0, "use_sde": True},
    "policy_kwargs": {"log_std_init": -3.67, **_SMALL},
}
TRAININGS = (
    Training("ppo_cart", PPO, "CartPole-v1", 24_000, 4_000, 8, options={"n_steps": 512}),
    Training("a2c_cart", A2C, "CartPole-v1", 40_000, 4_000, 6),
    Training("dqn_cart", DQN, "CartPole-v1", 40_000, 4_000, 8, options=_ZOO_CART_DQN),
    Training("sac_pendulum", SAC, "Pendulum-v1", 12_000, 5_000, 4, 100, _QUICK, 0.75),
    Training("td3_pendulum", TD3, "Pendulum-v1", 12_000, 5_000, 4, 100, _QUICK, 0.75),
    Training(
        "ppo_acrobot",
        *(PPO, "Acrobot-v1", 40_000, 25_000, 2, 250),
        {"n_steps": 1024, "gamma": 0.99, "learning_rate": 1e-3},
    ),
    Training(
        "sac_car", SAC, "MountainCarContinuous-v0", 18_000, 14_000, 2, 400, _ZOO_CAR_SAC, 0.85
    ),
)


# -- ways to break one -------------------------------------------------------------------------


def _stop_learning(model: BaseAlgorithm) -> None:
    model.lr_schedule = lambda _: 0.0


def _zero(model: BaseAlgorithm) -> None:
    """Every weight is 0, and stays so."""
    with th.no_grad():
        for parameter in model.policy.parameters():
            parameter.zero_()
    _stop_learning(model)


def _draw_anew(model: BaseAlgorithm) -> None:
    """The agent is an untrained one again, and stays so."""
    for module in model.policy.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    _stop_learning(model)


def _hundredfold_rate(model: BaseAlgorithm) -> None:
    rate = 100.0 * float(model.lr_schedule(0.5))
    model.lr_schedule = lambda _: rate


class _Flipped(gym.RewardWrapper[Any, Any]):
    """Rewards change their sign on their way to the agent; the Monitor below sees them as ever."""

    def reward(self, reward: Any) -> Any:
        return -reward


class _Mirrored(gym.ObservationWrapper[Any, Any, Any]):
    """Observations change their sign."""

    def observation(self, observation: Any) -> Any:
        return -observation


@dataclass(frozen=True, slots=True)
class Breakage:
    """What becomes of the agent, and of the environment that it sees, at one moment."""

    model: Callable[[BaseAlgorithm], None] = lambda _: None
    env: Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]] = lambda env: env


BREAKAGES = {
    "weights zeroed": Breakage(_zero),
    "weights drawn anew": Breakage(_draw_anew),
    "rate x 100": Breakage(_hundredfold_rate),
    "reward flipped": Breakage(env=_Flipped),
    "observations mirrored": Breakage(_stop_learning, _Mirrored),
}


class _Moment(BaseCallback):
    """Keeps the agent as it was after so many timesteps, and how many episodes had ended."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at
        self.saved: bytes | None = None
        self.replay: Any = None
        self.episodes = 0

    def _on_step(self) -> bool:
        if self.saved is None and self.num_timesteps >= self.at:
            file = io.BytesIO()
            self.model.save(file)
            self.saved = file.getvalue()
            if isinstance(self.model, OffPolicyAlgorithm):
                self.replay = copy.deepcopy(self.model.replay_buffer)
            self.episodes = len(self.training_env.env_method("get_episode_rewards")[0])
        return True


def train(training: Training, seed: int, folder: Path) -> None:
    """Leave `healthy.csv`, a log for each breakage, and `random.csv` in a folder.

    A log of a breakage is that of the healthy training up to there, and names the episode.
    """
    folder.mkdir(parents=True, exist_ok=True)
    env = training.make()
    model = training.algorithm(
        "MlpPolicy", env, seed=seed, device="cpu", **copy.deepcopy(training.options)
    )
    share = np.random.default_rng(seed).uniform(training.broken_from, 0.95)
    moment = _Moment(int(share * training.steps))
    model.learn(training.steps, callback=moment)
    healthy = list(zip(env.get_episode_rewards(), env.get_episode_lengths(), strict=True))
    assert moment.saved is not None
    for name, breakage in BREAKAGES.items():
        inner = training.make()
        file = io.BytesIO(moment.saved)
        broken = training.algorithm.load(file, env=breakage.env(inner), device="cpu")
        if isinstance(broken, OffPolicyAlgorithm):
            broken.replay_buffer = copy.deepcopy(moment.replay)
            broken.learning_starts = 0
        breakage.model(broken)
        with suppress(ValueError):  # NaN weights: SB3 stops, and the log with it
            broken.learn(training.after, reset_num_timesteps=False)
        rest = zip(inner.get_episode_rewards(), inner.get_episode_lengths(), strict=True)
        _write(folder / f"{name}.csv", [*healthy[: moment.episodes], *rest], moment.episodes)
    _write(folder / "random.csv", _at_random(training, seed), 0)
    _write(folder / "healthy.csv", healthy, moment.episodes)


def _at_random(training: Training, seed: int) -> list[tuple[float, int]]:
    env = training.make()
    env.action_space.seed(seed)
    for number in range(50):
        env.reset(seed=seed if number == 0 else None)
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            over = terminated or truncated
    return list(zip(env.get_episode_rewards(), env.get_episode_lengths(), strict=True))


def _write(path: Path, episodes: list[tuple[float, int]], broken_at: int) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["r", "l", broken_at])
        rows.writerows(episodes)


# -- what is said of them ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Log:
    """Episodes in the order of time: `returns` and `lengths`, shape (n,); `broken_at` is one."""

    returns: Values
    lengths: Values
    broken_at: int

    @classmethod
    def read(cls, path: Path) -> Log:
        """Read what `train` wrote."""
        with path.open(newline="") as file:
            head, *rows = csv.reader(file)
        table = np.array(rows, np.float64).reshape(-1, 2)
        return cls(table[:, 0], table[:, 1], int(head[2]))

    def __len__(self) -> int:
        return len(self.returns)

    def __getitem__(self, where: slice | np.ndarray[Any, Any]) -> Log:
        return Log(self.returns[where], self.lengths[where], self.broken_at)

    def __add__(self, other: Log) -> Log:
        returns, lengths = (self.returns, other.returns), (self.lengths, other.lengths)
        return Log(np.concatenate(returns), np.concatenate(lengths), len(self))

    @property
    def level(self) -> Values:
        """The median of each ten episodes in succession."""
        windows = np.lib.stride_tricks.sliding_window_view(self.returns, 10)
        level: Values = np.median(windows, axis=1)
        return level

    def crashes(self) -> list[int]:
        """Return the episodes in which `history` sees the return crash."""
        steps = np.cumsum(self.lengths).astype(np.int64)
        return [fall.index for fall in falls(self.returns, 0, steps)]


@dataclass(frozen=True, slots=True)
class Case:
    """A log, and in one of which episodes a crash has to be named: in none where it is None."""

    kind: str
    log: Log
    crash: range | None = None
    left: int = 0

    @property
    def verdict(self) -> tuple[bool, bool]:
        """Whether a crash is named where none is, or not where one is; and what a note says.

        That is whether there is one on a healthy log, or none on a crash that is not named.
        """
        found, is_noted = self.log.crashes(), low_end(self.log.returns) is not None
        if self.crash is None:
            return bool(found), is_noted and not found
        is_missed = not set(found) & set(self.crash)
        return is_missed, is_missed and not is_noted


def cases(folder: Path) -> Iterator[Case]:
    """Yield what one training gives: healthy logs, and those with a total collapse."""
    logs = {path.stem: Log.read(path) for path in sorted(folder.glob("*.csv"))}
    healthy, at_random = logs.pop("healthy"), logs.pop("random")
    where = _fell_by_itself(healthy, at_random)
    if where is not None:
        yield Case(FELL_BY_ITSELF, healthy, where)
        return
    draw = np.random.default_rng(len(healthy))
    yield Case("healthy", healthy)
    for tenth in range(3, 10):
        yield Case("healthy, stopped early", healthy[: len(healthy) * tenth // 10])
    late = 2 * len(healthy) // 3
    for _ in range(5):  # the last third over and over, five episodes in succession at a time
        blocks = draw.integers(late, len(healthy) - 5, 40)
        again = (blocks[:, None] + np.arange(5)).reshape(-1)
        yield Case("noisy plateau", healthy[:late] + healthy[again])
    for name, log in logs.items():
        yield from _of_break(name, log, at_random)
    for cut in draw.integers(20, len(healthy) - 20, 10):
        if _has_learned(healthy[:cut], at_random):
            yield from _spliced(healthy, int(cut), at_random, draw)


def _spliced(healthy: Log, cut: int, at_random: Log, draw: Draw) -> Iterator[Case]:
    """Yield a healthy log that a random agent goes on with, and one in which it plays a while."""
    for left in LEFT:
        low = at_random[draw.integers(0, len(at_random), left)]
        made = range(cut - _NEAR, cut + _NEAR + 1)
        yield Case("goes on at random", healthy[:cut] + low, made, left)
        log = healthy[:cut] + low + healthy[cut:]
        if left < 0.1 * len(log):
            yield Case("at random for a while", log)


def _has_learned(log: Log, at_random: Log) -> bool:
    """Return whether the last twenty episodes are, nearly each, better than those at random."""
    return bool((log.returns[-20:, None] > at_random.returns).mean() >= 0.9)


def _fell_by_itself(log: Log, at_random: Log) -> range | None:
    """Return when a training that nobody broke lost half of what it had, and did not come back."""
    floor, level = float(np.median(at_random.returns)), log.level
    high = np.flatnonzero(level >= (floor + level.max()) / 2.0)
    if len(log) - int(high[-1]) <= LEFT[-1] // 2:
        return None
    return range(int(high[-1]) - _NEAR, int(high[-1]) + 3 * _NEAR)


def _of_break(name: str, log: Log, at_random: Log) -> Iterator[Case]:
    """Yield a broken log that ends at the level of the random agent, shortened to each of `LEFT`.

    The collapse is between the break and the episode from which on all is as low.
    """
    before, rest = log[: log.broken_at], log[log.broken_at :]
    if not _has_learned(before, at_random) or len(rest) < LEFT[0]:
        return
    floor = float(np.median(at_random.returns))
    floor += _KEPT_FROM_RANDOM * (float(np.median(before.returns[-20:])) - floor)
    high = np.flatnonzero(rest.level > floor)
    since = log.broken_at + (int(high[-1]) + 1 if len(high) else 0)
    for left in LEFT:
        if since + left <= len(log):
            made = range(log.broken_at - _NEAR, since + _NEAR + 1)
            yield Case(name, log[: since + left], made, left)


# -- the table ---------------------------------------------------------------------------------

Counts = dict[tuple[str, str], dict[int, list[tuple[bool, bool]]]]
"""By training and kind of log, then by the episodes left: the verdicts."""


def count(folders: Iterable[Path]) -> Counts:
    """Return what is said wrongly about the trainings in some folders."""
    counts: Counts = {}
    for folder in folders:
        for case in cases(folder):
            of_kind = counts.setdefault((folder.name.rpartition("_")[0], case.kind), {})
            of_kind.setdefault(case.left, []).append(case.verdict)
    return counts


def show(counts: Counts, title: str) -> Table:
    """Return a table: false alarms and misses, each of how many logs.

    Where notes are not as they should be either, their number follows.
    """
    table = Table("training", "log", "false alarms", *(f"{n} left" for n in LEFT), title=title)
    whole: Counts = {}
    for (training, kind), verdicts in sorted(counts.items()):
        table.add_row(training, kind, *_cells(verdicts))
        for left, of_left in verdicts.items():
            whole.setdefault(("all", kind), {}).setdefault(left, []).extend(of_left)
    table.add_section()
    for (training, kind), verdicts in sorted(whole.items()):
        table.add_row(training, kind, *_cells(verdicts))
    return table


def _cells(verdicts: dict[int, list[tuple[bool, bool]]]) -> list[str]:
    return [_cell(verdicts[left], left) if left in verdicts else "" for left in (0, *LEFT)]


def _cell(verdicts: list[tuple[bool, bool]], left: int) -> str:
    wrong, noted = (sum(column) for column in zip(*verdicts, strict=True))
    return f"{wrong} of {len(verdicts)}" + (
        f", {noted} {'untold' if left else 'noted'}" if noted else ""
    )


def main() -> None:
    """Print the false alarms and misses of the seeds decided on, and of those held out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="train into this folder, and keep it")
    arguments = parser.parse_args()
    th.set_num_threads(1)
    console = Console()
    halves: tuple[list[Path], list[Path]] = [], []
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(max(training.seeds for training in TRAININGS)):
            for training in TRAININGS:
                if number < training.seeds:
                    seed = FIRST_SEED + number
                    folder = (arguments.keep or Path(temporary)) / f"{training.name}_{seed}"
                    if not (folder / "healthy.csv").exists():
                        train(training, seed, folder)
                        console.print(folder.name, style="dim")
                    halves[seed % 2].append(folder)
        console.print(show(count(halves[0]), "even seeds: what was decided on"))
        console.print(show(count(halves[1]), "odd seeds: held out"))


if __name__ == "__main__":
    main()
