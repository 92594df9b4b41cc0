"""Forced heads found in buffers that SB3 filled, to the step, and no healthy buffer accused."""

from __future__ import annotations

import pickle
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from fixtures.environments import Tracking
from sacdoctor.diagnosis.warmup import WarmupReport, audit_warmup
from sacdoctor.training import ExecutedActionReplayBuffer, ForcedActionWarmup
from tests.replay_buffers import FORCED, KINDS, Run, of_kind, small, tracking

pytestmark = pytest.mark.slow


def audited(run: Run, tmp_path: Path) -> WarmupReport:
    return audit_warmup(run.save(tmp_path))


def rules(report: WarmupReport) -> set[str]:
    return {finding.rule for finding in report.findings}


# -- forced heads ------------------------------------------------------------------------------


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("learning_starts", [20, 300])
def test_actions_that_were_not_carried_out_are_found_to_the_step(
    tmp_path: Path, n_envs: int, learning_starts: int
) -> None:
    run = tracking(n_envs=n_envs, steps=600 * n_envs, learning_starts=learning_starts)
    report = audited(run, tmp_path)
    head, forced = report.forced_head, FORCED * n_envs
    assert head is not None
    assert (head.stored, head.action) == ("varied", None)
    assert (head.earliest, head.transitions, head.latest) == (forced, forced, forced)
    assert report.share == pytest.approx(forced / run.model.num_timesteps)
    assert report.updates_during_forced == run.updates_by(forced)
    assert ("SD501" in rules(report)) == (learning_starts < forced)


@pytest.mark.parametrize("n_envs", [1, 3])
def test_a_constant_action_is_found_to_the_step(tmp_path: Path, n_envs: int) -> None:
    run = tracking(0.25, n_envs=n_envs, executed=True)
    report = audited(run, tmp_path)
    assert report.forced_head is not None
    assert report.forced_head.stored == "constant"
    assert report.forced_head.transitions == FORCED * n_envs
    assert report.forced_head.action == (0.25, 0.25)
    assert report.updates_during_forced == run.updates_by(FORCED * n_envs)


def test_a_discrete_action_that_was_not_carried_out_is_found(tmp_path: Path) -> None:
    report = audited(tracking(2, discrete=True, learning_starts=250), tmp_path)
    assert report.forced_head is not None
    assert report.forced_head.earliest <= FORCED <= report.forced_head.latest


def repeated(tmp_path: Path, *runs: slice) -> Path:
    """Save a buffer of a forced discrete action, which the agent chooses in `runs` alone."""
    run = tracking(2, discrete=True, executed=True)
    buffer = deepcopy(run.buffer)
    buffer.actions[FORCED:600, 0, 0] = np.arange(FORCED, 600) % 2
    for chosen in runs:
        buffer.actions[chosen] = 2
    run.model.save(tmp_path / "buffer.zip")
    path = tmp_path / "buffer.pkl"
    path.write_bytes(pickle.dumps(buffer))
    return path


def test_an_agent_may_go_on_with_a_forced_action(tmp_path: Path) -> None:
    path = repeated(tmp_path, slice(FORCED, FORCED + 20), slice(300, 330))
    report, run = audit_warmup(path), tracking(2, discrete=True, executed=True)
    head = report.forced_head
    assert head is not None
    assert (head.earliest, head.latest) == (FORCED + 20 - 30, FORCED + 20)
    assert (head.transitions, head.rows) == (head.latest, head.latest)
    assert report.updates_during_forced == run.updates_by(head.latest)
    assert any(
        f"{run.updates_by(head.earliest):,} to {run.updates_by(head.latest):,}" in note
        for note in report.notes
    )


def test_a_suspected_head_is_noticed_and_not_counted(tmp_path: Path) -> None:
    report = audit_warmup(repeated(tmp_path, slice(300, 400)))
    assert (report.forced_head, report.share, report.updates_during_forced) == (None, None, None)
    assert (report.status, report.findings) == ("notice", ())
    assert FORCED in {doubt.boundary for doubt in report.doubts}


class Linear(gym.Env[Any, Any]):
    """A noisy linear system whose quadratic cost spreads with the state."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gym.spaces.Box(-2.0, 2.0, (2,), np.float32)
    by_action = 0.3 * np.array([[0.1, -0.1], [0.6, 0.1], [-0.5, 0.4]])

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._state, self._steps = self.np_random.normal(size=3) / 2, 0
        return self._state.astype(np.float32), {}

    def step(self, action: Any) -> Any:
        noise = 0.05 * self.np_random.normal(size=3)
        self._state = 0.9 * self._state + self.by_action @ action + noise
        self._steps += 1
        cost = float((self._state**2).sum())
        return self._state.astype(np.float32), -cost, False, self._steps == 50, {}


@pytest.mark.parametrize("n_envs", [1, 4])
def test_a_head_is_found_where_single_transitions_say_little(tmp_path: Path, n_envs: int) -> None:
    forced, steps = 400, 1_000
    envs = DummyVecEnv([lambda: ForcedActionWarmup(Linear(), forced)] * n_envs)
    model = SAC("MlpPolicy", envs, seed=2, learning_starts=0, train_freq=8, **small())
    report = audited(Run(model.learn(steps * n_envs)), tmp_path)
    head = report.forced_head
    assert head is not None
    assert head.earliest <= forced * n_envs <= head.latest
    assert head.latest - head.earliest <= 0.1 * forced * n_envs


def test_a_head_that_is_overwritten_in_part_counts_what_is_left(tmp_path: Path) -> None:
    run = tracking(executed=True, capacity=500)
    report = audited(run, tmp_path)
    left = FORCED - (run.model.num_timesteps - 500)
    assert report.forced_head is not None
    assert report.forced_head.transitions == left == 50
    assert report.share == pytest.approx(left / 500)
    assert report.updates_during_forced == run.updates_by(FORCED)


def test_a_head_that_is_overwritten_is_gone(tmp_path: Path) -> None:
    report = audited(tracking(executed=True, capacity=400), tmp_path)
    assert (report.forced_head, report.share, report.findings) == (None, 0.0, ())


def test_a_buffer_that_is_forced_from_end_to_end(tmp_path: Path) -> None:
    run = tracking(0.0, steps=100, executed=True)
    report = audited(run, tmp_path)
    assert report.share == 1.0
    assert {f.rule: f.severity.value for f in report.findings} == {
        "SD503": "critical",
        "SD501": "critical",
    }


def test_long_warmup_is_judged_by_the_buffer(tmp_path: Path) -> None:
    run = tracking(0.0, steps=200, executed=True)
    buffer = copy(run.buffer)
    buffer.buffer_size = 12_000
    for name in ("observations", "next_observations", "actions", "rewards", "dones", "timeouts"):
        array = getattr(buffer, name)
        setattr(buffer, name, np.resize(array[:FORCED], (12_000, *array.shape[1:])))
    buffer.pos = 10_001
    path = tmp_path / "replay_buffer.pkl"
    path.write_bytes(pickle.dumps(buffer))
    assert rules(audit_warmup(path)) == {"SD502", "SD503"}


# -- healthy buffers ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_buffer_is_accused(tmp_path: Path, kind: str) -> None:
    report = audited(of_kind(kind), tmp_path)
    assert (report.forced_head, report.findings) == (None, ())
    assert report.share == (None if report.notes else 0.0)
    assert report.status == ("unknown" if report.notes else "healthy")


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("learning_starts", [20, 300])
def test_the_random_phase_of_sb3_is_not_forced(
    tmp_path: Path, discrete: bool, learning_starts: int
) -> None:
    run = tracking(None, discrete=discrete, learning_starts=learning_starts)
    report = audited(run, tmp_path)
    assert (report.forced_head, report.findings) == (None, ())


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [("MountainCarContinuous-v0", SAC), ("CartPole-v1", DQN), ("Pendulum-v1", SAC)],
)
def test_usual_environments_are_not_accused(tmp_path: Path, name: str, algorithm: Any) -> None:
    model = algorithm("MlpPolicy", name, seed=2, learning_starts=200, buffer_size=1_000, **small())
    model.train_freq = type(model.train_freq)(20, model.train_freq.unit)
    report = audited(Run(model.learn(900)), tmp_path)
    assert (report.forced_head, report.findings) == (None, ())


class Idle(gym.Env[Any, Any]):
    """Nothing follows the action."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._state = self.np_random.normal(size=2)
        return self._state.astype(np.float32), {}

    def step(self, action: Any) -> Any:
        self._state = np.sin(3.0 * self._state[::-1]) + 0.1 * self.np_random.normal(size=2)
        reward = float(np.sin(4.0 * self._state.sum()))
        return self._state.astype(np.float32), reward, False, self.np_random.random() < 0.02, {}


def test_where_actions_do_nothing_nothing_is_said(tmp_path: Path) -> None:
    model = SAC("MlpPolicy", Idle(), seed=3, learning_starts=300, train_freq=4, **small())
    report = audited(Run(model.learn(900)), tmp_path)
    assert (report.forced_head, report.findings) == (None, ())
    assert report.notes


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, 0.0])
@pytest.mark.parametrize("name", ["observations", "next_observations", "actions", "rewards"])
def test_odd_numbers_give_an_answer(tmp_path: Path, name: str, value: float) -> None:
    run = tracking()
    buffer = copy(run.buffer)
    array = getattr(buffer, name).copy()
    array[:FORCED] = value
    setattr(buffer, name, array)
    path = tmp_path / "buffer.pkl"
    path.write_bytes(pickle.dumps(buffer))
    assert audit_warmup(path).transitions == 600


# -- updates -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train_freq", "gradient_steps"), [(1, 1), (7, 2), (4, -1), (32, -1), ((1, "episode"), -1)]
)
def test_updates_are_counted_as_sb3_made_them(
    tmp_path: Path, train_freq: Any, gradient_steps: int
) -> None:
    run = tracking(
        executed=True,
        steps=400,
        train_freq=train_freq,
        gradient_steps=gradient_steps,
        learning_starts=50,
    )
    assert audited(run, tmp_path).updates_during_forced == run.updates_by(FORCED) > 0


@pytest.mark.parametrize("n_envs", [1, 2])
def test_what_a_callback_saves_between_two_steps_fits_together(tmp_path: Path, n_envs: int) -> None:

    def env() -> Any:
        return ForcedActionWarmup(Tracking(), FORCED)

    model = SAC(
        "MlpPolicy",
        DummyVecEnv([env] * n_envs),
        seed=1,
        learning_starts=40,
        train_freq=4,
        buffer_size=1_000,
        replay_buffer_class=ExecutedActionReplayBuffer,
        **small(),
    )
    model.learn(402 * n_envs, CheckpointCallback(200, str(tmp_path), save_replay_buffer=True))
    steps = 200 * n_envs
    report = audit_warmup(tmp_path / f"rl_model_{steps}_steps.zip")
    assert report.buffer == str(tmp_path / f"rl_model_replay_buffer_{steps}_steps.pkl")
    assert report.transitions == steps - n_envs
    assert report.updates_during_forced == FORCED // 4 - 40 // (4 * n_envs)
    newest = audit_warmup(tmp_path)
    assert newest.checkpoint == str(tmp_path / f"rl_model_{2 * steps}_steps.zip")


def test_a_run_that_was_resumed_gives_no_number(tmp_path: Path) -> None:
    run = tracking(executed=True, steps=399)
    run.model._n_updates += 5
    try:
        report = audited(run, tmp_path)
    finally:
        run.model._n_updates -= 5
    assert report.updates_during_forced is None
    assert any("resumed" in note for note in report.notes)


def test_a_checkpoint_of_another_moment_gives_no_number(tmp_path: Path) -> None:
    path = tracking(executed=True).save(tmp_path)
    other = tracking(executed=True, steps=399)
    other.model.save(tmp_path / "other.zip")
    report = audit_warmup(path, checkpoint=tmp_path / "other.zip")
    assert report.forced_head is not None
    assert report.updates_during_forced is None
    assert any("do not fit" in note for note in report.notes)


def test_without_a_checkpoint_updates_are_not_counted(tmp_path: Path) -> None:
    path = tracking(executed=True).save(tmp_path)
    path.with_name("model.zip").unlink()
    report = audit_warmup(path)
    assert (report.checkpoint, report.updates_during_forced) == (None, None)
    assert rules(report) == {"SD503"}
