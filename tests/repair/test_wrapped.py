"""SD806 and its cure: policies that were saved wrapped, which SB3 loads once they are mended."""

from __future__ import annotations

import io
import json
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from sacdoctor.checkpoint import Checkpoint
from sacdoctor.checkpoint.renaming import without_wrappers
from sacdoctor.diagnosis import scan
from sacdoctor.repair import fix
from tests.conftest import Run


def compiled(module: Any) -> Any:
    return th.compile(module, backend="eager")


def parallel(module: Any) -> Any:
    return th.nn.DataParallel(module)


def both(module: Any) -> Any:
    return compiled(parallel(module))


CASES: dict[str, tuple[type[BaseAlgorithm], str, tuple[str, ...], Callable[[Any], Any]]] = {
    "compiled actor": (SAC, "Pendulum-v1", ("actor",), compiled),
    "compiled critics": (TD3, "Pendulum-v1", ("critic", "critic_target"), compiled),
    "part of a policy": (PPO, "CartPole-v1", ("mlp_extractor",), compiled),
    "output layer": (A2C, "CartPole-v1", ("action_net", "value_net"), compiled),
    "parallel Q-network": (DQN, "CartPole-v1", ("q_net",), parallel),
    "both": (SAC, "Pendulum-v1", ("actor", "critic"), both),
}


def trained(algorithm: type[BaseAlgorithm], env: str, **options: Any) -> BaseAlgorithm:
    starts = {} if algorithm in (PPO, A2C) else {"learning_starts": 10}
    steps = {"n_steps": 32} if algorithm in (PPO, A2C) else {}
    arguments = {"net_arch": [8], **options.pop("policy_kwargs", {})}
    policy = options.pop("policy", "MlpPolicy")
    model = algorithm(policy, env, seed=1, device="cpu", policy_kwargs=arguments, **starts, **steps)
    return model.learn(40)


def member(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def codes(path: Path) -> list[str]:
    return [finding.rule for finding in scan(path).findings]


@pytest.mark.parametrize("case", CASES)
def test_sb3_loads_the_mended_copy_and_it_acts_alike(case: str, tmp_path: Path) -> None:
    algorithm, env, parts, wrap = CASES[case]
    model = trained(algorithm, env)
    observations = np.stack([model.observation_space.sample() for _ in range(16)])
    before, _ = model.predict(observations, deterministic=True)
    for part in parts:
        setattr(model.policy, part, wrap(getattr(model.policy, part)))
    path = tmp_path / "model.zip"
    model.save(path)
    with pytest.raises(RuntimeError, match="Missing key"):
        algorithm.load(path)
    assert "SD806" in codes(path)
    result = fix(path)
    assert result.output is not None and "SD806" not in codes(Path(result.output))
    loaded = algorithm.load(result.output, env=model.get_env(), device="cpu")
    after, _ = loaded.predict(observations, deterministic=True)
    assert np.array_equal(before, after)
    loaded.learn(40, reset_num_timesteps=False)


def test_all_but_the_names_stays_byte_for_byte(tmp_path: Path) -> None:
    model = trained(SAC, "Pendulum-v1")
    model.policy.actor = compiled(model.policy.actor)
    path = tmp_path / "model.zip"
    model.save(path)
    output = Path(str(fix(path).output))
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(output) as new:
        for name in old.namelist():
            if name != "policy.pth":
                assert old.read(name) == new.read(name)
        before, after = (zipfile.ZipFile(io.BytesIO(z.read("policy.pth"))) for z in (old, new))
        assert before.namelist() == after.namelist()
        for name in before.namelist():
            if not name.endswith("/data.pkl"):
                assert before.read(name) == after.read(name)
        pickled = [
            [
                (opcode.name, argument)
                for opcode, argument, _ in pickletools.genops(
                    z.read(next(n for n in z.namelist() if n.endswith("/data.pkl")))
                )
            ]
            for z in (before, after)
        ]
    renamed = [
        (name, text.replace("._orig_mod", "") if isinstance(text, str) else text)
        for name, text in pickled[0]
    ]
    assert renamed == pickled[1]


def test_repaired_biases_and_names_go_into_one_copy(tmp_path: Path) -> None:
    """The dead bias of a target is filled from an online network whose names are wrapped."""
    model = trained(DQN, "CartPole-v1")
    with th.no_grad():
        model.policy.q_net_target.q_net[0].bias.zero_()
    online = model.policy.q_net.q_net[0].bias.detach().numpy().copy()
    model.policy.q_net = parallel(model.policy.q_net)
    path = tmp_path / "model.zip"
    model.save(path)
    loaded = DQN.load(str(fix(path).output))
    assert np.array_equal(loaded.policy.q_net_target.q_net[0].bias.detach().numpy(), online)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_is_rewritten(protocol: int) -> None:
    import pickle

    state = {f"_orig_mod.{'layer' * 60}.{n}": n for n in range(300)}
    new = without_wrappers(pickle.dumps(state, protocol), {"_orig_mod"})
    assert pickle.loads(new) == {key.removeprefix("_orig_mod."): n for key, n in state.items()}


class OwnExtractor(BaseFeaturesExtractor):
    """Has a part called `module`, and compiles another itself: SB3 makes both anew."""

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space, 4)
        self.module = th.nn.Linear(int(space.shape[0]), 4)
        self.scale = compiled(th.nn.Linear(4, 4))

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.scale(self.module(observations))


class OwnPolicy(ActorCriticPolicy):
    """Compiles a part of itself."""

    def _build_mlp_extractor(self) -> None:
        super()._build_mlp_extractor()
        self.mlp_extractor.policy_net = compiled(self.mlp_extractor.policy_net)


def test_what_users_wrap_themselves_is_left_alone(tmp_path: Path) -> None:
    extractor = trained(
        PPO, "CartPole-v1", policy_kwargs={"features_extractor_class": OwnExtractor}
    )
    policy = trained(PPO, "CartPole-v1", policy=OwnPolicy)
    for number, model in enumerate((extractor, policy)):
        path = tmp_path / f"{number}.zip"
        model.save(path)
        with Checkpoint(path) as checkpoint:
            assert any("_orig_mod" in name for name in checkpoint.tensors)
        PPO.load(path)
        assert "SD806" not in codes(path)
        assert "policy" not in str(fix(path).plan.wrappers)


def test_bare_state_dict_is_left_alone(tmp_path: Path) -> None:
    """What it is loaded into is not known: perhaps a model that is wrapped again."""
    path = tmp_path / "net.pth"
    th.save(parallel(th.nn.Linear(3, 2)).state_dict(), path)
    assert codes(path) == [] and fix(path).plan.is_empty


def test_fix_says_what_it_took_out(run: Run, tmp_path: Path) -> None:
    model = trained(SAC, "Pendulum-v1")
    model.policy.actor = compiled(model.policy.actor)
    model.save(tmp_path / "model.zip")
    dry = run("fix", "--dry-run", "--format", "json", tmp_path / "model.zip")
    assert json.loads(dry.out)["unwrapped"] == ["actor._orig_mod"]
    assert json.loads(dry.out)["remaining"] == []
    outcome = run("fix", tmp_path / "model.zip")
    assert outcome.code == 0 and "actor._orig_mod" in outcome.out
    record = json.loads(member(tmp_path / "model_FIXED.zip", "sacdoctor.json"))
    assert record["repairs"][0]["unwrapped"] == ["actor._orig_mod"]
