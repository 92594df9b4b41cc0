"""Causes stand before what follows from them, whatever place shows it."""

from __future__ import annotations

from sacdoctor.checkup.concerns import Sign, concerns
from sacdoctor.diagnosis.rules import rule_named
from sacdoctor.model import Finding
from sacdoctor.severity import Severity


def found(name: str, *tensors: str, severity: Severity = Severity.CRITICAL) -> Finding:
    return rule_named(name).finding(severity, name, evidence="", remedy="", tensors=tensors)


INPUTS = found("input-scale", "actor.0.weight")
SATURATED = found("saturated-units", "actor.2.weight")


def test_inputs_of_the_wrong_size_explain_units_that_are_saturated_at_work() -> None:
    (concern,) = concerns([Sign(SATURATED, "the networks at work"), Sign(INPUTS, "model.zip")])
    assert concern.finding is INPUTS
    assert [of.finding for of in concern.explains] == [SATURATED]


def test_in_one_file_other_tensors_are_another_fault() -> None:
    first = found("dead-bias", "a.bias")
    other = found("reset-after-training", "b.bias")
    told = concerns([Sign(first, "model.zip"), Sign(other, "model.zip")])
    assert [of.finding for of in told] == [first, other]


def test_what_several_places_show_is_said_once_by_the_worst() -> None:
    mild = found("non-finite", severity=Severity.WARNING)
    worse = found("non-finite", "a.weight")
    (concern,) = concerns([Sign(mild, "progress.csv"), Sign(worse, "model.zip")])
    assert concern.finding is worse
    assert concern.where == ("model.zip", "progress.csv")
