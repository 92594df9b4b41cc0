"""Parameters that no optimizer holds are told, refused, or put where they belong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import EvalCallback

from fixtures.faulty_policies import (
    LateActorCriticPolicy,
    LateDQNPolicy,
    TrainableOnlyPolicy,
)
from fixtures.faulty_training import train
from sacdoctor.training import (
    MissingParameters,
    add_missing_parameters,
    load_added,
)
from tests.training.gradients.test_guard import same, weights
from tests.training.injured import (
    INJURED,
    LATE,
    ONE_ROLLOUT,
    optimizers,
    system,
    warnings,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("algorithm", INJURED)
def test_missing_parameters_are_an_error_if_so_wished(algorithm: str) -> None:
    model = train(algorithm, steps=0, policy=LATE[algorithm], extractor={"branch": "late"})
    with pytest.raises(MissingParameters, match=r"branch\.0\.weight"):
        model.learn(64, callback=system(on_missing_parameters="error"))
    assert model.num_timesteps == 0


@pytest.mark.parametrize("algorithm", [*INJURED, "DQN"])
def test_missing_parameters_that_are_added_train(
    algorithm: str, caplog: pytest.LogCaptureFixture
) -> None:
    policy = {**LATE, "DQN": LateDQNPolicy}[algorithm]
    model = train(algorithm, steps=0, policy=policy, extractor={"branch": "late"})
    start = weights(model)
    steps = 4 * ONE_ROLLOUT.get(algorithm, 40)
    callback = system(on_missing_parameters="add")
    model.learn(steps, callback=callback)
    for name, tensor in weights(model).items():
        if "branch" in name and "_target" not in name:
            assert not th.equal(tensor, start[name]), name
    held = [p for o in optimizers(model) for g in o.param_groups for p in g["params"]]
    assert len({id(p) for p in held}) == len(held)
    targets = {id(p) for n, p in model.policy.named_parameters() if "_target" in n}
    assert not targets & {id(p) for p in held}
    for found in optimizers(model):  # as a policy that creates its optimizer last would have it
        assert len(found.param_groups) == 1
    assert all(not check.repaired for check in callback.history)
    assert sum("added" in line for line in warnings(caplog)) == 1


def test_a_model_with_added_parameters_is_loaded_by_set_parameters(tmp_path: Path) -> None:
    def build() -> BaseAlgorithm:
        return train("PPO", steps=0, policy=LateActorCriticPolicy, extractor={"branch": "late"})

    model = build()
    model.learn(64, callback=system(on_missing_parameters="add"))
    model.save(tmp_path / "model.zip")
    again = build()
    added = add_missing_parameters(again)
    assert set(added.values()) == {"policy.optimizer"}
    again.set_parameters(str(tmp_path / "model.zip"))
    assert same(weights(model), weights(again))
    order = {id(p): i for i, p in enumerate(model.policy.parameters())}
    places = [order[id(p)] for p in model.policy.optimizer.param_groups[0]["params"]]
    assert places == sorted(places) and len(places) == len(order)


@pytest.mark.parametrize("algorithm", ["PPO", "SAC", "TD3", "DQN", "RecurrentPPO"])
def test_the_best_model_of_such_a_run_is_loaded_by_load_added(
    algorithm: str, tmp_path: Path
) -> None:
    policy = {**LATE, "DQN": LateDQNPolicy}[algorithm]
    model = train(algorithm, steps=0, policy=policy, extractor={"branch": "late"})
    env = model.get_env()
    evaluation = EvalCallback(env, eval_freq=40, n_eval_episodes=1, verbose=0)
    evaluation.best_model_save_path = str(tmp_path)
    model.learn(120, callback=[system(on_missing_parameters="add"), evaluation])
    saved = tmp_path / "best_model.zip"
    with pytest.raises((ValueError, KeyError)):  # SB3 looks for an optimizer of the policy's
        type(model).load(saved, device="cpu")
    again = load_added(type(model), saved, env, device="cpu")
    assert type(again) is type(model)
    model.set_parameters(str(saved))
    assert same(weights(model), weights(again))
    for ours, theirs in zip(optimizers(model), optimizers(again), strict=True):
        assert str(ours.state_dict()) == str(theirs.state_dict())
    again.learn(64, reset_num_timesteps=False)


def test_a_model_without_added_parameters_is_loaded_as_ever(tmp_path: Path) -> None:
    model = train("PPO", steps=64)
    model.save(tmp_path / "model.zip")
    assert same(weights(model), weights(load_added(type(model), tmp_path / "model.zip")))


def test_what_is_frozen_on_purpose_is_not_missing() -> None:
    model = train("PPO", steps=0, policy=TrainableOnlyPolicy, extractor={})
    model.learn(64, callback=system(on_missing_parameters="error"))
