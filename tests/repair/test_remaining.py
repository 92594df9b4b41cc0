"""What `fix` does not cure: it is said, with the command that would, before and after writing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch as th
from msgspec.structs import replace

from sacdoctor import scan
from sacdoctor.repair import RepairError, RepairOptions, cures, fix
from tests.archives import write_sb3
from tests.conftest import Run
from tests.labelled import Labelled

NAN = float("nan")


def hurt(path: Path, *, bias: float = 0.0, **settings: Any) -> Path:
    """A checkpoint with a NaN in a weight, and a bias of which all or nothing is zero."""
    state = {"fc.weight": th.ones(8, 2), "fc.bias": th.full((8,), bias)}
    state["fc.weight"][0, 0] = NAN
    return write_sb3(path, state, settings)


def stays(result: Any) -> list[str]:
    return [finding.rule for finding in result.remaining]


def test_a_nan_stays_and_no_repair_is_known(run: Run, tmp_path: Path) -> None:
    outcome = run("fix", hurt(tmp_path / "m.zip"))
    assert "Repaired 8 dead elements in 1 bias tensor" in outcome.out
    assert "Still critical: SD301; no repair is known, see `sacdoctor rules SD301`." in outcome.out


def test_nothing_to_repair_is_not_all_well(run: Run, tmp_path: Path) -> None:
    outcome = run("fix", hurt(tmp_path / "m.zip", bias=1.0))
    assert "No bias to repair; nothing was written." in outcome.out
    assert "Still critical: SD301; no repair is known" in outcome.out


def test_a_dry_run_says_what_would_stay(run: Run, tmp_path: Path) -> None:
    outcome = run("fix", hurt(tmp_path / "m.zip"), "--dry-run")
    assert "Would still be critical: SD301; no repair is known" in outcome.out
    assert "SD101" not in outcome.out


def test_what_another_command_cures_names_it(run: Run, broken: Path, tmp_path: Path) -> None:
    outcome = run("fix", broken, "--output", tmp_path / "m.zip")
    assert "SD401; `sacdoctor fix --learning-rate RATE` mends the file." in outcome.out
    assert "Still critical: SD202" in outcome.out
    both = run("fix", broken, "--output", tmp_path / "n.zip", "--learning-rate", "3e-4")
    assert "SD401" not in both.out
    assert "Still critical: SD202" in both.out


def test_what_only_leaves_is_left_by_this_repair(run: Run, tmp_path: Path) -> None:
    layer = {"weight": th.ones(8, 1), "bias": th.zeros(8)}
    state = {f"{name}.{part}": value for name in "ab" for part, value in layer.items()}
    state = {name: value.clone() for name, value in state.items()}
    source = write_sb3(tmp_path / "m.zip", state)
    for options in ((), ("--dry-run",)):
        outcome = run("fix", source, "--only", "a.*", "--force", *options)
        assert "SD101; this repair leaves it. 1 bias tensor is more than 30 % zero." in outcome.out


def test_only_that_fits_no_tensor_is_refused(run: Run, tmp_path: Path) -> None:
    outcome = run("fix", hurt(tmp_path / "m.zip"), "--only", "cf.*")
    assert (outcome.code, outcome.out.strip()) == (2, "")
    assert outcome.complaint.endswith("m.zip: --only 'cf.*' fits none of its tensors")


def test_json_lists_it_with_the_commands_that_cure_it(
    run: Run, broken: Path, tmp_path: Path
) -> None:
    found = json.loads(run("fix", broken, "--dry-run", "--format", "json").out)["remaining"]
    commands = {finding["rule"]: finding["cured_by"] for finding in found}
    assert [*commands] == ["SD202", "SD401"]
    assert commands["SD401"] == ["sacdoctor fix --learning-rate RATE"]


def test_a_file_without_tensors_has_nothing_to_repair(run: Run, tmp_path: Path) -> None:
    outcome = run("fix", write_sb3(tmp_path / "m.zip", {}))
    assert "It holds no tensors that could be repaired; nothing was written." in outcome.out


@pytest.mark.parametrize(
    "name", ["late_a2c", "reset_ppo", "target_dqn", "dead_layer_td3", "exploded_sac", "nan_ppo"]
)
def test_what_is_foreseen_is_what_stays(labelled: Labelled, name: str, tmp_path: Path) -> None:
    source = labelled.path(name)
    result = fix(source, output=tmp_path / "m.zip", dry_run=True)
    if not result.plan.is_empty:
        fix(source, output=tmp_path / "m.zip")
        source = tmp_path / "m.zip"
    assert result.remaining == scan(source).findings


# -- --strip-code alone ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "repairs"),
    [
        (RepairOptions(strip_code=True), False),
        (RepairOptions(strip_code=True, only="fc.*"), True),
        (RepairOptions(strip_code=True, learning_rate=1e-4), True),
        (RepairOptions(strip_code=True, seed=1, keep_optimizer=True), False),
    ],
)
def test_strip_code_alone_re_draws_nothing(
    tmp_path: Path, options: RepairOptions, repairs: bool
) -> None:
    source = hurt(tmp_path / "m.zip", learning_rate=1e-3)
    result = fix(source, options=options, dry_run=True)
    assert bool(result.plan.repaired) is repairs
    donor = write_sb3(tmp_path / "d.zip", {"fc.weight": th.ones(8, 2), "fc.bias": th.ones(8)})
    assert fix(source, options=options, donor=donor, dry_run=True).plan.repaired


def test_what_strip_code_alone_leaves_is_cured_by_fix(run: Run, tmp_path: Path) -> None:
    outcome = run("fix", hurt(tmp_path / "m.zip"), "--strip-code")
    assert "No code to strip; nothing was written." in outcome.out
    assert "Still critical: SD101; `sacdoctor fix` mends the file." in outcome.out


def test_cures_leave_out_what_was_done(broken: Path) -> None:
    result = fix(broken, options=RepairOptions(learning_rate=1.0), dry_run=True)
    (rate,) = [finding for finding in result.before.findings if finding.rule == "SD401"]
    assert cures(rate, result.plan) == ("fix-config",)
    other = replace(result.plan, commands=frozenset())
    assert cures(rate, other) == ("fix --learning-rate RATE",)


def test_only_refuses_from_python_too(tmp_path: Path) -> None:
    with pytest.raises(RepairError, match="fits none"):
        fix(hurt(tmp_path / "m.zip"), options=RepairOptions(only="x"))
