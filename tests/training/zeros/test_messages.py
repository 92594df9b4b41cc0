"""What is told of a check, and how often."""

from __future__ import annotations

import logging
from typing import Any

from sacdoctor.model import Cause
from sacdoctor.severity import Severity
from sacdoctor.training.zeros import Check, DeadBias, Repair, messages


def dead(name: str, cause: str = "zero-gradient", percent: float = 100.0) -> DeadBias:
    severity = Severity.CRITICAL if percent > 30 else Severity.WARNING
    return DeadBias(
        name, "actor", "Linear", 8, 8, percent, severity, Cause(cause), "as its moments say"
    )


def repaired(name: str, lasts: bool = True) -> Repair:
    return Repair(name, 8, "reinit", "uniform(-0.01, 0.01)", lasts, ())


def check(**found: Any) -> Check:
    nothing = {"dead": (), "repaired": (), "left": {}, "non_finite": ()}
    return Check(1_000, 50, True, 12.5, 4, **{**nothing, **found})


def test_an_outcome_is_told_once_and_again_when_it_changes() -> None:
    first = check(dead=(dead("a.bias"),), repaired=(repaired("a.bias", lasts=False),))
    told = messages.outcomes(first, auto_fix=True)
    (finding,) = messages.dead(first, told, {})
    assert messages.level(finding) == logging.ERROR
    assert (finding.rule, finding.tensors) == ("SD204", ("a.bias",))
    assert messages.line(first, finding) == (
        "at 1,000 steps: critical: 1 bias tensor is dead, up to 100 % zero, zero-gradient "
        "(a.bias); a.bias: as its moments say; repaired once, which will not last: nothing trains "
        "the new values"
    )
    assert [*messages.dead(first, told, told)] == []
    second = check(dead=(dead("a.bias"),), left={"a.bias": "nothing trains it"})
    (finding,) = messages.dead(second, messages.outcomes(second, True), told)
    assert "not repaired: nothing trains it" in messages.line(second, finding)


def test_biases_with_one_outcome_share_a_line() -> None:
    found = check(
        dead=(dead("a.bias", percent=20.0), dead("b.bias", percent=25.0), dead("c.bias", "unknown"))
    )
    told = [*messages.dead(found, messages.outcomes(found, False), {})]
    assert [messages.level(finding) for finding in told] == [logging.WARNING, logging.ERROR]
    line = messages.line(found, told[0])
    assert "2 bias tensors are dead, up to 25 % zero, zero-gradient (a.bias, b.bias)" in line
    assert "auto_fix is off" in line and "stop" not in line


def test_up_to_five_repairs_are_told_one_by_one() -> None:
    five = check(repaired=tuple(repaired(f"{number}.bias") for number in range(5)))
    six = check(repaired=tuple(repaired(f"{number}.bias") for number in range(6)))
    assert len([*messages.repairs(five, singly=False)]) == 5
    assert [*messages.repairs(six, singly=False)] == [
        "at 1,000 steps: 48 elements of 6 biases revived "
        "(0.bias, 1.bias, 2.bias, 3.bias, 4.bias and 1 more)"
    ]
    assert len([*messages.repairs(six, singly=True)]) == 6


def test_training_stops_for_what_is_not_finite_and_above_the_level() -> None:
    assert messages.reason_to_stop(check(), 50.0) is None
    assert messages.reason_to_stop(check(dead=(dead("a.bias", percent=50.0),)), 50.0) is None
    above = check(dead=(dead("a.bias", percent=50.1),))
    assert messages.reason_to_stop(above, 50.0) == "a.bias above 50 % zero"
    assert messages.reason_to_stop(check(non_finite=("w",)), 50.0) == "w not finite"


def test_the_summary_counts_each_bias_once() -> None:
    history = [
        check(dead=(dead("a.bias"), dead("b.bias")), repaired=(repaired("a.bias"),)),
        check(dead=(dead("a.bias"),), repaired=(repaired("a.bias"),)),
    ]
    assert messages.summary(history, 16) == (
        "2 checks of 4 biases: 2 were dead, 1 repaired (16 elements); 12.50 % zeros at the end"
    )
