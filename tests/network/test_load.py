"""A live model that does what the saved one did, and nothing of the file has run."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import types
import warnings
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, SAC, HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.utils import LinearSchedule

import sacdoctor
from sacdoctor.errors import CheckpointError, Unloadable
from tests.agents import ALGORITHMS, DISCRETE, KINDS, OBSERVATIONS, TinyEnv, train
from tests.archives import members_of, zip_of
from tests.conftest import child_environment
from tests.corpus import each_file
from tests.payloads import Calls, serialized, touch, with_settings


def saved(model: BaseAlgorithm, folder: Path) -> Path:
    path = folder / "model.zip"
    model.save(path)
    return path


def in_a_child(code: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env=child_environment(), cwd=cwd, capture_output=True, text=True, check=False
    )


def assert_same_state(first: BaseAlgorithm, second: BaseAlgorithm) -> None:
    ours, theirs = first.get_parameters(), second.get_parameters()
    assert ours.keys() == theirs.keys()
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0, equal_nan=True)


def assert_same_actions(first: BaseAlgorithm, second: BaseAlgorithm) -> None:
    second.observation_space.seed(0)
    for _ in range(8):
        observation = second.observation_space.sample()
        ours, state = first.predict(observation, deterministic=True)
        theirs, other = second.predict(observation, deterministic=True)
        np.testing.assert_array_equal(ours, theirs)
        assert (state is None) == (other is None)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "policy"), KINDS)
def test_it_is_the_model_that_was_saved(name: str, policy: str, tmp_path: Path) -> None:
    model = train(name, policy)
    with warnings.catch_warnings():
        warnings.simplefilter("error", sacdoctor.LeftOut)
        loaded = sacdoctor.load(saved(model, tmp_path))
    assert type(loaded) is type(model)
    assert loaded.observation_space == model.observation_space
    assert loaded.action_space == model.action_space
    assert (loaded.num_timesteps, loaded._n_updates) == (model.num_timesteps, model._n_updates)
    assert loaded.ep_info_buffer == model.ep_info_buffer
    assert_same_state(loaded, model)
    assert_same_actions(loaded, model)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_trains_on_as_the_one_that_sb3_loads(name: str, tmp_path: Path) -> None:
    policy = "MlpLstmPolicy" if name == "RecurrentPPO" else "MlpPolicy"
    path = saved(train(name, policy), tmp_path)
    results = []
    for load in (sacdoctor.load, ALGORITHMS[name].load):
        env = TinyEnv(OBSERVATIONS["Mlp"], name in DISCRETE)
        model = load(path, env=env, device="cpu")  # type: ignore[operator]
        model.set_random_seed(7)
        results.append(model.learn(48, reset_num_timesteps=False))
    ours, theirs = results
    assert ours._n_updates == theirs._n_updates > 0
    assert_same_state(ours, theirs)


@each_file
def test_agents_from_the_wild_act_as_under_sb3(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """gym is not installed; for SB3 its spaces are gymnasium's, which have the same attributes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = sacdoctor.load(path)
        _pretend_gym(monkeypatch)
        if path.name.startswith(("her-", "tqc-Panda")):
            return  # SB3 loads these with an environment only
        theirs = type(loaded).load(path, device="cpu")
    assert_same_state(loaded, theirs)
    assert_same_actions(loaded, theirs)


def _pretend_gym(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("gym")
    module.spaces = spaces  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gym", module)
    monkeypatch.setitem(sys.modules, "gym.spaces", spaces)  # type: ignore[misc]
    for name in ("box", "dict", "discrete", "multi_binary", "multi_discrete", "space"):
        inner = importlib.import_module(f"gymnasium.spaces.{name}")
        monkeypatch.setitem(sys.modules, f"gym.spaces.{name}", inner)


# -- nothing runs ------------------------------------------------------------------------------


WITH_CODE = ("SAC", "DQN", "PPO", "RecurrentPPO")


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    policies = dict.fromkeys(WITH_CODE, "MlpPolicy") | {"RecurrentPPO": "MlpLstmPolicy"}
    return {
        name: saved(train(name, policy), tmp_path_factory.mktemp("agent"))
        for name, policy in policies.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_CODE)
def test_a_payload_in_any_setting_does_not_run(
    name: str, agents: dict[str, Path], tmp_path: Path
) -> None:
    agent = agents[name]
    honest = members_of(agent.read_bytes())
    mark, path = tmp_path / "mark", tmp_path / "hostile.zip"
    keys = sacdoctor.Checkpoint(agent).hyperparameters
    for key in keys:
        path.write_bytes(
            zip_of(with_settings(honest, **{key: serialized(Calls(touch, str(mark)))}))
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with suppress(CheckpointError):
                sacdoctor.load(path)
        assert not mark.exists(), key


@pytest.mark.slow
def test_a_setting_that_replaces_a_method_or_names_an_environment_is_passed_over(
    agents: dict[str, Path], tmp_path: Path
) -> None:
    """gymnasium's `make` imports the module before the colon."""
    (tmp_path / "harm.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")
    paths = []
    for name, agent in agents.items():
        honest = members_of(agent.read_bytes())
        hostile = with_settings(honest, env="harm:Env-v0", predict="nothing", harm=1)
        paths.append(str(tmp_path / f"{name}.zip"))
        Path(paths[-1]).write_bytes(zip_of(hostile))
    code = (
        "import sacdoctor\n"
        f"for path in {paths}:\n"
        "    assert callable(sacdoctor.load(path).predict), path\n"
    )
    done = in_a_child(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "mark").exists()


@pytest.mark.slow
def test_python_looks_up_no_name_of_a_pickle(agents: dict[str, Path]) -> None:
    code = (
        "import sys, sacdoctor.network\n"
        "seen = []\n"
        "sys.addaudithook(lambda e, a: seen.append((e, a)) if e == 'pickle.find_class' else None)\n"
        f"for path in {[*map(str, agents.values())]}:\n"
        "    sacdoctor.load(path)\n"
        "    assert not seen, (path, seen)\n"
    )
    done = in_a_child(code)
    assert done.returncode == 0, done.stderr


# -- what is of somebody's own -----------------------------------------------------------------


class OwnExtractor(BaseFeaturesExtractor):
    """Twice the observation."""

    def __init__(self, observation_space: spaces.Box, activation: type[torch.nn.Module]) -> None:
        super().__init__(observation_space, features_dim=observation_space.shape[0])
        self.activation = activation()

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        doubled: torch.Tensor = self.activation(2 * observations)
        return doubled


def small_sac(**options: Any) -> SAC:
    settings = {"learning_starts": 8, "buffer_size": 64, "batch_size": 8, "device": "cpu"}
    env = TinyEnv(OBSERVATIONS["Mlp"], discrete=False)
    return SAC("MlpPolicy", env, seed=0, **{**settings, **options}).learn(16)


def test_a_class_of_the_users_is_imported_only_where_its_module_is_trusted(tmp_path: Path) -> None:
    extractor = {
        "features_extractor_class": OwnExtractor,
        "features_extractor_kwargs": {"activation": torch.nn.Tanh},
        "net_arch": [8],
    }
    model = small_sac(policy_kwargs=extractor)
    path = saved(model, tmp_path)
    with pytest.raises(Unloadable) as refused:
        sacdoctor.load(path)
    assert f"trust=[{__name__!r}]" in str(refused.value)
    assert str(path) in str(refused.value)
    assert_same_actions(sacdoctor.load(path, trust=[__name__]), model)
    assert_same_actions(sacdoctor.load(path, trust=["tests"]), model)
    with pytest.raises(Unloadable):
        sacdoctor.load(path, trust=["test"])


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("policy_class", b"ctorch.nn.modules.linear\nIdentity\n."),
        ("policy_class", b"cos\nsystem\n."),
        ("replay_buffer_class", b"cstable_baselines3.common.utils\nset_random_seed\n."),
        ("policy_kwargs", b"}X\x0d\x00\x00\x00activation_fncsubprocess\nPopen\ns."),
        ("policy_kwargs", b"}X\x0f\x00\x00\x00optimizer_classctorch.nn.modules.linear\nLinear\ns."),
    ],
)
def test_a_class_of_another_kind_is_refused(key: str, name: bytes, tmp_path: Path) -> None:
    path = tmp_path / "hostile.zip"
    path.write_bytes(
        zip_of(
            with_settings(
                members_of(saved(small_sac(), tmp_path).read_bytes()), **{key: serialized(name)}
            )
        )
    )
    with pytest.raises(Unloadable, match=key):
        sacdoctor.load(path)


# -- settings ----------------------------------------------------------------------------------


def test_schedules_of_sb3_are_kept(tmp_path: Path) -> None:
    schedule = LinearSchedule(1e-3, 1e-5, 0.5)
    loaded = sacdoctor.load(saved(small_sac(learning_rate=schedule), tmp_path))
    for progress in (1.0, 0.7, 0.4, 0.0):
        assert loaded.lr_schedule(progress) == schedule(progress)


def test_for_a_schedule_that_is_code_its_last_value_stands(tmp_path: Path) -> None:
    model = small_sac(learning_rate=lambda progress: 1e-3 * (progress + 1.0))
    last = model.actor.optimizer.param_groups[0]["lr"]
    with pytest.warns(sacdoctor.LeftOut, match=f"learning_rate: it is code.*{last:g}"):
        loaded = sacdoctor.load(saved(model, tmp_path))
    assert loaded.lr_schedule(0.5) == pytest.approx(last, rel=0, abs=0)


@pytest.mark.parametrize(
    "noise",
    [
        NormalActionNoise(np.array([0.0, 0.1]), np.array([0.2, 0.3])),
        OrnsteinUhlenbeckActionNoise(np.zeros(2), np.array([0.2, 0.3]), theta=0.3, dt=0.05),
    ],
    ids=["normal", "OU"],
)
def test_noise_is_kept(noise: Any, tmp_path: Path) -> None:
    loaded: Any = sacdoctor.load(saved(small_sac(action_noise=noise), tmp_path))
    assert repr(loaded.action_noise) == repr(noise)
    np.random.seed(3)
    first = loaded.action_noise()
    np.random.seed(3)
    np.testing.assert_array_equal(first, noise())


def test_the_entries_of_a_dict_keep_their_order(tmp_path: Path) -> None:
    """The policy concatenates them in it."""
    box = spaces.Box(-1.0, 1.0, (2,), np.float32)
    space = spaces.Dict(OrderedDict((("z", box), ("a", spaces.Discrete(3)))))
    env = TinyEnv(space, discrete=True)
    model = PPO("MultiInputPolicy", env, n_steps=8, batch_size=8, device="cpu").learn(8)
    loaded = sacdoctor.load(saved(model, tmp_path))
    assert list(loaded.observation_space.spaces) == ["z", "a"]  # type: ignore[attr-defined]
    assert_same_actions(loaded, model)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(5),
        spaces.MultiDiscrete([3, 4]),
        spaces.MultiBinary(4),
        spaces.MultiBinary([2, 2]),
        spaces.Box(0, 255, (3,), np.uint8),
        spaces.Box(np.array([-1.0, -np.inf]), np.array([2.0, np.inf]), dtype=np.float64),
    ],
    ids=str,
)
def test_spaces_of_every_kind_are_made_anew(space: spaces.Space[Any], tmp_path: Path) -> None:
    model = PPO("MlpPolicy", TinyEnv(space, discrete=True), n_steps=8, batch_size=8, device="cpu")
    loaded = sacdoctor.load(saved(model, tmp_path))
    assert loaded.observation_space == space
    assert_same_actions(loaded, model)


def test_without_an_environment_hindsight_needs_none(tmp_path: Path) -> None:
    kept = OrderedDict(
        (key, spaces.Box(-1.0, 1.0, (2,), np.float32))
        for key in ("observation", "achieved_goal", "desired_goal")
    )

    class Goals(TinyEnv):
        def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
            return -np.linalg.norm(achieved - desired, axis=-1)

    settings = {"learning_starts": 12, "buffer_size": 64, "batch_size": 8, "device": "cpu"}
    model = SAC(
        "MultiInputPolicy",
        Goals(spaces.Dict(kept), discrete=False),
        replay_buffer_class=HerReplayBuffer,
        **settings,  # type: ignore[arg-type]
    ).learn(16)
    with pytest.warns(sacdoctor.LeftOut, match="needs an environment"):
        loaded = sacdoctor.load(saved(model, tmp_path))
    assert_same_actions(loaded, model)


# -- what cannot be loaded ---------------------------------------------------------------------


def test_layers_that_the_weights_are_not_are_never_made(tmp_path: Path) -> None:
    path = tmp_path / "hostile.zip"
    honest = members_of(saved(small_sac(), tmp_path).read_bytes())
    path.write_bytes(zip_of(with_settings(honest, policy_kwargs={"net_arch": [10**9, 10**9]})))
    with pytest.raises(Unloadable, match="ask for a size of 1,000,000,000"):
        sacdoctor.load(path)


def test_weights_of_another_network_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "other.zip"
    honest = members_of(saved(small_sac(), tmp_path).read_bytes())
    path.write_bytes(zip_of(with_settings(honest, policy_kwargs={"net_arch": [8]})))
    with pytest.raises(Unloadable, match="SB3 cannot make its model") as refused:
        sacdoctor.load(path)
    assert "\n" not in str(refused.value)


def test_a_file_without_its_spaces_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bare.zip"
    honest = members_of(saved(small_sac(), tmp_path).read_bytes())
    data = json.loads(honest["data"])
    del data["observation_space"]
    path.write_bytes(zip_of({**honest, "data": json.dumps(data).encode()}))
    with pytest.raises(Unloadable, match="observation_space"):
        sacdoctor.load(path)


def test_a_bare_state_dict_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "policy.pth"
    torch.save(small_sac().policy.state_dict(), path)
    with pytest.raises(Unloadable, match=r"policy\.pth"):
        sacdoctor.load(path)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        sacdoctor.load(tmp_path / "missing.zip")


@pytest.mark.slow
def test_without_the_extra_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['stable_baselines3'] = None; import sacdoctor; sacdoctor.load"
    done = in_a_child(code)
    assert "sacdoctor.load needs stable_baselines3: pip install 'sacdoctor[train]'" in done.stderr
