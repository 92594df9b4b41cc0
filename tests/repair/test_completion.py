"""A checkpoint of a policy that made its optimizer too early loads into the corrected policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch as th
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.base_class import BaseAlgorithm

import fixtures.policies
from fixtures import faulty_policies
from fixtures.faulty_training import SETUPS, optimizers, train
from fixtures.make import one_thread, trading_env
from fixtures.policies import (
    Size,
    TwoHeadV11SigmoidFixed,
)
from sacdoctor import scan
from sacdoctor.repair import RepairOptions, fix
from tests.repair import truth
from tests.repair.completing import (
    assert_same_moments,
    corrected,
    held,
    load_into,
    moments,
    parameters,
    refused,
)

COMPLETE = RepairOptions(complete_optimizer=True)
LATE = {
    "A2C": faulty_policies.LateActorCriticPolicy,
    "PPO": faulty_policies.LateActorCriticPolicy,
    "MaskablePPO": faulty_policies.LateMaskablePolicy,
    "RecurrentPPO": faulty_policies.LateRecurrentPolicy,
    "SAC": faulty_policies.LateSACPolicy,
    "TQC": faulty_policies.LateTQCPolicy,
    "CrossQ": faulty_policies.LateCrossQPolicy,
    "TD3": faulty_policies.LateTD3Policy,
    "DDPG": faulty_policies.LateTD3Policy,
    "DQN": faulty_policies.LateDQNPolicy,
    "QRDQN": faulty_policies.LateQRDQNPolicy,
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in LATE},
    "PPO-AdamW": ("PPO", {"optimizer_class": th.optim.AdamW}),
    "SAC-amsgrad": ("SAC", {"optimizer_kwargs": {"amsgrad": True}}),
    "SAC-SGD": (
        "SAC",
        {"optimizer_class": th.optim.SGD, "optimizer_kwargs": {"momentum": 0.9}},
    ),
    "TD3-RMSprop": (
        "TD3",
        {"optimizer_class": th.optim.RMSprop, "optimizer_kwargs": {"centered": True}},
    ),
    "SAC-shared": ("SAC", {"share_features_extractor": True}),
}


def broken(
    algorithm: str, path: Path, policy: type | None = None, **training: Any
) -> tuple[BaseAlgorithm, Path]:
    """A trained model whose extractor got its branch after the optimizers, and its file."""
    with one_thread():
        model = train(
            algorithm,
            policy=policy or LATE[algorithm],
            **{"extractor": {"branch": "late", "norm": True}, **training},
        )
    model.save(path)
    return model, path


def missing(model: BaseAlgorithm) -> set[str]:
    return parameters(model).keys() - held(model)


@pytest.mark.parametrize("key", VARIANTS)
def test_the_copy_loads_into_the_corrected_policy_and_trains_on(key: str, tmp_path: Path) -> None:
    algorithm, policy_kwargs = VARIANTS[key]
    model, path = broken(algorithm, tmp_path / "m.zip", policy_kwargs=policy_kwargs)
    late = missing(model)
    assert late and all("branch" in name for name in late)
    right = corrected(LATE[algorithm], path)
    with refused():
        load_into(right, path, model)

    result = fix(path, options=COMPLETE)
    assert {name for c in result.plan.completions for name in c.added} == late
    assert result.not_lasting == {}
    again = load_into(right, tmp_path / "m_FIXED.zip", model)
    assert held(again) == parameters(again).keys()
    assert_same_moments(moments(model), moments(again))
    for (_, old), (_, new) in zip(optimizers(model), optimizers(again), strict=True):
        assert _options(old) == _options(new)

    start = parameters(again)
    again.learn(SETUPS[algorithm].steps, reset_num_timesteps=False)
    for name, value in parameters(again).items():
        assert bool(value.isfinite().all())
        assert not th.equal(value, start[name]), name


def _options(optimizer: th.optim.Optimizer) -> list[dict[str, Any]]:
    return [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]


# -- the policy that it was written for ------------------------------------------------------------


def _to_the_end(path: Path, size: Size, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = scan(path)
    assert before.summary is not None
    zeros = before.summary.all_zero_bias_tensors, before.summary.critical, before.summary.notice
    (finding,) = [f for f in before.findings if f.rule == "SD202"]
    assert (*zeros, len(finding.tensors)) == (28, 20, 10, 91)
    env = trading_env(size)
    old = RecurrentPPO.load(path, env=env, device="cpu")

    # The user corrects his module: the class has the same name there.
    monkeypatch.setattr(fixtures.policies, "TwoHeadV11Sigmoid", TwoHeadV11SigmoidFixed)
    with refused():
        RecurrentPPO.load(path, env=env, device="cpu")
    output = folder / "model_FIXED.zip"
    options = RepairOptions(complete_optimizer=True, learning_rate=1e-4)
    result = fix(path, output=output, options=options)
    assert result.loads_with == f'RecurrentPPO.load("{output}", env=env)'
    new = RecurrentPPO.load(output, env=env, device="cpu")
    assert type(new.policy) is TwoHeadV11SigmoidFixed

    (group,) = new.policy.optimizer.param_groups
    assert len(group["params"]) == 132
    assert (group["lr"], new.learning_rate) == (1e-4, 1e-4)
    kept = moments(old)
    assert len(kept["policy.optimizer"]) == 41
    assert_same_moments(kept, moments(new))
    after = scan(output)
    assert not {"SD101", "SD202", "SD401"} & {f.rule for f in after.findings}

    start = parameters(new)
    with one_thread():
        new.learn(128, reset_num_timesteps=False)
    moved = {n for n, value in parameters(new).items() if not th.equal(value, start[n])}
    assert moved >= set(finding.tensors)
    assert moved >= truth.dead_biases({n: p.data for n, p in old.policy.named_parameters()})
    everywhere = {n for n, p in parameters(new).items() if bool((p != start[n]).all())}
    dead = [layer.name for layer in before.biases if layer.zero_percent == 100]
    assert len(dead) == 28
    assert everywhere >= set(dead)


def test_two_heads_in_small_to_the_end(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _to_the_end(broken, "small", tmp_path, monkeypatch)


def test_two_heads_in_full_to_the_end(
    full_two_head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _to_the_end(full_two_head, "full", tmp_path, monkeypatch)
