"""The policy that the project started with, whole: what is wrong with it, why, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch as th

from fixtures.make import make, train
from sacdoctor import Checkpoint, Finding, Report, ScanOptions, Severity, Thresholds, scan
from sacdoctor.diagnosis.examination import Examination, examine
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.model import Cause
from sacdoctor.repair import fix
from tests.diagnosis.handmade import PPO, adam, report
from tests.torch_truth import state_dict


@pytest.fixture(scope="module")
def full(full_two_head: Path) -> Report:
    return scan(full_two_head)


def finding(report: Report, code: str) -> Finding:
    (found,) = [finding for finding in report.findings if finding.rule == code]
    return found


# -- TwoHeadV11Sigmoid in full size ------------------------------------------------------------


def test_its_20_critical_biases_are_in_no_optimizer(full: Report) -> None:
    critical = [bias for bias in full.biases if bias.severity is Severity.CRITICAL]
    assert {bias.cause for bias in critical} == {"not-in-optimizer"}
    assert sorted(bias.zero_percent for bias in critical) == [75.0] * 2 + [100.0] * 18
    assert [b.kind for b in critical if b.zero_percent == 75.0] == ["LSTM"] * 2


def test_its_10_fresh_norms_are_at_their_starting_value(full: Report) -> None:
    notices = [bias for bias in full.biases if bias.severity is Severity.NOTICE]
    assert [bias.cause for bias in notices] == ["normalisation-init"] * 10
    assert {bias.kind for bias in notices} == {"Norm"}
    others = [bias for bias in full.biases if bias.severity is Severity.OK]
    assert {bias.cause for bias in others} == {None}


def test_sd202_names_the_91_tensors_that_the_live_optimizer_does_not_know(full: Report) -> None:
    """By identity, in the small model: the names are the same in every size."""
    model = train("two_head_broken", "small")
    covered = {id(p) for group in model.policy.optimizer.param_groups for p in group["params"]}
    missing = [name for name, p in model.policy.named_parameters() if id(p) not in covered]
    assert len(missing) == 91
    assert sorted(finding(full, "SD202").tensors) == sorted(missing)


def test_sd202_says_what_to_write_and_how_the_checkpoint_comes_along(full: Report) -> None:
    remedy = finding(full, "SD202").remedy
    assert "self.optimizer = self.optimizer_class(" in remedy
    assert "self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs" in remedy
    assert "sacdoctor fix MODEL.zip --complete-optimizer" in remedy
    assert 'RecurrentPPO.load("MODEL_FIXED.zip", env=env)' in remedy


def test_its_findings_are_the_fault_and_the_rate_that_was_blamed_for_it(full: Report) -> None:
    assert [finding.rule for finding in full.findings] == ["SD101", "SD202", "SD401"]
    assert full.status == "critical"


@pytest.mark.slow
def test_the_corrected_policy_has_no_finding(tmp_path: Path) -> None:
    report = scan(make("two_head_fixed", "full", tmp_path))
    assert (report.status, report.findings) == ("healthy", ())
    assert {bias.cause for bias in report.biases} == {None}


def test_a_repair_revives_its_biases_and_does_not_cure_it(
    full: Report, full_two_head: Path, tmp_path: Path
) -> None:
    fix(full_two_head, output=tmp_path / "fixed.zip")
    after = scan(tmp_path / "fixed.zip")
    assert {bias.cause for bias in after.biases} == {None, "normalisation-init"}
    assert "SD101" not in {finding.rule for finding in after.findings}
    assert finding(after, "SD202") == finding(full, "SD202")
    biases = [
        tensor for name, tensor in state_dict(tmp_path / "fixed.zip").items() if "bias" in name
    ]
    assert sum(not tensor.any() for tensor in biases) == 10


# -- an examination ----------------------------------------------------------------------------

POLICY = {
    "net.weight": th.ones(4, 3),
    "net.bias": th.zeros(4),
    "norm.weight": th.ones(4),
    "norm.bias": th.zeros(4),
    "late.weight": th.ones(2, 4),
    "late.bias": th.tensor([0.0, 1.0]),
}
STATE = {"policy.optimizer": adam([POLICY["net.weight"], th.zeros(4), th.ones(4), th.ones(4)])}


def test_biases_are_asked_for_by_their_cause(broken: Path) -> None:
    with Checkpoint(broken) as checkpoint:
        examination: Examination = examine(Facts(checkpoint), Thresholds(), lambda name: True)
        assert len(examination.biases(Cause.NOT_IN_OPTIMIZER)) == 20
        assert examination.biases(Cause.ZERO_GRADIENT) == []
        # A notice is no trouble.
        assert examination.biases(Cause.NORMALISATION_INIT) == []


def test_causes_do_not_depend_on_which_tensors_are_looked_at(tmp_path: Path) -> None:
    whole = {bias.name: bias for bias in report(tmp_path, POLICY, PPO, STATE).biases}
    for name in ("net.bias", "norm.bias", "late.bias"):
        options = ScanOptions(include=(name,))
        (alone,) = report(tmp_path, POLICY, PPO, STATE, options).layers
        assert alone == whole[name]


def test_causes_follow_the_users_thresholds(tmp_path: Path) -> None:
    options = ScanOptions(thresholds=Thresholds(warning=50, critical=50))
    found = {bias.name: bias for bias in report(tmp_path, POLICY, PPO, STATE, options).biases}
    assert (found["late.bias"].severity, found["late.bias"].cause) == ("notice", None)
    assert (found["net.bias"].severity, found["net.bias"].cause) == ("critical", "zero-gradient")


def test_fresh_norm_is_a_notice_whatever_the_thresholds(tmp_path: Path) -> None:
    options = ScanOptions(thresholds=Thresholds(warning=100, critical=100))
    found = {bias.name: bias for bias in report(tmp_path, POLICY, PPO, STATE, options).biases}
    assert (found["norm.bias"].severity, found["norm.bias"].cause) == (
        "notice",
        "normalisation-init",
    )


def test_components_are_the_users(tmp_path: Path) -> None:
    options = ScanOptions(components={"late.*": "my head"})
    found = {bias.name: bias for bias in report(tmp_path, POLICY, PPO, STATE, options).biases}
    assert found["late.bias"].component == "my head"


def test_only_biases_have_causes(tmp_path: Path) -> None:
    policy = {**POLICY, "net.weight": th.zeros(4, 3), "running_mean": th.zeros(4)}
    for layer in report(tmp_path, policy, PPO, STATE).layers:
        assert layer.role == "bias" or (layer.cause, layer.severity) == (None, None)
