"""SD701 and SD702: a file that contradicts itself, and one that is no checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from sacdoctor import SacdoctorError, scan
from sacdoctor.diagnosis.rules.registry import RULES, findings
from sacdoctor.diagnosis.scan import report_of_error
from sacdoctor.errors import (
    CheckpointError,
    CorruptCheckpoint,
    NotACheckpoint,
    UnlistedName,
    UnsupportedCheckpoint,
)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (CorruptCheckpoint, "SD701"),
        (NotACheckpoint, "SD702"),
        (UnsupportedCheckpoint, "SD702"),
        (SacdoctorError, "SD702"),
        (CheckpointError, "SD702"),
    ],
)
def test_finding_follows_from_the_kind_of_error(kind: type[SacdoctorError], code: str) -> None:
    error = kind("the reason", "model.zip")
    (finding,) = findings([error], RULES)
    assert (finding.rule, finding.severity, finding.evidence) == (code, "critical", "the reason")
    report = report_of_error(error)
    assert (report.path, report.status, report.error) == ("model.zip", "error", "the reason")
    assert report.findings == (finding,)


def test_pickle_that_asks_for_a_strange_name_is_unreadable_not_damaged() -> None:
    assert not issubclass(UnlistedName, CorruptCheckpoint)


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "SD702"), (b"version https://git-lfs", "SD702"), (b"PK\x03\x04" + 60 * b"\0", None)],
    ids=["empty", "pointer", "cut-short"],
)
def test_file_in_place_of_a_checkpoint(tmp_path: Path, content: bytes, code: str | None) -> None:
    path = tmp_path / "m.zip"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        scan(path)
    (finding,) = findings([caught.value], RULES)
    assert finding.rule in ({code} if code else {"SD701", "SD702"})
