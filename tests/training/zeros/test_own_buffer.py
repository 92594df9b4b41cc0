"""Dead biases of a model that trains are fitted to its own replay buffer, where that pays."""

from __future__ import annotations

import logging

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC

from fixtures.faulty_training import train, zero
from tests.repair.test_refit import act, agent
from tests.training.gradients.test_guard import weights
from tests.training.injured import system


@pytest.fixture(scope="module")
def model() -> SAC:
    """One whose buffer is of its policy alone."""
    made: SAC = agent(SAC, "MlpPolicy", gym.make("Pendulum-v1"))
    made.num_timesteps = 1500
    return made


@pytest.mark.slow
def test_a_dead_actor_comes_back_from_the_models_own_transitions(
    model: SAC, caplog: pytest.LogCaptureFixture
) -> None:
    seen = th.as_tensor(model.replay_buffer.observations[:1000, 0])
    healthy = act(model, seen).detach()
    kept = {name: value.clone() for name, value in model.policy.state_dict().items()}
    names = [n for n, _ in model.policy.named_parameters() if n.endswith("bias")]
    zero("*.bias")(model)
    dead = act(model, seen).detach()
    others = {name: value for name, value in weights(model).items() if name not in names}
    callback = system()
    callback.init_callback(model)
    model.policy.set_training_mode(True)
    th.manual_seed(3)
    np.random.seed(3)
    with caplog.at_level(logging.INFO, logger="sacdoctor"):
        check = callback.check()
    drawn = th.rand(3), np.random.rand(3)
    th.manual_seed(3)
    np.random.seed(3)
    assert th.equal(th.rand(3), drawn[0]) and np.array_equal(np.random.rand(3), drawn[1])
    assert {repair.by for repair in check.repaired if repair.name.startswith("actor")} == {"refit"}
    assert {r.by for r in check.repaired if "target" in r.name} == {"online"}
    assert any("fitted to its own transitions" in line for line in caplog.messages)
    mended = act(model, seen).detach()
    assert (mended - healthy).pow(2).mean() < 0.25 * (dead - healthy).pow(2).mean()
    assert all(th.equal(value, weights(model)[name]) for name, value in others.items())
    assert model.policy.training
    assert all(parameter.requires_grad for parameter in model.actor.parameters())
    model.policy.load_state_dict(kept)


def test_a_buffer_with_too_little_of_the_policy_is_not_used() -> None:
    model = train("SAC", after=[zero("actor.*bias")])
    callback = system()
    callback.init_callback(model)
    assert {repair.by for repair in callback.check().repaired} == {"reinit"}


def test_what_chance_drew_is_not_the_policys(model: SAC) -> None:
    """All but 500 steps are from before `learning_starts`: too few to fit to."""
    kept = {name: value.clone() for name, value in model.policy.state_dict().items()}
    zero("actor.*bias")(model)
    model.learning_starts = 1000
    callback = system()
    callback.init_callback(model)
    assert {repair.by for repair in callback.check().repaired} == {"reinit"}
    model.learning_starts = 0
    model.policy.load_state_dict(kept)
