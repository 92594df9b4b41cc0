"""No update before the warm-up is over, the first one right after it, and nothing left behind."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium.wrappers import RescaleAction
from sb3_contrib import ARS, TQC, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3, HerReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from fixtures.environments import Tracking
from sacdoctor.training import ExecutedActionReplayBuffer, ForcedActionWarmup, WarmupGuard

pytestmark = pytest.mark.slow

th.set_num_threads(1)

OFF_POLICY: dict[str, Any] = {"learning_starts": 10, "batch_size": 8, "buffer_size": 500}
ON_POLICY: dict[str, Any] = {"n_steps": 16}
SETTINGS: dict[type[Any], dict[str, Any]] = {
    SAC: OFF_POLICY,
    TD3: OFF_POLICY,
    TQC: OFF_POLICY,
    DQN: {**OFF_POLICY, "train_freq": 1, "target_update_interval": 1},
    PPO: {**ON_POLICY, "batch_size": 16, "n_epochs": 2},
    A2C: ON_POLICY,
    RecurrentPPO: {**ON_POLICY, "batch_size": 16, "n_epochs": 2},
}
STEPS = 48
"""The warm-up of these tests: three rollouts of the on-policy algorithms."""


class Witness(BaseCallback):
    """Counts optimizer steps and compares the weights with the start, before every step.

    `first_change` is the number of timesteps at which changed weights were first in use.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first_change: int | None = None
        self.optimizer_steps_at: list[int] = []

    def _on_training_start(self) -> None:
        self._start = {name: value.clone() for name, value in self._weights()}
        for module in (self.model.policy, *self.model.policy.modules()):
            optimizer = getattr(module, "optimizer", None)
            if optimizer is not None:
                optimizer.register_step_post_hook(
                    lambda *_: self.optimizer_steps_at.append(self.model.num_timesteps)
                )

    def _on_step(self) -> bool:
        same = all(th.equal(value, self._start[name]) for name, value in self._weights())
        if self.first_change is None and not same:
            self.first_change = self.num_timesteps
        return True

    def _weights(self) -> Any:
        return self.model.policy.state_dict().items()


class Explorer(BaseCallback):
    """Keeps the actions that the agent chose."""

    def __init__(self) -> None:
        super().__init__()
        self.actions: list[Any] = []

    def _on_step(self) -> bool:
        self.actions.append(np.array(self.locals["actions"]))
        return True


def build(algorithm: Any, copies: int = 1, steps: int = STEPS, **more: Any) -> Any:
    kind = "discrete" if algorithm is DQN else "continuous"
    venv = DummyVecEnv([lambda: ForcedActionWarmup(Tracking(kind), steps=steps)] * copies)
    recurrent = algorithm is RecurrentPPO
    nets: dict[str, Any] = {"net_arch": [8]}
    if recurrent:
        nets["lstm_hidden_size"] = 4
    policy = "MlpLstmPolicy" if recurrent else "MlpPolicy"
    options = {**SETTINGS[algorithm], "policy_kwargs": nets, "seed": 0, "device": "cpu", **more}
    return algorithm(policy, venv, **options)


def guard(steps: int = STEPS, strategy: Any = "no-update") -> WarmupGuard:
    return WarmupGuard(steps, strategy, verbose=0)


@pytest.mark.parametrize("strategy", ["no-update", "random", "clear"])
@pytest.mark.parametrize("algorithm", SETTINGS)
def test_the_first_update_comes_right_after_the_warmup(algorithm: Any, strategy: Any) -> None:
    model, witness, watcher = build(algorithm), Witness(), guard(strategy=strategy)
    model.learn(96, callback=[watcher, witness])
    on_policy = algorithm in (PPO, A2C, RecurrentPPO)
    first = STEPS + (16 if on_policy else 1)
    assert watcher.updates_began_at == first
    assert witness.optimizer_steps_at[0] == first
    assert witness.first_change is not None
    assert witness.first_change >= first + 1
    if algorithm is not TD3:  # TD3's first update is of its critic, whose weights change too
        assert witness.first_change == first + 1


@pytest.mark.parametrize("algorithm", [SAC, TD3, DQN, PPO])
def test_weights_and_counters_at_the_end_of_the_warmup_are_those_of_the_start(
    algorithm: Any,
) -> None:
    model = build(algorithm)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(STEPS, callback=guard())
    assert all(th.equal(value, before[name]) for name, value in model.policy.state_dict().items())
    assert model._n_updates == 0
    assert type(model) is algorithm


def test_without_the_guard_sb3_updates_during_the_warmup() -> None:
    model, witness = build(SAC), Witness()
    model.learn(STEPS, callback=witness)
    assert witness.optimizer_steps_at[0] == 11


def test_later_learning_starts_of_the_users_own_hold() -> None:
    model, watcher = build(SAC, learning_starts=60), guard()
    model.learn(70, callback=watcher)
    assert watcher.updates_began_at == 61


def test_copies_of_the_environment_are_waited_for_together() -> None:
    model, witness, watcher = build(SAC, copies=3), Witness(), guard()
    model.learn(240, callback=[watcher, witness])
    assert witness.optimizer_steps_at[0] == watcher.updates_began_at == 3 * STEPS + 3


def test_a_rollout_with_any_forced_step_in_it_is_not_learned_from() -> None:
    model, watcher = build(PPO, steps=20), guard(20)
    model.learn(64, callback=watcher)  # rollouts of 16: the second one ends at 32
    assert watcher.updates_began_at == 48


def test_infos_that_say_forced_prolong_the_warmup() -> None:
    model, watcher = build(SAC, steps=0), guard(20)
    inner = model.get_env().envs[0]
    while not isinstance(inner, ForcedActionWarmup):
        inner = inner.env

    class Silent(type(inner.env)):  # type: ignore[misc]
        def step(self, action: Any) -> Any:
            *rest, info = super().step(action)
            self.taken = getattr(self, "taken", 0) + 1
            return (*rest, {**info, "forced": self.taken <= 30})

    venv = DummyVecEnv([lambda: Silent("continuous")])
    model.set_env(venv)
    model.learn(50, callback=watcher)
    assert watcher.updates_began_at == 31


def test_no_update_leaves_exploration_alone_and_random_draws_from_the_space() -> None:
    def chosen(callback: Any, **more: Any) -> Any:
        model, explorer = build(SAC, **more), Explorer()
        model.learn(STEPS, callback=[*callback, explorer])
        return np.array(explorer.actions)

    own = chosen([], learning_starts=STEPS)  # SB3's own random actions
    np.testing.assert_array_equal(chosen([guard(strategy="random")]), own)
    held = chosen([guard()])
    np.testing.assert_array_equal(held[:10], own[:10])  # learning_starts is 10
    assert not np.array_equal(held[10:], own[10:])
    policys = chosen([], gradient_steps=0)
    np.testing.assert_array_equal(held, policys)


@pytest.mark.parametrize("frequency", [1, 7])
@pytest.mark.parametrize("strategy", ["no-update", "random", "clear"])
def test_only_clear_empties_the_buffer_of_its_forced_transitions(
    strategy: Any, frequency: int
) -> None:
    model = build(SAC, train_freq=frequency, replay_buffer_class=ExecutedActionReplayBuffer)
    model.learn(70, callback=guard(strategy=strategy))
    buffer = model.replay_buffer
    if strategy == "clear":
        assert buffer.pos == 70 - STEPS
        assert (buffer.actions[: buffer.pos] != 0.0).any(axis=(1, 2)).all()
    else:
        assert buffer.pos == 70
        assert (buffer.actions[:STEPS] == 0.0).all()


def test_a_model_past_the_warmup_updates_at_once(tmp_path: Path) -> None:
    model = build(SAC)
    model.learn(60, callback=guard())
    model.save(tmp_path / "model")
    fresh = DummyVecEnv([lambda: ForcedActionWarmup(Tracking(), steps=STEPS)])

    resumed, watcher, witness = SAC.load(tmp_path / "model", env=fresh), guard(), Witness()
    resumed.learn(5, callback=[watcher, witness], reset_num_timesteps=False)
    assert watcher.updates_began_at == witness.optimizer_steps_at[0] == 61
    assert not any(info["forced"] for info in fresh.buf_infos)
    assert watcher.findings == ()


def test_a_loaded_model_whose_counter_starts_anew_updates_at_once(tmp_path: Path) -> None:
    model = build(SAC)
    model.learn(60, callback=guard())
    model.save(tmp_path / "model")
    loaded, watcher = SAC.load(tmp_path / "model", env=build(SAC).get_env()), guard()
    loaded.learn(20, callback=watcher)
    assert watcher.updates_began_at == 11  # its learning_starts, the counter being 0 again


def test_a_loaded_buffer_that_holds_the_warmup_is_warmup_enough(tmp_path: Path) -> None:
    model = build(SAC)
    model.learn(60, callback=guard())
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    fresh, watcher = build(SAC), guard()
    fresh.load_replay_buffer(tmp_path / "buffer.pkl")
    fresh.learn(20, callback=watcher)
    assert watcher.updates_began_at == 11


def test_a_run_resumed_within_the_warmup_does_the_rest_of_it(tmp_path: Path) -> None:
    model = build(SAC)
    model.learn(30, callback=guard())
    model.save(tmp_path / "model")
    fresh = DummyVecEnv([lambda: ForcedActionWarmup(Tracking(), steps=STEPS)])
    resumed, watcher, witness = SAC.load(tmp_path / "model", env=fresh), guard(), Witness()
    resumed.learn(40, callback=[watcher, witness], reset_num_timesteps=False)
    assert watcher.updates_began_at == witness.optimizer_steps_at[0] == STEPS + 1


def test_a_second_learn_of_the_same_model_does_not_warm_up_again() -> None:
    model, watcher = build(PPO), guard()
    model.learn(64, callback=watcher)
    model.learn(16, callback=watcher, reset_num_timesteps=False)
    assert watcher.updates_began_at == 80


class SaveEverywhere(BaseCallback):
    """Saves in every hook that a callback has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.saved = 0

    def _save(self) -> None:
        self.model.save(self.path / f"{self.saved}")
        self.saved += 1

    def _on_training_start(self) -> None:
        self._save()

    def _on_rollout_start(self) -> None:
        self._save()

    def _on_step(self) -> bool:
        if self.n_calls % 6 == 0:
            self._save()
        return True

    def _on_rollout_end(self) -> None:
        self._save()


@pytest.mark.parametrize("strategy", ["no-update", "random"])
@pytest.mark.parametrize("algorithm", [SAC, PPO])
def test_a_model_saved_while_guarded_holds_nothing_of_the_guard(
    tmp_path: Path, algorithm: Any, strategy: Any
) -> None:
    model = build(algorithm, **({"train_freq": 8} if algorithm is SAC else {}))
    before = set(vars(model))
    saver = SaveEverywhere(tmp_path)
    model.learn(32, callback=[guard(strategy=strategy), saver])
    assert set(vars(model)) - before <= {"_logger", "start_time"}
    assert saver.saved > 8
    for number in range(saver.saved):
        loaded = algorithm.load(tmp_path / f"{number}", env=build(algorithm, steps=0).get_env())
        assert type(loaded) is algorithm
        assert "train" not in vars(loaded)
        assert loaded.n_steps == model.n_steps
        if algorithm is SAC:
            assert (loaded.learning_starts, loaded.gradient_steps) == (10, 1)
    loaded.learn(32)
    assert loaded._n_updates > 0


def test_an_interrupted_training_leaves_a_model_that_trains() -> None:
    class Interrupt(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps == 30:
                raise KeyboardInterrupt
            return True

    model = build(SAC)
    with pytest.raises(KeyboardInterrupt):
        model.learn(60, callback=[guard(strategy="random"), Interrupt()])
    assert type(model) is SAC
    model.learn(30, reset_num_timesteps=False)
    assert model._n_updates > 0
    assert model.learning_starts == 10


def test_early_updates_and_long_warmups_are_reported_at_the_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = build(SAC, steps=12_000)
    watcher = guard(12_000)
    model.learn(3, callback=watcher)
    assert [finding.code for finding in watcher.findings] == ["SD501", "SD502"]
    assert "SD501 updates-during-warmup: updates would begin after 10 steps" in caplog.text
    assert "SD502 long-warmup: a warm-up of 12,000 steps" in caplog.text
    caplog.clear()
    executed = {"replay_buffer_class": ExecutedActionReplayBuffer}
    build(SAC, learning_starts=5_000, steps=5_000, **executed).learn(3, callback=guard(5_000))
    assert not caplog.records


def test_a_plain_buffer_is_named_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    build(SAC).learn(3, callback=guard())
    assert "ReplayBuffer stores those that the agent chose" in caplog.text
    caplog.clear()
    build(SAC, steps=0).learn(3, callback=guard(0))  # nothing is forced
    build(PPO).learn(3, callback=guard())  # nothing is stored
    assert "stores those" not in caplog.text


@pytest.mark.parametrize(("inside", "named"), [(True, False), (False, True)])
def test_a_wrapper_of_actions_outside_of_the_forcing_one_is_named_at_the_start(
    inside: bool, named: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def make() -> Any:
        env = Tracking()
        if inside:
            return ForcedActionWarmup(RescaleAction(env, -5.0, 5.0), steps=STEPS)
        return RescaleAction(ForcedActionWarmup(env, steps=STEPS), -5.0, 5.0)

    SAC("MlpPolicy", DummyVecEnv([make]), buffer_size=100, device="cpu").learn(3, callback=guard())
    assert ("a wrapper outside of it" in caplog.text) is named


def test_a_wrapper_of_another_length_is_reported_and_the_later_end_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watcher = guard(30)
    build(SAC).learn(60, callback=watcher)
    assert "forces 48 steps" in caplog.text
    assert "warmup_steps=30" in caplog.text
    assert watcher.updates_began_at == 49


@pytest.mark.parametrize("listened_to", [True, False])
def test_the_step_at_which_updates_begin_is_said_once(
    listened_to: bool, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    if listened_to:
        caplog.set_level(logging.INFO, "sacdoctor")
    model = build(SAC)
    recorded: dict[str, Any] = {}

    class Peek(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            recorded.update(self.logger.name_to_value)

    model.learn(50, callback=[WarmupGuard(STEPS), Peek()])
    assert recorded["sacdoctor/updates_begin_at"] == 49
    said = "updates begin at step 49"
    printed = capsys.readouterr().out.splitlines()
    assert (said in caplog.text) is listened_to
    assert printed.count(f"sacdoctor: {said}") == (not listened_to)


def test_what_cannot_be_guarded_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        WarmupGuard(-1)
    with pytest.raises(ValueError, match="no-update, random, clear"):
        WarmupGuard(strategy="hope")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="ARS"):
        ARS("MlpPolicy", Tracking()).learn(10, callback=guard())


def test_clear_is_refused_for_hindsight_buffers() -> None:
    model = build(SAC)
    model.replay_buffer = HerReplayBuffer.__new__(HerReplayBuffer)
    with pytest.raises(ValueError, match="HerReplayBuffer"):
        guard(strategy="clear").init_callback(model)
