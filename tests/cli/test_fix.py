"""`sacdoctor fix`: its options, its exit codes, its JSON and its table."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch as th

from tests.archives import saved, write_sb3, zip_of
from tests.cli.test_bad_input import FILES
from tests.conftest import Run, child_environment
from tests.repair import truth
from tests.torch_truth import state_dict

KEYS = {
    "schema_version",
    "source",
    "output",
    "repaired",
    "left",
    "refits",
    "unused",
    "unstripped",
    "unwrapped",
    "completed",
    "loads_with",
    "unsafe",
    "remaining",
    "optimizer",
    "settings",
    "not_lasting",
    "before",
    "after",
}
SUMMARY = {
    "tensors",
    "parameters",
    "zero_parameters",
    "zero_percent",
    "bias_tensors",
    "all_zero_bias_tensors",
    "critical",
    "warning",
    "notice",
}
DEAD = {"fc.weight": th.ones(8, 2), "fc.bias": th.zeros(8)}


@pytest.fixture
def dead(tmp_path: Path) -> Path:
    return write_sb3(tmp_path / "model.zip", DEAD)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- exit codes and output ---------------------------------------------------------------------


def test_a_repair_exits_0_and_writes_beside_the_input(run: Run, dead: Path) -> None:
    outcome = run("fix", dead)
    assert (outcome.code, outcome.err) == (0, "")
    assert names(dead.parent) == ["model.zip", "model_FIXED.zip"]
    assert run("scan", dead.with_name("model_FIXED.zip"), "--fail-on", "warning").code == 0


def test_nothing_to_repair_exits_0_and_writes_nothing(
    run: Run, tmp_path: Path, healthy_bytes: bytes
) -> None:
    (tmp_path / "m.zip").write_bytes(healthy_bytes)
    outcome = run("fix", "m.zip")
    assert (outcome.code, outcome.err) == (0, "")
    assert "Nothing to repair; nothing was written." in outcome.out
    assert names(tmp_path) == ["m.zip"]


def test_copy_if_healthy_copies_byte_for_byte(
    run: Run, tmp_path: Path, healthy_bytes: bytes
) -> None:
    (tmp_path / "m.zip").write_bytes(healthy_bytes)
    outcome = run("fix", "m.zip", "--copy-if-healthy", "--output", "copy.zip")
    assert outcome.code == 0
    assert "copied to" in outcome.out
    assert (tmp_path / "copy.zip").read_bytes() == healthy_bytes


def test_dry_run_writes_nothing(run: Run, dead: Path) -> None:
    outcome = run("fix", dead, "--dry-run")
    assert outcome.code == 0
    assert "Would repair 8 dead elements in 1 bias tensor. Dry run" in outcome.out
    assert names(dead.parent) == ["model.zip"]


def test_an_existing_output_exits_2_unless_forced(run: Run, dead: Path) -> None:
    output = dead.with_name("model_FIXED.zip")
    output.write_text("precious")
    outcome = run("fix", dead)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.complaint == (f"sacdoctor: {output}: it exists already and is not overwritten")
    assert output.read_text() == "precious"
    assert run("fix", dead, "--force").code == 0
    assert not truth.dead_biases(state_dict(output))


def test_seed_is_passed_on(run: Run, dead: Path, tmp_path: Path) -> None:
    biases = []
    for number, seed in enumerate((0, 0, 1)):
        run("fix", dead, "--seed", seed, "--output", tmp_path / f"{number}.zip")
        biases.append(state_dict(tmp_path / f"{number}.zip")["fc.bias"])
    assert th.equal(biases[0], biases[1])
    assert not (biases[0] == biases[2]).any()


def test_only_is_passed_on(run: Run, tmp_path: Path) -> None:
    state = {**DEAD, "out.weight": th.ones(8, 2), "out.bias": th.zeros(8)}
    run("fix", write_sb3(tmp_path / "m.zip", state), "--only", "out.*")
    assert truth.dead_biases(state_dict(tmp_path / "m_FIXED.zip")) == {"fc.bias"}


def test_donors_are_passed_on(run: Run, tmp_path: Path) -> None:
    state = {
        "critic.weight": th.ones(2, 2),
        "critic.bias": th.zeros(2),
        "critic_target.weight": th.ones(2, 2),
        "critic_target.bias": th.tensor([3.0, 4.0]),
    }
    source = write_sb3(tmp_path / "m.zip", state)
    donor = write_sb3(tmp_path / "d.zip", {**state, "critic.bias": th.tensor([5.0, 6.0])})
    run("fix", source, "--donor", "target")
    assert state_dict(tmp_path / "m_FIXED.zip")["critic.bias"].tolist() == [3.0, 4.0]
    run("fix", source, "--donor", donor, "--force")
    assert state_dict(tmp_path / "m_FIXED.zip")["critic.bias"].tolist() == [5.0, 6.0]


def test_thresholds_come_from_the_projects_settings(run: Run, tmp_path: Path) -> None:
    """A tensor that `scan` passes under these settings is nothing to repair."""
    bias = th.ones(10)
    bias[:2] = 0.0
    source = write_sb3(tmp_path / "m.zip", {"fc.weight": th.ones(10, 2), "fc.bias": bias})
    (tmp_path / "sacdoctor.toml").write_text("warning = 25\n")
    assert run("scan", source, "--fail-on", "warning").code == 0
    assert "Nothing to repair" in run("fix", source).out
    (tmp_path / "sacdoctor.toml").unlink()
    assert "Repaired 2 dead elements" in run("fix", source).out


# -- several at once ---------------------------------------------------------------------------


def test_several_files_and_folders_are_repaired(run: Run, tmp_path: Path) -> None:
    deep = tmp_path / "run" / "deep"
    deep.mkdir(parents=True)
    sources = [tmp_path / "a.zip", tmp_path / "run" / "b.zip", deep / "c.zip"]
    for source in sources:
        write_sb3(source, DEAD)
    outcome = run("fix", tmp_path / "a.zip", tmp_path / "run")
    assert (outcome.code, outcome.err) == (0, "")
    for source in sources:
        fixed = source.with_name(f"{source.stem}_FIXED.zip")
        assert not truth.dead_biases(state_dict(fixed))
        assert str(source) in outcome.out


@pytest.mark.parametrize("format", ["table", "json"])
def test_one_bad_among_several_exits_2_and_the_others_are_done(
    run: Run, tmp_path: Path, format: str
) -> None:
    for name in ("a.zip", "c.zip"):
        write_sb3(tmp_path / name, DEAD)
    (tmp_path / "b.zip").write_bytes(b"PK, but no more than that")
    outcome = run("fix", "a.zip", "b.zip", "c.zip", "--format", format)
    assert outcome.code == 2
    assert outcome.complaint.startswith("sacdoctor: b.zip: ")
    assert names(tmp_path) == ["a.zip", "a_FIXED.zip", "b.zip", "c.zip", "c_FIXED.zip"]
    if format == "json":
        documents = json.loads(outcome.out)["checkpoints"]
        assert [document["source"] for document in documents] == ["a.zip", "c.zip"]


def test_a_second_run_over_a_folder_leaves_what_is_repaired(run: Run, dead: Path) -> None:
    run("fix", dead.parent)
    before = dead.with_name("model_FIXED.zip").read_bytes()
    outcome = run("fix", dead.parent, "--force")
    assert outcome.code == 0
    assert names(dead.parent) == ["model.zip", "model_FIXED.zip"]
    assert dead.with_name("model_FIXED.zip").read_bytes() == before


def test_one_output_for_several_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        write_sb3(tmp_path / name, DEAD)
    outcome = run("fix", "a.zip", "b.zip", "--output", "out.zip")
    assert (outcome.code, outcome.out) == (2, "")
    assert "--output" in outcome.err
    assert names(tmp_path) == ["a.zip", "b.zip"]


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_what_cannot_be_read_is_one_line_and_nothing_is_written(
    run: Run, tmp_path: Path, name: str
) -> None:
    make, reason = FILES[name]
    path = tmp_path / "bad.zip"
    path.write_bytes(make())
    outcome = run("fix", path)
    assert (outcome.code, outcome.out) == (2, "")
    start = f"sacdoctor: {path}: "
    assert outcome.complaint.startswith(start)
    assert re.search(reason, outcome.complaint.removeprefix(start)), outcome.complaint
    assert names(tmp_path) == ["bad.zip"]


@pytest.mark.parametrize("name", ["empty", "text", "only-the-letters-PK", "another-zip"])
def test_a_donor_that_cannot_be_read_is_named(
    run: Run, dead: Path, tmp_path: Path, name: str
) -> None:
    make, reason = FILES[name]
    donor = tmp_path / "donor.zip"
    donor.write_bytes(make())
    outcome = run("fix", dead, "--donor", donor)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.complaint.startswith(f"sacdoctor: {donor}: ")
    assert re.search(reason, outcome.complaint), outcome.complaint
    assert names(tmp_path) == ["donor.zip", "model.zip"]


@pytest.mark.parametrize("path", ["missing.zip", "no/such/folder.zip", "*.nothing"])
def test_paths_that_lead_nowhere_are_one_line(run: Run, tmp_path: Path, path: str) -> None:
    outcome = run("fix", path)
    assert (outcome.code, outcome.out) == (2, "")
    assert path in outcome.complaint
    assert names(tmp_path) == []


def test_a_link_that_leads_in_a_circle_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.zip").symlink_to("b.zip")
    (tmp_path / "b.zip").symlink_to("a.zip")
    outcome = run("fix", "a.zip")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.complaint.startswith("sacdoctor: a.zip: ")


@pytest.mark.parametrize(
    "options",
    [
        ("--seed", "many"),
        ("--format", "xml"),
        ("--no-such-option",),
        ("--learning-rate", "0"),
        ("--learning-rate", "nan"),
        ("--learning-rate", "-1"),
        ("--max-grad-norm", "inf"),
    ],
)
def test_wrong_options_exit_2_and_write_nothing(
    run: Run, dead: Path, options: tuple[str, ...]
) -> None:
    outcome = run("fix", dead, *options)
    assert (outcome.code, outcome.out) == (2, "")
    assert options[0] in outcome.err
    assert "Traceback" not in outcome.err
    assert names(dead.parent) == ["model.zip"]


def test_no_path_is_wrong_usage(run: Run) -> None:
    assert run("fix").code == 2


def test_clipping_where_there_is_none_is_one_line(run: Run, tmp_path: Path) -> None:
    settings = {"target_entropy": -1.0, "learning_rate": 3e-4}
    source = write_sb3(tmp_path / "m.zip", {"actor.mu.bias": th.ones(2)}, settings)
    outcome = run("fix", source, "--max-grad-norm", "1")
    assert (outcome.code, outcome.out) == (2, "")
    assert "SAC has no max_grad_norm" in outcome.complaint


# -- JSON --------------------------------------------------------------------------------------


def document(run: Run, *arguments: object) -> dict[str, Any]:
    outcome = run("fix", *arguments, "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    return dict(json.loads(outcome.out, parse_constant=pytest.fail))


def test_json_has_the_promised_names(run: Run, tmp_path: Path) -> None:
    moments = {"step": th.tensor(9.0), "exp_avg": th.ones(8), "exp_avg_sq": th.ones(8)}
    optimizer = {
        "state": {1: moments},
        "param_groups": [{"lr": 0.01, "betas": (0.9, 0.999), "params": [0, 1]}],
    }
    norm = {"norm.weight": th.ones(4), "norm.bias": th.zeros(4)}
    source = write_sb3(
        tmp_path / "m.zip",
        DEAD | norm,
        {"learning_rate": 0.01},
        {"policy.optimizer": optimizer},
    )
    found = document(run, source, "--learning-rate", "0.001")
    assert set(found) == KEYS
    assert found["schema_version"] == 1
    assert found["source"] == str(source)
    assert found["output"] == str(tmp_path / "m_FIXED.zip")
    (repaired,) = found["repaired"]
    assert set(repaired) == {"name", "elements", "by", "fill", "source", "age"}
    assert (repaired["name"], repaired["elements"], repaired["by"]) == ("fc.bias", 8, "reinit")
    assert "0.01" in repaired["fill"]
    (left,) = found["left"]
    assert set(left) == {"name", "reason"}
    assert left["name"] == "norm.bias"
    assert found["settings"] == [
        {"key": "learning_rate", "before": 0.01, "after": 0.001},
        {"key": "policy.optimizer.lr", "before": 0.01, "after": 0.001},
    ]
    for key, zeros, dead in (("before", 12, 2), ("after", 4, 1)):
        assert set(found[key]) == SUMMARY
        assert found[key]["zero_parameters"] == zeros
        assert found[key]["all_zero_bias_tensors"] == dead


def test_json_names_the_cleared_moments(run: Run, tmp_path: Path) -> None:
    moments = {
        number: {"step": th.tensor(9.0), "exp_avg": th.ones(shape), "exp_avg_sq": th.ones(shape)}
        for number, shape in enumerate([(8, 2), (8,)])
    }
    optimizer = {
        "state": moments,
        "param_groups": [{"lr": 0.01, "betas": (0.9, 0.999), "params": [0, 1]}],
    }
    source = write_sb3(tmp_path / "m.zip", DEAD, {}, {"policy.optimizer": optimizer})
    (entry,) = document(run, source)["optimizer"]
    assert set(entry) - {"note"} == {"file", "name", "elements", "step_reset"}
    assert {key: entry[key] for key in ("file", "name", "elements", "step_reset")} == {
        "file": "policy.optimizer.pth",
        "name": "fc.bias",
        "elements": 8,
        "step_reset": True,
    }


def test_json_of_a_dry_run_and_of_a_healthy_file_has_no_output(
    run: Run, dead: Path, healthy: Path
) -> None:
    dry = document(run, dead, "--dry-run")
    assert (dry["output"], dry["after"]) == (None, None)
    assert dry["repaired"]
    idle = document(run, healthy)
    assert (idle["output"], idle["after"], idle["repaired"]) == (None, None, [])


def test_json_over_several_is_one_document(run: Run, tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        write_sb3(tmp_path / name, DEAD)
    found = document(run, "a.zip", "b.zip")
    assert set(found) == {"schema_version", "checkpoints"}
    assert found["schema_version"] == 1
    assert [set(part) for part in found["checkpoints"]] == 2 * [KEYS - {"schema_version"}]


# -- the table ---------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 80, 200])
def test_table_fits_and_is_plain_in_a_pipe(
    run: Run, tmp_path: Path, broken: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    outcome = run("fix", broken, "--output", tmp_path / "out.zip")
    assert outcome.code == 0
    assert "\x1b" not in outcome.out
    assert max(len(line) for line in outcome.out.splitlines()) <= width
    for name in ("v11_shared_gru.bias_ih_l0", "before", "after"):
        assert name in outcome.out or width < 80


def test_table_shows_before_and_after_side_by_side(run: Run, tmp_path: Path, broken: Path) -> None:
    lines = run("fix", broken, "--output", tmp_path / "out.zip").out.splitlines()
    before, after = state_dict(broken), state_dict(tmp_path / "out.zip")

    def dead(tensors: dict[str, th.Tensor]) -> int:
        return sum("bias" in n.rpartition(".")[2] and not t.any() for n, t in tensors.items())

    row = next(line for line in lines if line.startswith("bias tensors 100 % zero"))
    assert row.split()[-2:] == [str(dead(before)), str(dead(after))]
    assert "forget gate 1.0; input, cell, output gates uniform(-0.01, 0.01)" in "".join(lines)


def test_names_with_control_characters_are_shown_harmlessly(run: Run, tmp_path: Path) -> None:
    state = {"\x1b[31mred.weight": th.ones(4, 2), "\x1b[31mred.bias": th.zeros(4)}
    outcome = run("fix", write_sb3(tmp_path / "m.zip", state))
    assert outcome.code == 0
    assert "\x1b" not in outcome.out


# -- start-up ----------------------------------------------------------------------------------

BLOCKED = ("torch", "stable_baselines3", "sb3_contrib", "matplotlib", "pandas", "gymnasium")


def without_torch(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({BLOCKED!r})); "
        "from sacdoctor.cli.main import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, "fix", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=child_environment(),
        cwd=folder,
        check=False,
    )


def test_fix_needs_neither_torch_nor_stable_baselines3(tmp_path: Path, broken: Path) -> None:
    done = without_torch(tmp_path, broken, "--output", "out.zip", "--learning-rate", "1e-4")
    assert (done.returncode, done.stderr) == (0, "")
    truth.assert_sound(tmp_path / "out.zip")


def test_the_old_format_needs_no_torch_either(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    path.write_bytes(zip_of({"data": b"{}", "policy.pth": saved(DEAD, legacy=True)}))
    done = without_torch(tmp_path, path)
    assert (done.returncode, done.stderr) == (0, "")
    truth.assert_sound(tmp_path / "m_FIXED.zip")


def test_a_path_that_is_no_text_is_repaired(shell: Run, tmp_path: Path) -> None:
    name = os.fsdecode(b"m\xff.zip")
    try:
        write_sb3(tmp_path / name, DEAD)
    except OSError:
        pytest.skip("the file system takes no such name")
    outcome = shell("fix", name)
    assert (outcome.code, outcome.err) == (0, "")
    assert os.fsdecode(b"m\xff_FIXED.zip") in names(tmp_path)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_option(run: Run, flag: str) -> None:
    outcome = run("fix", flag)
    assert (outcome.code, outcome.err) == (0, "")
    for option in (
        "--output",
        "--seed",
        "--dry-run",
        "--force",
        "--only",
        "--donor",
        "--keep-optimizer",
        "--learning-rate",
        "--max-grad-norm",
        "--copy-if-healthy",
        "--format",
    ):
        assert option in outcome.out
