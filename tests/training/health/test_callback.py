"""Trouble in a training is warned of once, with what preceded it; health is left in peace."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from fixtures.environments import Tracking
from sacdoctor.diagnosis.rules import entropy_collapse
from sacdoctor.training import ForcedActionWarmup, TrainingHealthCallback, WarmupGuard
from tests.conftest import ROOT, child_environment
from tests.training.health.test_crash import alternating

pytestmark = pytest.mark.slow

th.set_num_threads(1)

EPISODE_STEPS = 8


class Scripted(gym.Env[Any, Any]):
    """Pays what the script says, whatever the action: a number per episode."""

    def __init__(self, script: list[float], actions: spaces.Space[Any] | None = None) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = actions or spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._script = iter(script)
        self._pay = 0.0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._step, self._pay = 0, next(self._script, self._pay)
        return self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32), {}

    def step(self, action: Any) -> Any:
        self._step += 1
        seen = self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32)
        return seen, self._pay / EPISODE_STEPS, False, self._step == EPISODE_STEPS, {}


SCRIPT = alternating(9.0, 11.0, 30) + alternating(-3.0, -1.0, 30)
"""Falls with episode 30, which ends with step 248."""


def sac(env: Any, **more: Any) -> SAC:
    options: dict[str, Any] = {
        "learning_starts": 100,
        "batch_size": 8,
        "buffer_size": 1_000,
        "policy_kwargs": {"net_arch": [8]},
        "seed": 0,
        "device": "cpu",
    }
    return SAC("MlpPolicy", env, **{**options, **more})


def test_a_crash_is_reported_with_its_step_and_what_preceded_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    health = TrainingHealthCallback()
    sac(Scripted(SCRIPT), gradient_steps=1).learn(480, callback=health)
    (crash,) = health.crashes
    assert (crash.episode, crash.timesteps) == (30, 248)
    assert crash.before == pytest.approx(10.0)
    assert crash.preceded_by is not None
    assert (crash.preceded_by.name, crash.preceded_by.timesteps) == ("start of updates", 102)
    assert "rewards crashed in episode 30 (step 248)" in caplog.text
    assert "146 steps after the start of updates" in caplog.text
    assert [warning.kind for warning in health.findings] == ["reward-crash"]


def test_a_learning_rate_step_and_the_end_of_a_warmup_are_remembered() -> None:
    health = TrainingHealthCallback()
    env = ForcedActionWarmup(Scripted(SCRIPT), steps=40)
    model = sac(env, learning_rate=lambda left: 1e-3 if left > 0.5 else 1e-4)
    model.learn(480, callback=[WarmupGuard(40, verbose=0), health])
    assert [event.name for event in health.history] == [
        "end of warm-up",
        "start of updates",
        "learning-rate step from 0.001 to 0.0001",
    ]
    assert health.history[0].timesteps == 41
    assert health.history[2].timesteps in (240, 241, 242)
    assert health.crashes[0].preceded_by == health.history[2]


def test_training_stops_and_the_model_is_saved_at_the_crash(tmp_path: Path) -> None:
    health = TrainingHealthCallback(stop_on_crash=True, save_path=tmp_path / "crashes")
    model = sac(Scripted(SCRIPT), gradient_steps=0)
    model.learn(480, callback=health)
    found = health.crashes[0].found_at
    assert model.num_timesteps == found == 50 * EPISODE_STEPS
    saved = SAC.load(tmp_path / "crashes" / f"crash_{found}_steps.zip")
    assert saved.num_timesteps == found


def test_forced_episodes_are_not_the_agents() -> None:
    health = TrainingHealthCallback()
    env = ForcedActionWarmup(Scripted(SCRIPT), steps=30 * EPISODE_STEPS)
    sac(env, gradient_steps=0).learn(480, callback=health)
    assert health.findings == []


class LoggedValues(BaseCallback):
    """Puts values of one's own into the logger after each update, before health looks at them."""

    def __init__(self, **series: Any) -> None:
        super().__init__()
        self.series = series

    def _on_step(self) -> bool:
        for name, value in self.series.items():
            self.logger.record(f"train/{name}", value(self.num_timesteps))
        return True


@pytest.mark.parametrize(
    ("logged", "kind", "quantity", "said"),
    [
        ({"actor_loss": lambda n: -2.0 * 1.02**n}, "growth", "train/actor_loss", "Q-values grew"),
        ({"critic_loss": lambda n: 5.0 * 1.02**n}, "growth", "train/critic_loss", "critic_loss"),
        ({"critic_loss": lambda n: math.nan}, "non-finite", "train/critic_loss", "is nan"),
        ({"ent_coef": lambda n: 10.0 ** -(n / 60)}, "entropy", "train/ent_coef", "has sunk"),
    ],
)
def test_values_that_run_away_are_warned_about_once(
    logged: Any, kind: str, quantity: str, said: str
) -> None:
    health = TrainingHealthCallback()
    sac(Scripted([8.0] * 60)).learn(480, callback=[LoggedValues(**logged), health])
    (warning,) = health.findings
    assert (warning.kind, warning.quantity) == (kind, quantity)
    assert said in warning.message
    if kind == "entropy":
        assert warning.value < entropy_collapse.WARNING


def test_trouble_that_comes_back_is_told_again() -> None:
    health = TrainingHealthCallback()
    sunk = LoggedValues(ent_coef=lambda n: 1e-7 if n % 200 > 150 else 0.1)
    sac(Scripted([8.0] * 60)).learn(400, callback=[sunk, health])
    assert [warning.timesteps for warning in health.findings] == [151, 351]


def test_a_fixed_entropy_coefficient_is_the_users_business() -> None:
    health = TrainingHealthCallback()
    sac(Scripted([8.0] * 60), ent_coef=1e-8).learn(200, callback=health)
    assert health.findings == []


def test_actions_that_no_longer_vary_are_warned_about() -> None:
    health = TrainingHealthCallback()
    model = TD3(
        "MlpPolicy",
        Scripted([8.0] * 300),
        learning_starts=100,
        learning_rate=1e-9,
        batch_size=8,
        buffer_size=2_000,
        policy_kwargs={"net_arch": [8]},
        train_freq=50,
        seed=0,
        device="cpu",
    )
    with th.no_grad():
        for parameter in model.actor.parameters():
            parameter.zero_()
    model.learn(2_300, callback=health)
    (warning,) = health.findings
    assert (warning.kind, warning.limit) == ("action-std", 0.2)
    assert warning.value < 0.01


def test_the_sharpe_ratio_is_logged_where_it_is_wanted() -> None:
    class Peek(BaseCallback):
        seen: float = math.nan

        def _on_step(self) -> bool:
            self.seen = self.logger.name_to_value.get("sacdoctor/sharpe", self.seen)
            return True

    for sharpe in (True, False):
        peek = Peek()
        model = sac(Scripted([1.0, 3.0, 3.0]), gradient_steps=0)
        model.learn(17, callback=[TrainingHealthCallback(sharpe=sharpe), peek], log_interval=100)
        assert math.isnan(peek.seen) is not sharpe
        if sharpe:
            assert peek.seen == pytest.approx(2.0 / math.sqrt(2.0), rel=1e-5)


def test_a_policy_that_is_broken_while_it_trains_crashes_for_real() -> None:
    class Break(BaseCallback):
        """Turns the policy's preference round: what it thought best becomes its worst."""

        def _on_step(self) -> bool:
            if self.num_timesteps == 6_144:
                with th.no_grad():
                    self.model.policy.action_net.weight.mul_(-3.0)
            return True

    health = TrainingHealthCallback()
    model = PPO("MlpPolicy", Tracking("discrete"), n_steps=512, n_epochs=5, **small(3e-3))
    model.learn(7_168, callback=[Break(), health])
    (crash,) = health.crashes
    assert 6_144 < crash.timesteps < crash.found_at < 7_168
    assert crash.after < crash.before / 2


def small(learning_rate: float) -> dict[str, Any]:
    nets = {"net_arch": [32, 32]}
    return {"policy_kwargs": nets, "learning_rate": learning_rate, "seed": 0, "device": "cpu"}


@pytest.mark.parametrize(
    ("build", "steps"),
    [
        (lambda: PPO("MlpPolicy", "CartPole-v1", n_steps=256, n_epochs=5, **small(1e-3)), 6_000),
        (lambda: DQN("MlpPolicy", "CartPole-v1", learning_starts=500, **small(1e-3)), 6_000),
        (lambda: SAC("MlpPolicy", "Pendulum-v1", batch_size=64, **small(1e-3)), 1_500),
        (lambda: TD3("MlpPolicy", "Pendulum-v1", batch_size=64, **small(1e-3)), 1_500),
        (lambda: A2C("MlpPolicy", Tracking(), n_steps=32, **small(7e-4)), 5_000),
    ],
    ids=["PPO", "DQN", "SAC", "TD3", "A2C"],
)
def test_healthy_training_is_left_in_peace(build: Any, steps: int) -> None:
    health = TrainingHealthCallback(sharpe=True)
    build().learn(steps, callback=health)
    assert health.findings == []


def test_watching_does_not_disturb() -> None:
    def weights(callback: Any) -> dict[str, Any]:
        model = sac(Tracking())
        model.learn(300, callback=callback)
        return model.policy.state_dict()

    plain, watched = weights(None), weights(TrainingHealthCallback(sharpe=True))
    assert all(th.equal(plain[name], watched[name]) for name in plain)


def bare(env: Any) -> DummyVecEnv:
    """SB3 puts its Monitor around an environment that it makes, not around a vectorised one."""
    return DummyVecEnv([lambda: env])


def test_without_a_monitor_episodes_are_counted_and_it_is_said_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    health = TrainingHealthCallback()
    env = VecNormalize(bare(Scripted(SCRIPT)))
    model = sac(env, gradient_steps=0)
    model.learn(480, callback=health)
    model.learn(40, callback=health, reset_num_timesteps=False)
    (crash,) = health.crashes
    assert crash.before == pytest.approx(10.0)  # as the environment pays, not as it is normalised
    assert crash.after == pytest.approx(-2.0)
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("sacdoctor: ") for line in lines)
    assert sum("no Monitor" in line for line in lines) == 1
    assert [line for line in lines if "health:" in line] == [
        "sacdoctor: health: 60 episodes watched, reward-crash found",
        "sacdoctor: health: 5 episodes watched, nothing found",
    ]


def test_another_models_level_is_its_own() -> None:
    """What one model earned says nothing of the next, nor does another environment."""
    health = TrainingHealthCallback(verbose=0)
    model = sac(Scripted([10.0] * 40), gradient_steps=0)
    model.learn(320, callback=health)
    other = sac(Scripted([-2.0] * 40), gradient_steps=0)
    other.learn(320, callback=health)
    model.set_env(DummyVecEnv([lambda: Monitor(Scripted([-2.0] * 40))]))
    model.learn(320, callback=health)
    assert health.findings == []
    model.set_env(DummyVecEnv([lambda: Monitor(Scripted(SCRIPT))]))
    model.learn(240, callback=health)
    model.learn(240, callback=health)  # the same environment: 30 good episodes, then bad ones
    assert [finding.kind for finding in health.findings] == ["reward-crash"]


def test_a_warning_is_one_line_with_the_packages_name_whether_anybody_listens_or_not() -> None:
    """In a process of its own: pytest listens to everything that is logged."""
    script = (
        "import logging, sys\n"
        "from tests.training.health.test_callback import *\n"
        "for listen in (lambda: None, logging.basicConfig):\n"
        "    listen()\n"
        "    health = TrainingHealthCallback()\n"
        "    sac(Scripted(SCRIPT), gradient_steps=0).learn(480, callback=health)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    alone, heard = [line for line in done.stderr.splitlines() if "crashed" in line]
    assert alone.startswith("sacdoctor: at 400 steps: ")
    assert heard.startswith("WARNING:sacdoctor:")
    said = "sacdoctor: health: 60 episodes watched, reward-crash found\n"
    assert done.stdout == 2 * said
