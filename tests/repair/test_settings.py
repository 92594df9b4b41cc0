"""Learning rate and clipping inside the checkpoint: what SB3 says after loading."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule

from fixtures.faulty_training import SETUPS, optimizers
from sacdoctor.repair import RepairError, RepairOptions, fix
from tests.archives import members_of, saved, zip_of
from tests.conftest import Run
from tests.repair import truth
from tests.repair.conftest import Patients

RATE = 1e-4
SCHEDULES: dict[str, Any] = {
    "number": 5e-3,
    "lambda": lambda progress: 5e-3 * progress,
    "FloatSchedule": FloatSchedule(5e-3),
    "LinearSchedule": LinearSchedule(5e-3, 1e-3, 1.0),
}
WITH_RATE = [name for name in SETUPS if name != "ARS"]


def rates(model: BaseAlgorithm) -> dict[str, list[float]]:
    found = {n: [g["lr"] for g in optimizer.param_groups] for n, optimizer in optimizers(model)}
    entropy = getattr(model, "ent_coef_optimizer", None)
    if entropy is not None:
        found["ent_coef_optimizer"] = [group["lr"] for group in entropy.param_groups]
    return found


def data(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.read("data").decode()


def with_rate(rate: float) -> RepairOptions:
    return RepairOptions(learning_rate=rate)


# -- the learning rate -------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("algorithm", ["SAC", "PPO"])
def test_sb3_loads_the_new_rate_whatever_stood_there(
    patients: Patients, tmp_path: Path, algorithm: str, schedule: str
) -> None:
    key = f"{algorithm}-{schedule}"
    rate = SCHEDULES[schedule]
    source, output = patients.healthy(algorithm, key, learning_rate=rate), tmp_path / "out.zip"
    fix(source, output=output, options=with_rate(RATE))
    trained = patients.model(algorithm, key)
    model = type(trained).load(output, env=trained.get_env(), device="cpu")
    assert model.learning_rate == RATE
    assert [model.lr_schedule(progress) for progress in (1.0, 0.5, 0.0)] == 3 * [RATE]
    found = rates(model)
    assert set(found) >= (
        {"actor.optimizer", "ent_coef_optimizer"} if algorithm == "SAC" else set()
    )
    assert {rate for group in found.values() for rate in group} == {RATE}
    model.learn(64, reset_num_timesteps=False)
    assert {rate for group in rates(model).values() for rate in group} == {RATE}
    assert model.lr_schedule(0.3) == RATE


@pytest.mark.parametrize("algorithm", WITH_RATE)
def test_every_algorithm_takes_the_new_rate(
    patients: Patients, tmp_path: Path, algorithm: str
) -> None:
    source, output = patients.healthy(algorithm), tmp_path / "out.zip"
    fix(source, output=output, options=with_rate(0.0123))
    model = type(patients.model(algorithm)).load(output, device="cpu")
    assert (model.learning_rate, model.lr_schedule(1.0)) == (0.0123, 0.0123)
    assert {rate for group in rates(model).values() for rate in group} == {0.0123}


def test_data_changes_in_that_number_alone(patients: Patients, tmp_path: Path) -> None:
    source, output = patients.healthy("SAC"), tmp_path / "out.zip"
    fix(source, output=output, options=with_rate(RATE))
    before, after = data(source), data(output)
    assert before.count('"learning_rate": 0.0003') == 1
    expected = json.loads(before)
    expected["learning_rate"] = RATE
    expected.pop("lr_schedule", None)
    assert json.loads(after) == expected
    assert list(json.loads(after)) == list(expected)
    # What follows `learning_rate` and `lr_schedule` is the same text.
    changed = before.replace('"learning_rate": 0.0003', '"learning_rate": 0.0001')
    if "lr_schedule" not in json.loads(before):
        assert after == changed
    else:
        start = after.index('"learning_rate": 0.0001')
        assert changed.startswith(after[:start])
        assert [line for line in after.splitlines() if line not in changed] == []


def test_only_data_and_optimizers_are_touched(patients: Patients, tmp_path: Path) -> None:
    source, output = patients.healthy("SAC"), tmp_path / "out.zip"
    fix(source, output=output, options=with_rate(RATE))
    with zipfile.ZipFile(source) as one, zipfile.ZipFile(output) as other:
        touched = {name for name in one.namelist() if one.read(name) != other.read(name)}
    names = ("actor.optimizer.pth", "critic.optimizer.pth", "ent_coef_optimizer.pth")
    assert touched == {"data", *names}
    truth.assert_sound(output)
    for name in names:
        before, after = truth.member(source, name), truth.member(output, name)
        assert before["state"].keys() == after["state"].keys()
        for number, kept in before["state"].items():
            assert all(truth.same(after["state"][number][k], v) for k, v in kept.items())
        for old, new in zip(before["param_groups"], after["param_groups"], strict=True):
            assert new == {**old, "lr": RATE}


def test_a_rate_that_is_already_there_needs_no_file(patients: Patients, tmp_path: Path) -> None:
    output = tmp_path / "out.zip"
    fix(patients.healthy("SAC"), output=output, options=with_rate(RATE))
    assert fix(output, options=with_rate(RATE)).plan.is_empty


def test_repair_and_rate_in_one_go(patients: Patients, tmp_path: Path) -> None:
    source, output = patients.hurt("SAC", "*bias*"), tmp_path / "out.zip"
    fix(source, output=output, options=with_rate(RATE))
    assert not truth.dead_biases(truth.member(output, "policy.pth"), share=0.0)
    actor = truth.member(output, "actor.optimizer.pth")
    assert actor["param_groups"][0]["lr"] == RATE
    biases = [kept for kept in actor["state"].values() if kept["exp_avg"].ndim == 1]
    assert biases
    assert not any(kept["exp_avg"].any() or kept["step"] for kept in biases)
    truth.assert_sound(output)


# -- forms that a rate takes in an optimizer's file --------------------------------------------


FORMS: dict[str, Any] = {
    "float": 5e-3,
    "integer": 1,
    "large integer": 2**40,
    "zero": 0,
    "numpy float64": np.float64(5e-3),
    "numpy float32": np.float32(5e-3),
    "tensor": th.tensor(5e-3),
    "double tensor": th.tensor(5e-3, dtype=th.float64),
    "tensor of one": th.tensor([5e-3]),
    "nan": float("nan"),
}


def optimizer_file(form: Any, *, with_state: bool, groups: int = 2, same: bool = False) -> Any:
    """An Adam state whose groups' rates stand in this form; the text `lr` occurs elsewhere too."""
    layers = [th.nn.Linear(3, 2) for _ in range(groups)]
    optimizer = th.optim.Adam([{"params": layer.parameters(), "lr": 0.1} for layer in layers])
    if with_state:
        sum(layer(th.ones(1, 3)).sum() for layer in layers).backward()
        optimizer.step()
    state = optimizer.state_dict()
    for number, group in enumerate(state["param_groups"]):
        copied = form if same or not isinstance(form, th.Tensor) else form.clone()
        group["lr"] = copied
        group["initial_lr"] = form  # as a learning-rate scheduler leaves it
        group["name"] = "lr"  # a value, not a key
        group["betas"] = (0.9, th.tensor(0.999)) if number else (0.9, 0.999)
    return state


@pytest.mark.parametrize("with_state", [True, False], ids=["moments", "empty"])
@pytest.mark.parametrize("same", [True, False], ids=["shared", "own"])
@pytest.mark.parametrize("form", FORMS)
def test_a_rate_of_any_form_becomes_the_number(
    patients: Patients, tmp_path: Path, form: str, same: bool, with_state: bool
) -> None:
    state = optimizer_file(FORMS[form], with_state=with_state, same=same)
    members = members_of(patients.healthy("PPO").read_bytes())
    members["policy.optimizer.pth"] = saved(state)
    source, output = tmp_path / "m.zip", tmp_path / "out.zip"
    source.write_bytes(zip_of(members))
    fix(source, output=output, options=with_rate(RATE))
    with zipfile.ZipFile(output) as archive:
        assert archive.testzip() is None
        with archive.open("policy.optimizer.pth") as file:
            after = th.load(file, weights_only=False)
    assert [group["lr"] for group in after["param_groups"]] == [RATE, RATE]
    for old, new in zip(state["param_groups"], after["param_groups"], strict=True):
        assert type(new["lr"]) is float
        assert list(new) == list(old)
        for key in set(old) - {"lr"}:
            assert repr(new[key]) == repr(old[key])
    for number, kept in state["state"].items():
        for key, value in kept.items():
            assert truth.same(after["state"][number][key], value)


@pytest.mark.parametrize("form", ["integer", "tensor", "numpy float64"])
def test_numbers_that_sb3_could_not_load_are_readable_afterwards(
    patients: Patients, tmp_path: Path, form: str
) -> None:
    members = members_of(patients.healthy("SAC").read_bytes())
    for name in ("actor.optimizer.pth", "critic.optimizer.pth"):
        state = truth.load(members[name])
        state["param_groups"][0]["lr"] = FORMS[form]
        members[name] = saved(state)
    source, output = tmp_path / "m.zip", tmp_path / "out.zip"
    source.write_bytes(zip_of(members))
    fix(source, output=output, options=with_rate(RATE))
    model = type(patients.model("SAC")).load(output, device="cpu")
    assert {rate for group in rates(model).values() for rate in group} == {RATE}


def test_a_second_group_alone_with_another_rate_is_corrected(
    patients: Patients, tmp_path: Path
) -> None:
    members = members_of(patients.healthy("PPO").read_bytes())
    state = truth.load(members["policy.optimizer.pth"])
    parameters = state["param_groups"][0]["params"]
    second = {**state["param_groups"][0], "params": parameters[4:], "lr": 0.5}
    state["param_groups"][0]["params"] = parameters[:4]
    state["param_groups"].append(second)
    members["policy.optimizer.pth"] = saved(state)
    source, output = tmp_path / "m.zip", tmp_path / "out.zip"
    source.write_bytes(zip_of(members))
    result = fix(source, output=output, options=with_rate(3e-4))
    groups = truth.member(output, "policy.optimizer.pth")["param_groups"]
    assert [group["lr"] for group in groups] == [3e-4, 3e-4]
    before = {change.key: change.before for change in result.plan.settings}
    assert before == {
        "learning_rate": 3e-4,
        "policy.optimizer.lr": 0.5,
        "lr_schedule": "a schedule",
    }


def test_groups_with_different_rates_are_told_apart(
    run: Run, patients: Patients, tmp_path: Path
) -> None:
    members = members_of(patients.healthy("PPO").read_bytes())
    state = truth.load(members["policy.optimizer.pth"])
    (group,) = state["param_groups"]
    parameters = group["params"]
    state["param_groups"] = [
        {**group, "params": parameters[:4], "lr": 0.25},
        {**group, "params": parameters[4:], "lr": 0.5},
    ]
    members["policy.optimizer.pth"] = saved(state)
    source, output = tmp_path / "m.zip", tmp_path / "out.zip"
    source.write_bytes(zip_of(members))
    outcome = run("fix", source, "--learning-rate", "1e-4", "--output", output)
    assert "learning_rate: 0.0003 -> 0.0001" in outcome.out
    assert "policy.optimizer.param_groups[0].lr: 0.25 -> 0.0001" in outcome.out
    assert "policy.optimizer.param_groups[1].lr: 0.5 -> 0.0001" in outcome.out
    assert "lr_schedule: a schedule -> removed, SB3 builds it anew" in outcome.out
    groups = truth.member(output, "policy.optimizer.pth")["param_groups"]
    assert [group["lr"] for group in groups] == [1e-4, 1e-4]
    with zipfile.ZipFile(output) as archive:
        assert "lr_schedule" not in json.loads(archive.read("data"))


def test_rates_that_differ_in_a_late_digit_are_shown_as_different(
    run: Run, patients: Patients, tmp_path: Path
) -> None:
    """0.0003 as a 32-bit float is no 0.0003."""
    members = members_of(patients.healthy("PPO").read_bytes())
    members["data"] = json.dumps(
        {**json.loads(members["data"]), "learning_rate": 0.0003000000142492354}
    ).encode()
    (tmp_path / "m.zip").write_bytes(zip_of(members))
    outcome = run("fix", tmp_path / "m.zip", "--learning-rate", "3e-4")
    assert "learning_rate: 0.0003000000142492354 -> 0.0003\n" in outcome.out
    assert "policy.optimizer.lr" not in outcome.out  # it had that rate already


def test_an_optimizer_in_the_old_format_takes_the_rate(patients: Patients, tmp_path: Path) -> None:
    members = members_of(patients.healthy("PPO").read_bytes())
    state = truth.load(members["policy.optimizer.pth"])
    members["policy.optimizer.pth"] = saved(state, legacy=True)
    source, output = tmp_path / "m.zip", tmp_path / "out.zip"
    source.write_bytes(zip_of(members))
    fix(source, output=output, options=with_rate(RATE))
    model = type(patients.model("PPO")).load(output, device="cpu")
    assert rates(model) == {"policy.optimizer": [RATE]}


def test_a_rate_that_is_not_a_number_is_told_in_words(
    run: Run, patients: Patients, tmp_path: Path
) -> None:
    members = members_of(patients.healthy("PPO").read_bytes())
    state = truth.load(members["policy.optimizer.pth"])
    state["param_groups"][0]["lr"] = float("nan")
    members["policy.optimizer.pth"] = saved(state)
    source, output = tmp_path / "m.zip", tmp_path / "out.zip"
    source.write_bytes(zip_of(members))
    outcome = run("fix", source, "--learning-rate", RATE, "--output", output, "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    settings = json.loads(outcome.out, parse_constant=pytest.fail)["settings"]
    assert {change["key"]: change["before"] for change in settings} == {
        "learning_rate": 3e-4,
        "policy.optimizer.lr": "nan",
        "lr_schedule": "a schedule",
    }
    with zipfile.ZipFile(output) as archive:
        json.loads(archive.read(truth.RECORD), parse_constant=pytest.fail)


# -- the text of `data` ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '{"learning_rate":5e-3}',
        '{ "a" : {"learning_rate": 7}, "learning_rate"\t:\n5e-3 , "b":[1,2] }\n',
        '{"lr_schedule": {":type:": "x", "a": {}}, "learning_rate": 5e-3, "b": "é \\u00e9"}',
        '{"learning_rate": 5e-3, "lr_schedule": 1}',
        '{"a": 1, "lr_schedule": [1, {"}": "]"}], "learning_rate": 5e-3}',
        '\n{"learning_rate": {":type:": "f", ":serialized:": "gAROLg=="}, "b": "\\"x"}',
        '{"learning_rate": null, "b": 1.50}',
        '{"b": "\\ud800", "learning_rate": 1}',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_in_any_dress_keeps_all_but_the_rate(tmp_path: Path, text: str, encoding: str) -> None:
    members = {"data": text.encode(encoding), "policy.pth": saved({"a.bias": th.ones(2)})}
    source, output = tmp_path / "m.zip", tmp_path / "out.zip"
    source.write_bytes(zip_of(members))
    fix(source, output=output, options=with_rate(0.25))
    after = members_of(output.read_bytes())["data"]
    expected = json.loads(text)
    expected["learning_rate"] = 0.25
    expected.pop("lr_schedule", None)
    assert json.loads(after) == expected
    assert list(json.loads(after)) == list(expected)


def test_number_text_around_the_rate_is_not_reformatted(tmp_path: Path) -> None:
    text = '{"a": 1.50, "learning_rate": 5e-3, "b": 1E+2, "c":-0.0}'
    members = {"data": text.encode(), "policy.pth": saved({"a.bias": th.ones(2)})}
    source, output = tmp_path / "m.zip", tmp_path / "out.zip"
    source.write_bytes(zip_of(members))
    fix(source, output=output, options=with_rate(0.25))
    assert members_of(output.read_bytes())["data"].decode() == text.replace("5e-3", "0.25")


# -- gradient clipping -------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["PPO", "A2C", "DQN", "RecurrentPPO"])
def test_clipping_is_corrected_where_sb3_clips(
    patients: Patients, tmp_path: Path, algorithm: str
) -> None:
    source, output = patients.healthy(algorithm), tmp_path / "out.zip"
    fix(source, output=output, options=RepairOptions(max_grad_norm=0.75))
    model = type(patients.model(algorithm)).load(output, device="cpu")
    assert model.max_grad_norm == 0.75
    before, after = json.loads(data(source)), json.loads(data(output))
    assert after == {**before, "max_grad_norm": 0.75}


@pytest.mark.parametrize("algorithm", ["SAC", "TD3", "TQC", "DDPG", "CrossQ"])
def test_clipping_is_refused_where_sb3_has_none(
    patients: Patients, tmp_path: Path, algorithm: str
) -> None:
    output = tmp_path / "out.zip"
    with pytest.raises(RepairError, match=f"{algorithm} has no max_grad_norm"):
        fix(patients.healthy(algorithm), output=output, options=RepairOptions(max_grad_norm=1.0))
    assert not output.exists()


def test_settings_of_a_file_without_any_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    path.write_bytes(saved({"a.weight": th.ones(2, 2), "a.bias": th.zeros(2)}))
    with pytest.raises(RepairError, match="no learning rate"):
        fix(path, options=with_rate(RATE))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("option", ["--learning-rate", "--max-grad-norm"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "-inf", "fast"])
def test_values_that_make_no_sense_are_wrong_usage(
    run: Run, patients: Patients, tmp_path: Path, option: str, value: str
) -> None:
    output = tmp_path / "out.zip"
    outcome = run("fix", patients.hurt("PPO", "*bias*"), "--output", output, f"{option}={value}")
    assert (outcome.code, outcome.out) == (2, "")
    assert option in outcome.err
    assert not output.exists()
