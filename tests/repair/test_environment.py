"""`--for-this-environment`: SB3 loads without gym what was saved with it; all else stays."""

from __future__ import annotations

import base64
import json
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO

from sacdoctor import Checkpoint, scan
from sacdoctor.pickles import global_names, with_global_names
from sacdoctor.repair import RepairOptions, environment, fix
from tests.archives import members_of, saved, write_sb3, zip_of
from tests.conftest import Run
from tests.payloads import serialized, with_settings

PORT = RepairOptions(for_this_environment=True)
SPACES = ("observation_space", "action_space")
HOMES = {"gymnasium": "gym", "numpy._core": "numpy.core"}


def as_saved_with_gym(pickle: bytes) -> bytes:
    """The pickle as gym and numpy 1 would have written it."""

    def older(module: str) -> str:
        for new, old in HOMES.items():
            if module == new or module.startswith(f"{new}."):
                return old + module.removeprefix(new)
        return module

    names = global_names(pickle)
    return with_global_names(pickle, {name: (older(name[0]), name[1]) for name in names})


@pytest.fixture(scope="module")
def model() -> PPO:
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=16, n_epochs=1, seed=0)
    return model.learn(32)


@pytest.fixture
def source(model: PPO, tmp_path: Path) -> Path:
    """What SB3 1 would have saved of the model, with gym's spaces and the arrays of numpy 1."""
    model.save(tmp_path / "new.zip")
    members = members_of((tmp_path / "new.zip").read_bytes())
    data = json.loads(members["data"])
    for value in data.values():
        if isinstance(value, dict) and ":serialized:" in value:
            older = as_saved_with_gym(base64.b64decode(value[":serialized:"]))
            value[":serialized:"] = base64.b64encode(older).decode()
    path = tmp_path / "old.zip"
    path.write_bytes(zip_of({**members, "data": json.dumps(data, indent=4).encode()}))
    return path


def fixed(source: Path, **options: Any) -> Path:
    result = fix(source, options=RepairOptions(for_this_environment=True, **options))
    assert result.output is not None
    return Path(result.output)


def pickles_of(path: Path) -> dict[str, bytes]:
    data = json.loads(members_of(path.read_bytes())["data"])
    return {
        key: base64.b64decode(value[":serialized:"])
        for key, value in data.items()
        if isinstance(value, dict) and ":serialized:" in value
    }


# -- what SB3 makes of it ----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:numpy.core:DeprecationWarning")
def test_what_gym_saved_loads_without_gym_and_acts_the_same(model: PPO, source: Path) -> None:
    assert "gym" not in sys.modules
    with pytest.raises(ModuleNotFoundError, match="gym"):
        PPO.load(source)
    loaded = PPO.load(fixed(source), device="cpu")
    for name in SPACES:
        assert getattr(loaded, name) == getattr(model, name)
        assert type(getattr(loaded, name)).__module__.startswith("gymnasium.")
    model.observation_space.seed(0)
    for _ in range(50):
        observation = model.observation_space.sample()
        expected, _ = model.predict(observation, deterministic=True)
        action, _ = loaded.predict(observation, deterministic=True)
        assert action == expected
    loaded.set_env(model.get_env())
    loaded.learn(32)


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Box(0, 255, (3, 8, 8), np.uint8),
        gym.spaces.Discrete(4),
        gym.spaces.MultiDiscrete([3, 4]),
        gym.spaces.MultiBinary(5),
        gym.spaces.Dict(a=gym.spaces.Box(-1.0, 1.0, (2,)), b=gym.spaces.Discrete(2)),
    ],
    ids=lambda space: type(space).__name__,
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_every_space_of_sb3(source: Path, space: gym.Space[Any], protocol: int) -> None:
    space.seed(1)
    older = as_saved_with_gym(cloudpickle.dumps(space, protocol))
    members = with_settings(members_of(source.read_bytes()), observation_space=serialized(older))
    source.write_bytes(zip_of(members))
    found = cloudpickle.loads(pickles_of(fixed(source))["observation_space"])
    assert found == space
    assert found.contains(found.sample())


def test_the_generator_of_gym_becomes_that_of_numpy(source: Path) -> None:
    """Source: `RandomNumberGenerator.__reduce__` in gym/utils/seeding.py of gym 0.23."""
    generator = np.random.default_rng(7)
    state = generator.bit_generator.state
    ctor = b"\x8c\x11gym.utils.seeding\x8c%RandomNumberGenerator._generator_ctor\x93"
    body = pickle.dumps(state, 4)[11:-1]
    made = b"\x80\x04" + ctor + b"\x8c\x05PCG64\x85R" + body + b"b."
    members = with_settings(members_of(source.read_bytes()), action_noise=serialized(made))
    source.write_bytes(zip_of(members))
    found = pickle.loads(pickles_of(fixed(source))["action_noise"])
    assert found.random() == generator.random()


# -- all else stays ----------------------------------------------------------------------------


def test_nothing_but_names_changes(source: Path) -> None:
    before, after = members_of(source.read_bytes()), members_of(fixed(source).read_bytes())
    record = json.loads(after.pop("sacdoctor.json"))
    assert list(before) == list(after)
    assert {name for name in before if before[name] != after[name]} == {"data"}
    assert record["repairs"][0]["renamed"]["gym.spaces.box.Box"] == "gymnasium.spaces.box.Box"
    old, new = (json.loads(members["data"]) for members in (before, after))
    for key, value in old.items():
        if isinstance(value, dict) and ":serialized:" in value:
            other = new[key].pop(":serialized:")
            encoded = value.pop(":serialized:")
            assert as_saved_with_gym(base64.b64decode(other)) == base64.b64decode(encoded)
        assert new[key] == value


def test_alone_it_redraws_nothing(source: Path) -> None:
    members = members_of(source.read_bytes())
    state = th.load(_file(source.parent / "policy.pth", members["policy.pth"]), weights_only=True)
    for name in state:
        if name.endswith("bias"):
            state[name].zero_()
    source.write_bytes(zip_of({**members, "policy.pth": saved(state)}))
    result = fix(source, options=PORT)
    assert result.plan.renames and not result.plan.repaired
    with Checkpoint(source) as old, Checkpoint(str(result.output)) as new:
        assert all(
            old.tensors[name].values.tobytes() == new.tensors[name].values.tobytes()
            for name in old.tensors
        )


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_what_this_environment_saved_needs_nothing(model: PPO, tmp_path: Path) -> None:
    model.save(tmp_path / "new.zip")
    result = fix(tmp_path / "new.zip", options=PORT)
    assert (result.output, result.plan.renames, result.plan.unported) == (None, (), ())


def test_a_copy_needs_nothing_any_more(source: Path) -> None:
    assert fix(fixed(source), options=PORT).output is None


# -- files of torch ----------------------------------------------------------------------------


def with_numpy_rate(key: str = "lr") -> dict[str, Any]:
    return {"state": {}, "param_groups": [{key: np.float64(3e-4), "params": [0]}]}


def older_torch_file(data: bytes) -> bytes:
    members = members_of(data)
    (name,) = (name for name in members if name.endswith("data.pkl"))
    return zip_of({**members, name: as_saved_with_gym(members[name])})


def test_names_in_optimizers_too(tmp_path: Path) -> None:
    """A rate that a numpy schedule computed stands as a numpy number in the groups."""
    optimizer = older_torch_file(saved(with_numpy_rate()))
    assert b"numpy.core.multiarray" in optimizer
    source = write_sb3(
        tmp_path / "m.zip",
        {"fc.weight": th.ones(2, 2), "fc.bias": th.ones(2)},
        optimizers={"policy.optimizer": optimizer},
    )
    members = members_of(fixed(source).read_bytes())
    home = np.float64(0).__reduce__()[0].__module__
    assert f"c{home}\nscalar\n".encode() in members["policy.optimizer.pth"]
    path = _file(tmp_path / "optimizer.pth", members["policy.optimizer.pth"])
    assert th.load(path, weights_only=False)["param_groups"][0]["lr"] == 3e-4
    assert members["policy.pth"] == members_of(source.read_bytes())["policy.pth"]


def test_a_bare_file_of_torch(tmp_path: Path) -> None:
    content = {"fc.bias": th.ones(2), "optim": with_numpy_rate()}
    source = _file(tmp_path / "agent.pt", older_torch_file(saved(content)))
    result = fix(source, options=PORT)
    assert [rename.after[0] for rename in result.plan.renames] == [
        np.float64(0).__reduce__()[0].__module__
    ]
    found = th.load(str(result.output), weights_only=False)
    assert found["optim"]["param_groups"][0]["lr"] == 3e-4


@pytest.mark.filterwarnings("ignore:numpy.core:DeprecationWarning")
def test_where_numpy_is_an_older_one_the_names_are_the_older(
    model: PPO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not np.float64(0).__reduce__()[0].__module__.startswith("numpy._core."):
        pytest.skip("this numpy has no newer names")
    monkeypatch.setattr(environment, "_prefers", lambda package: package == "numpy.core")
    model.save(tmp_path / "new.zip")
    names = global_names(pickles_of(fixed(tmp_path / "new.zip"))["observation_space"])
    homes = {module for module, _ in names}
    assert "numpy.core.numeric" in homes
    assert not any(module.startswith("numpy._core") for module in homes)


# -- what it cannot cure -----------------------------------------------------------------------


def with_code(source: Path, python: str | None) -> None:
    members = with_settings(
        members_of(source.read_bytes()), clip_range=serialized(lambda progress: 0.2)
    )
    members["system_info.txt"] = f"- OS: Linux\n- Python: {python}.2\n".encode()
    if python is None:
        del members["system_info.txt"]
    source.write_bytes(zip_of(members))


@pytest.mark.parametrize("python", ["3.7", None])
def test_code_of_another_python_is_named(source: Path, python: str | None) -> None:
    with_code(source, python)
    (left,) = (left for left in fix(source, options=PORT).plan.unported)
    assert left.name == "data clip_range"
    assert (
        "code of " + (f"Python {python}" if python else "the Python that saved it") in left.reason
    )


def test_code_of_this_python_is_not(source: Path) -> None:
    with_code(source, f"{sys.version_info.major}.{sys.version_info.minor}")
    assert fix(source, options=PORT).plan.unported == ()


def test_code_that_is_stripped_is_not_named(source: Path) -> None:
    with_code(source, "3.7")
    result = fix(source, options=RepairOptions(for_this_environment=True, strip_code=True))
    stays = {left.name for left in result.plan.unstripped}
    assert {left.name for left in result.plan.unported} <= stays


def test_a_package_that_is_not_installed_is_named(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("their_project")
    noise = type("Noise", (), {"__module__": "their_project"})
    module.Noise = noise  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "their_project", module)
        data = pickle.dumps(noise())
    members = with_settings(members_of(source.read_bytes()), action_noise=serialized(data))
    source.write_bytes(zip_of(members))
    (left,) = fix(source, options=PORT).plan.unported
    assert (left.name, left.reason) == (
        "data action_noise",
        "it asks for their_project, not installed here",
    )


def test_a_pickle_that_cannot_be_read_is_named_and_stays(source: Path) -> None:
    members = with_settings(
        members_of(source.read_bytes()), action_noise=serialized(b"\x80\x04\xff")
    )
    source.write_bytes(zip_of(members))
    result = fix(source, options=PORT)
    assert [left.name for left in result.plan.unported] == ["data action_noise"]
    assert pickles_of(Path(str(result.output)))["action_noise"] == b"\x80\x04\xff"


# -- the command line --------------------------------------------------------------------------


def test_sd805_leads_to_it_and_it_cures_it(run: Run, source: Path) -> None:
    before = {finding.rule: finding for finding in scan(source).findings}
    assert "`sacdoctor fix --for-this-environment`" in before["SD805"].remedy
    outcome = run("fix", "--for-this-environment", source)
    assert (outcome.code, outcome.err) == (0, "")
    assert "gym.spaces.box -> gymnasium.spaces.box" in outcome.out
    assert "SD805" not in {
        finding.rule for finding in scan(source.with_name("old_FIXED.zip")).findings
    }


def test_json_lists_what_changed_and_what_is_left(run: Run, source: Path) -> None:
    with_code(source, "3.7")
    document = json.loads(
        run("fix", "--for-this-environment", "--dry-run", source, "--format", "json").out
    )
    assert {
        "place": "data action_space",
        "before": "gym.spaces.discrete.Discrete",
        "after": "gymnasium.spaces.discrete.Discrete",
    } in document["renamed"]
    assert [left["name"] for left in document["unported"]] == ["data clip_range"]


def test_where_there_is_nothing_to_do_it_says_so(run: Run, model: PPO, tmp_path: Path) -> None:
    model.save(tmp_path / "new.zip")
    outcome = run("fix", "--for-this-environment", tmp_path / "new.zip")
    assert (outcome.code, outcome.err) == (0, "")
    assert "No name to change for this environment; nothing was written." in outcome.out
