"""The labelled benchmark: what the scan says of each checkpoint is what was done to it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch as th

from fixtures.fault_labels import CODES
from sacdoctor import Report, ScanOptions, scan
from sacdoctor.diagnosis.buffer_facts import StoredTransitions
from sacdoctor.diagnosis.normalisation import Normalised
from sacdoctor.diagnosis.rules.registry import RULES, rule_of
from sacdoctor.diagnosis.run_facts import RunFacts
from sacdoctor.diagnosis.warmup_facts import ForcedTransitions
from sacdoctor.repair import fix
from tests.corpus import FILES, each_file, needs_corpus
from tests.labelled import (
    ALL,
    BUFFERS,
    CASES,
    FAULTY,
    HEALTHY,
    INNOCENT,
    READABLE,
    UNREADABLE,
    Labelled,
    report_of,
)

WITHOUT_OPTIMIZER = {"unknown", "normalisation-init", "target-out-of-sync"}
"""The causes that need no optimizer's testimony."""
EXPLAINED = [name for name, case in ALL.items() if case.explained]


def causes(report: Report) -> dict[str, str]:
    return {layer.name: layer.cause for layer in report.layers if layer.cause is not None}


def rules(report: Report) -> set[str]:
    return {finding.rule for finding in report.findings}


# -- causes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READABLE)
def test_causes_are_those_of_the_label_and_no_others(labelled: Labelled, name: str) -> None:
    label = labelled.label(name)
    found = causes(labelled.report(name))
    assert {*found} == {*label["causes"]}
    for tensor, cause in label["causes"].items():
        assert found[tensor] in {cause, label["also_true"].get(tensor, cause)}, tensor


@pytest.mark.parametrize("name", READABLE)
def test_every_cause_comes_with_its_evidence(labelled: Labelled, name: str) -> None:
    for layer in labelled.report(name).layers:
        assert (layer.cause is None) == (layer.evidence is None)


@pytest.mark.parametrize("name", [name for name in READABLE if name not in INNOCENT])
def test_findings_name_the_tensors_of_their_cause(labelled: Labelled, name: str) -> None:
    """Target networks' too, where the finding is not about optimizers: those skip targets."""
    report = labelled.report(name)
    for cause, code in CODES.items():
        if code in ALL[name].explained:
            continue
        named = {tensor for f in report.findings if f.rule == code for tensor in f.tensors}
        biases = {tensor for tensor, found in causes(report).items() if found == cause}
        if code in ("SD202", "SD203"):
            biases = {tensor for tensor in biases if "_target." not in tensor}
            assert not [tensor for tensor in named if "_target." in tensor]
        assert named >= biases


def test_every_cause_is_shown_in_three_algorithms() -> None:
    for cause in {*CODES, "normalisation-init", "unknown"}:
        cases = [case for case in CASES.values() if cause in case.causes.values()]
        assert len({case.algorithm for case in cases}) >= 3, cause


# -- rules -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_rules_are_those_of_the_label(labelled: Labelled, name: str) -> None:
    label = labelled.label(name)
    found = {finding.rule for finding in labelled.told(name)}
    assert found >= {*label["rules"]}
    assert found <= {*label["rules"], *label["allowed"]}


@pytest.mark.parametrize("name", ALL)
def test_one_fault_is_named_by_its_cause_and_at_most_one_symptom(
    labelled: Labelled, name: str
) -> None:
    shown = [finding for finding in labelled.told(name) if not finding.in_passing]
    assert len(shown) <= 2 * ALL[name].faults, [finding.rule for finding in shown]


@pytest.mark.parametrize("name", EXPLAINED)
def test_what_a_cause_explains_is_said_where_it_alone_is_asked_for(
    labelled: Labelled, name: str
) -> None:
    codes = ALL[name].explained
    alone = [scan(labelled.path(name), ScanOptions(select=(code,))) for code in sorted(codes)]
    assert {code for report in alone for code in rules(report)} == codes


@pytest.mark.parametrize("name", EXPLAINED)
def test_a_cause_is_as_bad_as_what_it_explains(labelled: Labelled, name: str) -> None:
    whole = labelled.report(name)
    codes = tuple(ALL[name].explained)
    alone = scan(labelled.path(name), ScanOptions(select=codes))
    worst = max(finding.severity.rank for finding in alone.findings)
    assert max(finding.severity.rank for finding in whole.findings) >= worst


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_is_healthy(labelled: Labelled, name: str) -> None:
    assert labelled.report(name).status in ("healthy", "notice")


@pytest.mark.parametrize("name", [n for n, case in BUFFERS.items() if case.healthy])
def test_a_healthy_buffer_is_at_most_one_whose_actions_cannot_be_told(
    labelled: Labelled, name: str
) -> None:
    assert labelled.report(name).status in ("healthy", "unknown")


def test_every_rule_about_buffers_and_runs_is_shown_in_two_algorithms() -> None:
    """Of a setting that a file asks for, and of code that loading runs, other tests have faults."""
    subjects = StoredTransitions, ForcedTransitions, RunFacts, Normalised
    for rule in RULES:
        if any(rule.looks_at(subject) for subject in subjects):
            faulty = [case for case in ALL.values() if rule.code in case.rules]
            assert len({case.algorithm for case in faulty}) >= 2, rule.code


@pytest.mark.parametrize("name", INNOCENT)
def test_units_that_were_never_active_are_a_notice_without_a_finding(
    labelled: Labelled, name: str
) -> None:
    report = labelled.report(name)
    assert (report.status, report.findings) == ("notice", ())
    noticed = [layer for layer in report.layers if layer.cause is not None]
    assert noticed and all(layer.severity == "notice" for layer in noticed)


@pytest.mark.parametrize("name", UNREADABLE)
def test_damaged_file_is_an_error_with_its_reason(labelled: Labelled, name: str) -> None:
    report = labelled.report(name)
    (finding,) = report.findings
    assert report.status == "error"
    assert finding.evidence == report.error


@pytest.mark.parametrize("name", CASES)
def test_findings_have_the_severities_that_their_rules_announce(
    labelled: Labelled, name: str
) -> None:
    for finding in report_of(labelled.path(name)).findings:
        assert finding.severity in rule_of(finding).severities


# -- without the witness -----------------------------------------------------------------------


@pytest.mark.parametrize("name", FAULTY)
@pytest.mark.parametrize("ending", ["optimizer.pth", ".optimizer.pth"], ids=["all", "policy's"])
def test_without_its_optimizers_no_cause_is_claimed(
    labelled: Labelled, name: str, ending: str
) -> None:
    """The second time `ent_coef_optimizer.pth` stays: it knows nothing of the policy."""
    report = report_of(labelled.without(name, ending))
    found = causes(report)
    assert {*found.values()} <= WITHOUT_OPTIMIZER
    assert {*found} == {*labelled.label(name)["causes"]}
    assert not rules(report) & {"SD201", "SD202", "SD203", "SD204", "SD205"}


@pytest.mark.parametrize("lost", ["actor.optimizer.pth", "critic.optimizer.pth"])
@pytest.mark.parametrize("name", [n for n in READABLE if CASES[n].algorithm in ("SAC", "TD3")])
def test_with_half_of_its_optimizers_no_cause_is_wrong(
    labelled: Labelled, name: str, lost: str
) -> None:
    label = labelled.label(name)
    report = report_of(labelled.without(name, lost))
    for tensor, cause in causes(report).items():
        proven = {label["causes"].get(tensor), label["also_true"].get(tensor), "unknown"}
        assert cause in proven, tensor
    assert not (rules(report) & {"SD202", "SD203"}) - {*label["rules"], *label["allowed"]}


# -- checkpoints from the wild -----------------------------------------------------------------


@needs_corpus
def test_every_agent_that_trained_well_is_healthy() -> None:
    """Some load only where gym is, and one's last rate was -9.6e-7: that is said in passing."""
    statuses = {path.name: report_of(path).status for path in FILES}
    assert {*statuses.values()} == {"healthy"}, statuses


@each_file
def test_bias_set_to_zero_in_a_corpus_file_is_never_blamed_on_its_optimizer(
    tmp_path: Path, path: Path
) -> None:
    """One bias after the other; each was trained, or is not the optimizer's business."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    policy = th.load(io.BytesIO(members["policy.pth"]), weights_only=True, map_location="cpu")
    for name in [name for name in policy if "bias" in name.rpartition(".")[2]]:
        report = scan(with_zeros(tmp_path / "m.zip", members, policy, name))
        found = {*causes(report).values()}
        assert not found & {"not-in-optimizer", "no-gradient", "untrained"}, name
        if report.algorithm == "ARS" or (report.algorithm == "TRPO" and _is_policy(name)):
            assert found == {"unknown"}, name
        elif "_target." in name:
            assert found == {"target-out-of-sync"}, name


def _is_policy(name: str) -> bool:
    """Of an actor-critic policy: what is not the value function's."""
    return name.startswith(("mlp_extractor.policy_net.", "action_net."))


def with_zeros(
    output: Path, members: Mapping[str, bytes], policy: Mapping[str, th.Tensor], name: str
) -> Path:
    hurt: dict[str, Any] = {**policy, name: th.zeros_like(policy[name])}
    saved = io.BytesIO()
    th.save(hurt, saved)
    with zipfile.ZipFile(output, "w") as archive:
        for member, data in {**members, "policy.pth": saved.getvalue()}.items():
            archive.writestr(member, data)
    return output


# -- what a repair does not cure ---------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in FAULTY if "SD202" in CASES[n].rules])
def test_redrawn_biases_are_alive_and_still_in_no_optimizer(
    labelled: Labelled, tmp_path: Path, name: str
) -> None:
    before = labelled.report(name)
    fix(labelled.path(name), output=tmp_path / "fixed.zip")
    after = scan(tmp_path / "fixed.zip")
    assert {*causes(after).values()} <= {"normalisation-init"}
    assert "SD101" not in rules(after)
    (outside,) = [finding for finding in after.findings if finding.rule == "SD202"]
    assert [outside] == [finding for finding in before.findings if finding.rule == "SD202"]
    assert "--complete-optimizer" in outside.remedy or "will not last" in outside.remedy
