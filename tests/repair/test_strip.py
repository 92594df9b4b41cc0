"""`--strip-code`: schedules become numbers, SB3 loads the result, and what stays is named."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import LinearSchedule

from sacdoctor import Checkpoint, ScanOptions, scan
from sacdoctor.repair import RepairError, RepairOptions, fix
from tests import torch_truth
from tests.archives import members_of, saved, zip_of
from tests.checkpoint.test_schedules import constant_fn, get_schedule_fn
from tests.conftest import Run
from tests.corpus import each_file
from tests.payloads import Calls, serialized, with_settings
from tests.repair.conftest import Patients

STRIP = RepairOptions(strip_code=True)
GATE = ScanOptions(select=("SD6",))


Load = Callable[[BaseAlgorithm, Path], Any]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a checkpoint as the class of a model; a pickled function in it is an error."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a pickled function was loaded")

    def call(trained: BaseAlgorithm, path: Path) -> BaseAlgorithm:
        with monkeypatch.context() as patch:
            patch.setattr(cloudpickle.cloudpickle, "_make_function", refuse)
            return type(trained).load(path, env=trained.get_env(), device="cpu")

    return call


def rewritten(source: Path, target: Path, **settings: Any) -> Path:
    target.write_bytes(zip_of(with_settings(members_of(source.read_bytes()), **settings)))
    return target


def settings_of(path: Path) -> dict[str, Any]:
    found = json.loads(members_of(path.read_bytes())["data"])
    assert isinstance(found, dict)
    return found


def evidence(path: Path) -> str:
    return "\n".join(finding.evidence for finding in scan(path, GATE).findings)


def stripped(source: Path, output: Path, options: RepairOptions = STRIP) -> dict[str, str]:
    """What stays, by place, after the file was written."""
    result = fix(source, output=output, options=options)
    return {left.name: left.reason for left in result.plan.unstripped}


def lives_on(model: BaseAlgorithm) -> None:
    observation = model.observation_space.sample()
    model.predict(observation)
    model.learn(64, reset_num_timesteps=False)


def test_lambda_rate_becomes_the_optimizers_rate(
    patients: Patients, load: Load, tmp_path: Path
) -> None:
    key = "SAC-strip"
    source = patients.healthy("SAC", key, learning_rate=lambda progress: 5e-3 * progress + 1e-4)
    (rate,) = {*torch_truth.learning_rates(source).values()}
    output = tmp_path / "out.zip"
    assert stripped(source, output) == {}
    trained = patients.model("SAC", key)
    with pytest.raises(AssertionError, match="was loaded"):
        load(trained, source)
    model = load(trained, output)
    assert model.learning_rate == rate
    assert model.lr_schedule(0.1) == rate
    lives_on(model)
    assert evidence(output) == ""


def test_clipping_is_read_off_what_sb3_wrote(
    patients: Patients, load: Load, tmp_path: Path
) -> None:
    trained = patients.model("PPO")
    source = rewritten(
        patients.healthy("PPO"),
        tmp_path / "m.zip",
        clip_range=serialized(get_schedule_fn(constant_fn(0.3))),
        clip_range_vf=serialized(constant_fn(0.25)),
    )
    output = tmp_path / "out.zip"
    assert stripped(source, output) == {}
    model = load(trained, output)
    assert (model.clip_range(0.5), model.clip_range_vf(0.5)) == (0.3, 0.25)
    lives_on(model)


def test_exploration_is_built_anew(patients: Patients, load: Load, tmp_path: Path) -> None:
    trained = patients.model("DQN")
    code = serialized(lambda progress: progress)
    source = rewritten(
        patients.healthy("DQN"), tmp_path / "m.zip", lr_schedule=code, exploration_schedule=code
    )
    output = tmp_path / "out.zip"
    assert stripped(source, output) == {}
    assert {"lr_schedule", "exploration_schedule"}.isdisjoint(settings_of(output))
    model = load(trained, output)
    assert isinstance(model.exploration_schedule, LinearSchedule)
    lives_on(model)


def test_settings_that_go_may_stand_first_and_side_by_side(
    patients: Patients, tmp_path: Path
) -> None:
    members = members_of(patients.healthy("DQN").read_bytes())
    code = serialized(lambda progress: progress)
    data = {"lr_schedule": code, "exploration_schedule": code, **json.loads(members["data"])}
    data |= {"lr_schedule": code, "exploration_schedule": code}
    source, output = tmp_path / "m.zip", tmp_path / "out.zip"
    source.write_bytes(zip_of({**members, "data": json.dumps(data).encode()}))
    stripped(source, output)
    kept = {k: v for k, v in data.items() if k not in ("lr_schedule", "exploration_schedule")}
    assert list(settings_of(output).items()) == list(kept.items())


def test_all_else_stays_byte_for_byte(patients: Patients, tmp_path: Path) -> None:
    code = serialized(lambda progress: progress)
    source = rewritten(patients.healthy("PPO"), tmp_path / "m.zip", lr_schedule=code)
    output = tmp_path / "out.zip"
    stripped(source, output)
    before, after = (members_of(path.read_bytes()) for path in (source, output))
    assert {name for name in after if before.get(name) != after[name]} == {"data", "sacdoctor.json"}


# -- what stays --------------------------------------------------------------------------------


def test_what_cannot_be_read_off_stays_and_is_named(patients: Patients, tmp_path: Path) -> None:
    code = serialized(lambda progress: progress)
    source = rewritten(
        patients.healthy("PPO"), tmp_path / "m.zip", lr_schedule=code, clip_range=code
    )
    left = stripped(source, tmp_path / "out.zip")
    assert set(left) == {"data clip_range"}
    assert "no constant" in left["data clip_range"]
    assert "data clip_range: code of <lambda>" in evidence(tmp_path / "out.zip")


def test_payload_elsewhere_stays_and_is_named(patients: Patients, tmp_path: Path) -> None:
    hostile = serialized(Calls(os.system, "true"))
    source = rewritten(
        patients.healthy("PPO"), tmp_path / "m.zip", foo=hostile, lr_schedule=hostile
    )
    left = stripped(source, tmp_path / "out.zip")
    assert set(left) == {"data foo"}
    assert f"calls {os.name}.system" in left["data foo"]
    assert scan(tmp_path / "out.zip").status == "critical"


def test_rate_that_the_optimizers_do_not_agree_on_is_not_guessed(
    patients: Patients, tmp_path: Path
) -> None:
    code = serialized(lambda progress: progress)
    given = tmp_path / "given.zip"
    source = rewritten(patients.healthy("PPO"), tmp_path / "m.zip", learning_rate=code)
    members = members_of(source.read_bytes())
    del members["policy.optimizer.pth"]
    source.write_bytes(zip_of(members))
    result = fix(source, options=STRIP)
    assert result.output is None
    (left,) = result.plan.unstripped
    assert left.name == "data learning_rate"
    assert "--learning-rate" in left.reason
    fix(source, output=given, options=RepairOptions(strip_code=True, learning_rate=1e-3))
    assert settings_of(given)["learning_rate"] == 1e-3
    assert evidence(given) == ""


def test_given_rate_wins(patients: Patients, tmp_path: Path) -> None:
    code = serialized(lambda progress: progress)
    source = rewritten(patients.healthy("PPO"), tmp_path / "m.zip", learning_rate=code)
    options = RepairOptions(strip_code=True, learning_rate=2e-4)
    stripped(source, tmp_path / "out.zip", options)
    assert settings_of(tmp_path / "out.zip")["learning_rate"] == 2e-4
    assert {*torch_truth.learning_rates(tmp_path / "out.zip").values()} == {2e-4}


def test_nothing_to_strip_writes_nothing(patients: Patients) -> None:
    result = fix(patients.healthy("SAC"), options=STRIP)
    assert (result.output, result.plan.unstripped) == (None, ())


@each_file
def test_files_from_the_wild_keep_only_what_is_said(path: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.zip"
    left = stripped(path, output)
    found = evidence(output)
    assert all(place in found for place in left)
    assert (found == "") == (left == {})
    kept, before = settings_of(output), settings_of(path)
    for key in ("learning_rate", "clip_range"):
        if isinstance(before.get(key), dict) and f"data {key}" not in left:
            assert np.isfinite(kept[key]) and kept[key] > 0


# -- the command -------------------------------------------------------------------------------


def test_command_says_what_went_and_what_stays(
    run: Run, patients: Patients, tmp_path: Path
) -> None:
    code = serialized(lambda progress: progress)
    source = rewritten(
        patients.healthy("PPO"), tmp_path / "m.zip", lr_schedule=code, clip_range=code
    )
    outcome = run("fix", "--strip-code", "--dry-run", source)
    assert (outcome.code, outcome.err) == (0, "")
    assert "lr_schedule: a schedule -> removed" in outcome.out
    assert "data clip_range: " in outcome.out
    assert not (tmp_path / "m_FIXED.zip").exists()
    document = json.loads(run("fix", "--strip-code", "--format", "json", source).out)
    assert document["settings"] == [{"key": "lr_schedule", "before": "a schedule", "after": None}]
    assert [left["name"] for left in document["unstripped"]] == ["data clip_range"]
    assert document["left"] == document["unsafe"] == []
    assert run("scan", "--select", "SD6", tmp_path / "m_FIXED.zip").code == 0


def test_command_exits_1_on_a_payload_and_prints_where_it_stands(
    run: Run, patients: Patients, tmp_path: Path
) -> None:
    hostile = serialized(Calls(os.system, "true"))
    source = rewritten(patients.healthy("PPO"), tmp_path / "m.zip", foo=hostile)
    outcome = run("scan", "--select", "SD6", source)
    assert (outcome.code, outcome.err) == (1, "")
    assert "SD601 unsafe-pickle" in outcome.out
    assert f"data foo: calls {os.name}.system" in outcome.out
    document = json.loads(run("scan", "--select", "SD6", "--format", "json", source).out)
    (checkpoint,) = document["checkpoints"]
    assert (checkpoint["summary"], checkpoint["layers"]) == (None, [])
    assert [found["rule"] for found in checkpoint["findings"]] == ["SD601"]


def test_command_shows_a_pickle_of_its_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "buffer.pkl").write_bytes(cloudpickle.dumps([1.0]))
    outcome = run("scan", tmp_path / "buffer.pkl")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[1] == (
        "UNKNOWN  Only the code in this pickle was looked at: nothing outside SB3 and its "
        "libraries was found."
    )


def test_command_prints_a_payload_that_makes_the_file_unreadable(
    run: Run, patients: Patients, tmp_path: Path
) -> None:
    members = members_of(patients.healthy("PPO").read_bytes())
    members["policy.pth"] = saved({"x": Calls(os.system, "true")})
    (tmp_path / "m.zip").write_bytes(zip_of(members))
    outcome = run("scan", tmp_path / "m.zip")
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.complaint.endswith(f"(SD601: policy.pth: calls {os.name}.system)")


def test_command_names_dangerous_code_and_exits_1_where_stripping_left_it(
    run: Run, patients: Patients, tmp_path: Path
) -> None:
    hostile = serialized(Calls(os.system, "true"))
    source = rewritten(patients.healthy("PPO"), tmp_path / "m.zip", foo=hostile)
    for options, code in (((), 0), (("--strip-code",), 1), (("--strip-code", "--dry-run"), 1)):
        outcome = run("fix", source, *options)
        assert (outcome.code, outcome.err) == (code, "")
        assert "SD601 unsafe-pickle  critical" in outcome.out
        assert outcome.out.count(f"calls {os.name}.system") == 1 + ("--strip-code" in options)
        document = json.loads(run("fix", source, *options, "--format", "json").out)
        assert [finding["rule"] for finding in document["unsafe"]] == ["SD601"]
        assert document["left"] == []


def test_command_exits_0_where_stripping_took_the_dangerous_code_out(
    run: Run, patients: Patients, tmp_path: Path
) -> None:
    hostile = serialized(Calls(os.system, "true"))
    source = rewritten(patients.healthy("PPO"), tmp_path / "m.zip", lr_schedule=hostile)
    for options in (("--dry-run",), ()):
        outcome = run("fix", "--strip-code", source, *options)
        assert (outcome.code, "SD601" in outcome.out) == (0, False)


def test_dangerous_code_that_the_input_does_not_run_is_refused(
    monkeypatch: pytest.MonkeyPatch, patients: Patients, tmp_path: Path
) -> None:
    """Such as a setting that stands twice, of which an edit would leave the other one."""
    hostile = serialized(Calls(os.system, "true"))
    source = rewritten(
        patients.healthy("PPO"), tmp_path / "m.zip", lr_schedule=serialized(lambda p: p)
    )
    other = rewritten(patients.healthy("PPO"), tmp_path / "other.zip", foo=hostile)
    module = sys.modules[fix.__module__]
    monkeypatch.setattr(Checkpoint, "edited", lambda *_: [other.read_bytes()])
    monkeypatch.setattr(module, "_verify", lambda *_: None)
    with pytest.raises(RepairError, match=f"data foo: calls {os.name}.system.* was thrown away"):
        fix(source, options=STRIP)
    assert not (tmp_path / "m_FIXED.zip").exists()
