"""`sacdoctor warmup` as it is used at a terminal and in scripts."""

from __future__ import annotations

import json
import os
import pickle
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Outcome, Run
from tests.own_buffers import Ring, filled, transitions
from tests.replay_buffers import FORCED, tracking

pytestmark = pytest.mark.slow

KEYS = {
    *("schema_version", "path", "transitions", "forced_head", "share"),
    *("updates_during_forced", "findings"),
}
"""DESIGN.md, section 9."""


def document(outcome: Outcome) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(outcome.out)
    return parsed


def test_json_has_the_keys_of_the_contract(run: Run, tmp_path: Path) -> None:
    path = tracking().save(tmp_path)
    outcome = run("warmup", path, "--format", "json")
    found = document(outcome)
    assert (outcome.code, outcome.err) == (0, "")
    assert found.keys() >= KEYS
    assert (found["schema_version"], found["path"], found["transitions"]) == (1, str(path), 600)
    assert found["forced_head"].items() >= {
        ("transitions", FORCED),
        ("stored", "varied"),
        ("action", None),
    }
    assert found["share"] == FORCED / 600
    assert found["updates_during_forced"] == tracking().updates_by(FORCED)
    assert [finding["rule"] for finding in found["findings"]] == ["SD503", "SD501"]


def test_a_healthy_buffer_has_no_forced_head(run: Run, tmp_path: Path) -> None:
    found = document(run("warmup", tracking(None).save(tmp_path), "--format", "json"))
    assert (found["forced_head"], found["share"], found["findings"]) == (None, 0.0, [])


@pytest.mark.parametrize(
    ("fail_on", "code"), [("critical", 0), ("warning", 1), ("never", 0)], ids=str
)
def test_exit_code_follows_the_findings(run: Run, tmp_path: Path, fail_on: str, code: int) -> None:
    assert run("warmup", tracking().save(tmp_path), "--fail-on", fail_on).code == code


@pytest.mark.parametrize("name", ["model.zip", "model_replay_buffer.pkl", "."])
def test_checkpoint_buffer_and_run_folder_lead_to_the_same(
    run: Run, tmp_path: Path, name: str
) -> None:
    tracking().save(tmp_path)
    found = document(run("warmup", tmp_path / name, "--format", "json"))
    assert found["buffer"] == str(tmp_path / "model_replay_buffer.pkl")
    assert found["checkpoint"] == str(tmp_path / "model.zip")
    assert found["forced_head"]["transitions"] == FORCED


def test_rl_zoos_names_are_known(run: Run, tmp_path: Path) -> None:
    tracking().save(tmp_path, "Tracking-v0")
    (tmp_path / "Tracking-v0_replay_buffer.pkl").rename(tmp_path / "replay_buffer.pkl")
    (tmp_path / "best_model.zip").write_bytes((tmp_path / "Tracking-v0.zip").read_bytes())
    found = document(run("warmup", tmp_path, "--format", "json"))
    assert found["checkpoint"] == str(tmp_path / "Tracking-v0.zip")


def test_a_checkpoint_without_a_buffer_says_what_is_missing(run: Run, tmp_path: Path) -> None:
    tracking().save(tmp_path).unlink()
    outcome = run("warmup", tmp_path / "model.zip", "--format", "json")
    found = document(outcome)
    assert (outcome.code, found["transitions"], found["share"]) == (0, None, None)
    assert "no replay buffer" in found["notes"][0]
    words = " ".join(run("warmup", tmp_path / "model.zip").out.split())
    assert "UNKNOWN No replay buffer is beside it, so forced actions cannot be told." in words
    assert "HEALTHY" not in words


def test_what_cannot_be_told_is_not_called_healthy(run: Run, tmp_path: Path) -> None:
    buffer = deepcopy(tracking().buffer)
    buffer.rewards[:] = 0.0
    buffer.next_observations[:] = buffer.observations  # nothing follows any action
    path = tmp_path / "buffer.pkl"
    path.write_bytes(pickle.dumps(buffer))
    outcome = run("warmup", path, "--clean", tmp_path / "clean.pkl")
    words = " ".join(outcome.out.split())
    assert "UNKNOWN Whether the first actions were carried out cannot be told." in words
    assert "HEALTHY" not in words
    assert outcome.code == 0
    assert "cannot be told: nothing was written" in outcome.complaint
    assert not (tmp_path / "clean.pkl").exists()
    found = document(run("warmup", path, "--format", "json"))
    assert (found["status"], found["share"], found["forced_head"]) == ("unknown", None, None)
    assert found["notes"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("algo: sac\nno_trading_warmup_steps: 5000\nlearning_starts: 100\n", ["SD501"]),
        ("algo: sac\nno_trading_warmup_steps: 20000\nlearning_starts: 20000\n", ["SD502"]),
        ("algo: sac\nno_trading_warmup_steps: 5000\nlearning_starts: 5000\n", []),
        ("algo: ppo\nno_trading_warmup_steps: 5000\n", []),
    ],
)
def test_a_settings_file_is_judged_as_fix_config_does(
    run: Run, tmp_path: Path, text: str, expected: list[str]
) -> None:
    (tmp_path / "run.yml").write_text(text)
    found = document(run("warmup", tmp_path / "run.yml", "--format", "json"))
    assert [finding["rule"] for finding in found["findings"]] == expected
    assert run("fix-config", tmp_path / "run.yml", "--check").code == bool(expected)


def test_the_remedy_corrects_the_settings_of_the_checkpoint(run: Run, tmp_path: Path) -> None:
    tracking().save(tmp_path)
    text = run("fix-config", tmp_path / "model.zip", "--warmup-steps", FORCED).out
    assert f"learning_starts: {FORCED}  # was 20" in text
    assert f"no_trading_warmup_steps: {FORCED}" in text


@pytest.mark.parametrize("source", [(), ("run.yml",)], ids=["none", "file"])
def test_warmup_steps_are_for_a_checkpoint(
    run: Run, tmp_path: Path, source: tuple[str, ...]
) -> None:
    (tmp_path / "run.yml").write_text("algo: sac\nlearning_rate: 1e-4\n")
    outcome = run("fix-config", *source, "--warmup-steps", 100)
    assert outcome.code == 2
    assert "checkpoint" in outcome.complaint


# -- the table ---------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["80", "200"])
def test_table_says_what_where_and_what_to_do(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    out = run("warmup", tracking().save(tmp_path)).out
    assert max(map(len, out.splitlines())) <= max(int(columns), len(str(tmp_path)) + 30)
    words = " ".join(out.split())
    for said in ("WARNING", "25.0 %", "exact to the step", "SD503", "SD501", "--clean"):
        assert said in words


# -- --clean -----------------------------------------------------------------------------------


def test_clean_writes_a_buffer_that_sb3_loads(run: Run, tmp_path: Path) -> None:
    trained = tracking()
    path, out = trained.save(tmp_path), tmp_path / "clean.pkl"
    before = path.read_bytes()
    outcome = run("warmup", path, "--clean", out, "--format", "json")
    assert (outcome.code, document(outcome)["cleaned"]) == (0, str(out))
    assert path.read_bytes() == before
    written = pickle.loads(out.read_bytes())
    assert written.size() == 600 - FORCED
    np.testing.assert_array_equal(
        written.actions[: 600 - FORCED], trained.buffer.actions[FORCED:600]
    )
    assert document(run("warmup", out, "--format", "json"))["forced_head"] is None


def test_clean_overwrites_only_with_force(run: Run, tmp_path: Path) -> None:
    path, out = tracking().save(tmp_path), tmp_path / "clean.pkl"
    out.write_text("mine")
    outcome = run("warmup", path, "--clean", out)
    assert (outcome.code, out.read_text()) == (2, "mine")
    assert "--force" in outcome.complaint
    assert run("warmup", path, "--clean", out, "--force").code == 0
    assert pickle.loads(out.read_bytes()).size() == 600 - FORCED


def test_clean_never_writes_over_the_buffer_itself(run: Run, tmp_path: Path) -> None:
    path = tracking().save(tmp_path)
    before = path.read_bytes()
    outcome = run("warmup", path, "--clean", path, "--force")
    assert (outcome.code, path.read_bytes()) == (2, before)
    assert "another name" in outcome.complaint


def test_clean_writes_nothing_where_nothing_is_forced(run: Run, tmp_path: Path) -> None:
    outcome = run("warmup", tracking(None).save(tmp_path), "--clean", tmp_path / "clean.pkl")
    assert outcome.code == 0
    assert "nothing was written" in outcome.complaint
    assert not (tmp_path / "clean.pkl").exists()


def test_clean_leaves_no_empty_buffer(run: Run, tmp_path: Path) -> None:
    path = tracking(0.0, steps=100, executed=True).save(tmp_path)
    outcome = run("warmup", path, "--clean", tmp_path / "clean.pkl")
    assert outcome.code == 2
    assert "nothing would be left" in outcome.complaint


# -- buffers of other kinds --------------------------------------------------------------------


def of_ones_own(path: Path) -> Path:
    with path.open("wb") as file:
        if path.suffix == ".npz":
            np.savez(file, **transitions())
        else:
            pickle.dump(filled(Ring, transitions(), 1_000), file)
    return path


@pytest.mark.parametrize("name", ["memory.npz", "memory.pkl"])
def test_a_buffer_of_ones_own_is_audited_and_cleaned(run: Run, tmp_path: Path, name: str) -> None:
    path, out = of_ones_own(tmp_path / name), tmp_path / f"clean_{name}"
    found = document(run("warmup", path, "--clean", out, "--format", "json"))
    assert found["forced_head"]["transitions"] == 150
    assert (found["transitions"], found["share"], found["cleaned"]) == (600, 0.25, str(out))
    words = " ".join(run("warmup", path).out.split())
    assert f"--clean OUT{path.suffix}`" in words
    assert "store the action that the environment carried out" in words
    assert document(run("warmup", out, "--format", "json"))["share"] == 0.0


@pytest.mark.parametrize("name", ["replay_buffer_600.npz", "buffer.npz", "buffer.pkl"])
def test_the_newest_buffer_of_a_folder_may_be_of_any_kind(
    run: Run, tmp_path: Path, name: str
) -> None:
    path = of_ones_own(tmp_path / name)
    found = document(run("warmup", tmp_path, "--format", "json"))
    assert (found["buffer"], found["transitions"]) == (str(path), 600)


def test_dangerous_code_in_a_buffer_is_named_and_does_not_run(run: Run, tmp_path: Path) -> None:
    buffer = filled(Ring, transitions(), 1_000)
    buffer.extra = Bomb()
    path = tmp_path / "memory.pkl"
    path.write_bytes(pickle.dumps(buffer))
    outcome = run("warmup", path, "--format", "json")
    found = document(outcome)
    assert outcome.code == 1
    assert [finding["rule"] for finding in found["findings"]] == ["SD601", "SD503"]
    assert found["forced_head"]["transitions"] == 150
    words = " ".join(run("warmup", path).out.split())
    assert "CRITICAL Loading the file would run dangerous code." in words
    assert "system" in words


class Bomb:
    def __reduce__(self) -> Any:
        return os.system, ("exit 1",)


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("missing.pkl", None),
        ("empty.pkl", b""),
        ("text.pkl", b"hello"),
        ("other.pkl", pickle.dumps({"a": 1})),
        ("empty.npz", b""),
        ("text.npz", b"hello"),
        ("trap.pkl", b"\x80\x04cposix\nsystem\n."),
        ("broken.zip", b"PK\3\4"),
        ("mute.yml", b"learning_rate: 1e-4\n"),
        ("long" * 75 + ".pkl", None),
    ],
)
def test_bad_input_gives_one_line_and_2(
    run: Run, tmp_path: Path, name: str, data: bytes | None
) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    outcome = run("warmup", path)
    assert (outcome.code, outcome.out) == (2, "")
    assert str(path) in outcome.complaint


def test_an_empty_folder_is_said_to_be_empty(run: Run, tmp_path: Path) -> None:
    outcome = run("warmup", tmp_path)
    assert outcome.code == 2
    assert "neither a replay buffer nor a checkpoint" in outcome.complaint


def test_nothing_large_is_imported(shell: Run, tmp_path: Path) -> None:
    path = tracking().save(tmp_path)
    outcome = shell("warmup", path, "--format", "json", env=_importing_nothing_large(tmp_path))
    assert outcome.code == 0, outcome.err


def _importing_nothing_large(tmp_path: Path) -> dict[str, str]:
    """An environment in which torch, SB3 and gymnasium cannot be imported."""
    from tests.conftest import child_environment

    folder = tmp_path / "blocked"
    for name in ("torch", "stable_baselines3", "gymnasium", "pandas"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise SystemExit('imported')")
    environment = child_environment()
    environment["PYTHONPATH"] = f"{folder}:{environment['PYTHONPATH']}"
    return environment
