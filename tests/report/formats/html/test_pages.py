"""Pages: each holds what its result says, whatever names and numbers come from a file."""

from __future__ import annotations

import io
import sys
from math import inf, nan
from pathlib import Path

import pytest
from msgspec.structs import replace

from sacdoctor import SacdoctorError, check_up, scan
from sacdoctor.checkup import Checkup, Concern, Happening
from sacdoctor.diagnosis import ActionActivity, LayerActivity, NetworkActivity, ValueActivity
from sacdoctor.history import (
    Difference,
    History,
    LogNote,
    Norms,
    Onset,
    RewardCurve,
    Run,
    SettingDifference,
    Snapshot,
    TensorDifference,
    diff,
    read_history,
)
from sacdoctor.model import Cause, Finding, LayerReport, Report, Summary
from sacdoctor.network import ProbeReport
from sacdoctor.report.formats import FORMATS
from sacdoctor.report.results import (
    CheckupResult,
    Configuration,
    DiffResult,
    HistoryResult,
    ProbeResult,
    ScanResult,
)
from sacdoctor.severity import Severity, Status
from tests.report.formats.html.pages import page_of
from tests.runs import Runs

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onload='alert(1)",
    "</style></title></svg><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{$ \x1b[2J\u202e\x00",
    "&lt;b&gt;&#60;",
    "\ud800 half a character",
    "javascript:alert(1)",
)

pytestmark = pytest.mark.filterwarnings("error")

each_name = pytest.mark.parametrize("name", HOSTILE)


def text_of(name: str) -> str:
    """The name as a page shows it: what cannot be shown is spelled out."""
    spelled = {"\x1b": "\\x1b", "\u202e": "\\u202e", "\x00": "\\x00", "\ud800": "\\ud800"}
    return "".join(spelled.get(letter, letter) for letter in name)


def finding(name: str) -> Finding:
    return Finding(
        "SD101",
        "dead-bias",
        Severity.CRITICAL,
        (f"{name}.bias",),
        f"message {name}",
        f"evidence {name}\n    code {name}",
        f"remedy `{name}`",
    )


def layer(name: str) -> LayerReport:
    return LayerReport(
        name=f"{name}.bias",
        component=name,
        kind="LSTM",
        role="bias",
        shape=(4,),
        parameters=4,
        zeros=4,
        zero_percent=100.0,
        gates={"input": 100.0, name: 50.0},
        severity=Severity.CRITICAL,
        cause=Cause.UNKNOWN,
        evidence=name,
    )


def report(name: str, path: str = "") -> Report:
    return Report(
        path or f"/nowhere/{name}.zip".replace("\0", "").replace("\ud800", ""),  # no path has those
        Status.CRITICAL,
        algorithm=name,
        policy_class=f"{name}.Policy",
        sb3_version=name,
        num_timesteps=100,
        n_updates=-1,
        learning_rate=inf,
        optimizer_learning_rates={name: nan},
        summary=Summary(1, 4, 4, 100.0, 1, 1, 1, 0, 0),
        layers=(layer(name),),
        findings=(finding(name),),
    )


def history(name: str) -> History:
    snapshots = [
        Snapshot(
            replace(report(name), num_timesteps=steps),
            Norms(norm, 1.0, 0),
            {name: Norms(1.0, 2.0)},
            {name: inf},
            entropy,
            updates_since=10,
        )
        for steps, norm, entropy in (
            (0, 1.0, 0.1),
            (100, 1e300, nan),
            (10**300, 3.0, -inf),
            (200, 1e99, 1.0),
        )
    ]
    onset = Onset("SD101", name, Severity.CRITICAL, name, (name,), 0, 100)
    run = Run(name, name, tuple(snapshots), (onset,), (finding(name),), layers=(layer(name),))
    curve = RewardCurve(name, 3, (1.0, -1e308, 1e308), True, timesteps=(1, 50, 90), run=name)
    unreadable = Report(f"{name}.zip", Status.ERROR, error=name)
    return History(name, (run,), (unreadable,), (), (curve,), (LogNote(name, name),))


def checkup(name: str) -> Checkup:
    concern = Concern(finding(name), (name,), None, (Concern(finding(name), (name,)),))
    return Checkup(
        path=name,
        status=Status.CRITICAL,
        concerns=(concern,),
        timeline=(Happening(name, 100, 0, Severity.CRITICAL, name),),
        looked_at=(name,),
        not_there=(name,),
        commands=(f"sacdoctor fix '{name}'",),
        unreadable=(Report(name, Status.ERROR, error=name),),
        history=history(name),
    )


CONFIGURATION = Configuration("<b>sacdoctor.toml", True, {"trust": ("<i>",)}, ())


@each_name
def test_names_stay_text_in_the_page_of_a_checkup(name: str) -> None:
    page = page_of(CheckupResult(checkup(name), CONFIGURATION))
    page.refuse_what_acts()
    shown = text_of(name)
    assert page.text.count(shown) > 10
    assert f"sacdoctor fix '{shown}'" in page.text
    assert "<b>sacdoctor.toml" in page.text


@each_name
def test_names_stay_text_in_the_page_of_a_history(name: str) -> None:
    page = page_of(HistoryResult(history(name), CONFIGURATION))
    page.refuse_what_acts()
    assert page.text.count(text_of(name)) > 10


@each_name
@pytest.mark.parametrize("several", [False, True])
def test_names_stay_text_in_the_page_of_a_scan(name: str, several: bool) -> None:
    reports = [report(name), Report(name, Status.ERROR, error=name)] if several else [report(name)]
    page = page_of(ScanResult(iter(reports), all_tensors=False, configuration=CONFIGURATION))
    page.refuse_what_acts()
    assert page.text.count(text_of(name)) > 8


@each_name
def test_names_stay_text_in_the_page_of_a_difference(name: str) -> None:
    tensor = TensorDifference(name, name, "changed", (4,), (4,), 3, nan, inf)
    moment = replace(tensor, status="reshaped", file=name, moment=name)
    setting = SettingDifference(name, {name: [name]}, name)
    page = page_of(DiffResult(Difference(name, name, (tensor,), (moment,), (setting,), 1)))
    page.refuse_what_acts()
    assert page.text.count(text_of(name)) > 6


@each_name
def test_names_stay_text_in_the_page_of_a_probe(name: str) -> None:
    page = page_of(ProbeResult(probed(name), CONFIGURATION))
    page.refuse_what_acts()
    assert page.text.count(text_of(name)) > 8


def probed(name: str) -> ProbeReport:
    """A policy of two layers: 3 of 4 units dead, and 1 of 2 saturated."""
    layers = (
        LayerActivity(name, "ReLU", 4, 3, None, None, 0, 3, 1),
        LayerActivity(f"{name}.2", name, 2, 0, 1, 0.5, 0, 0, None),
    )
    actions = ActionActivity(spread=(0.25,), lower=(0.0,), upper=(1.0,), deviation=0.5)
    values = ValueActivity(low=-2.0, high=3.0, mean=0.5, size=1.0, largest=nan)
    network = NetworkActivity(name, layers, actions, values, is_policy=True)
    status, found = Status.CRITICAL, (finding(name),)
    return ProbeReport(name, status, "SAC", "buffer", name, 500, (network,), found, (name,))


# -- what a page says ------------------------------------------------------------------------------


def test_a_page_allows_itself_nothing_but_its_own_style(broken: Path) -> None:
    page = page_of(ScanResult([scan(broken)], all_tensors=False))
    policy = [given["content"] for _, given in page.elements if "http-equiv" in given]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    page.refuse_what_acts()


def test_a_scan_shows_every_layer_and_finding_of_one_checkpoint(broken: Path) -> None:
    found = scan(broken)
    page = page_of(ScanResult([found], all_tensors=False))
    for layer in found.layers:
        assert layer.name in page.text
    for one in found.findings:
        assert one.message in page.text
    assert "Zeros by gate: input 100 %, forget 0 %, cell 100 %, output 100 %" in page.text


def test_what_is_drawn_is_said_in_words_too(broken: Path) -> None:
    """Three of the four gates of `v8_shared_lstm.bias_ih_l0` are zero, its forget gate is 1."""
    page = page_of(ScanResult([scan(broken)], all_tensors=False))
    labels = [given["aria-label"] for tag, given in page.elements if tag == "svg"]
    assert len(labels) > 50
    assert all(labels)
    said = "75.0 % exactly zero, half of the others below"
    assert any(said in label for label in labels)
    assert said in page.text


def test_a_link_leads_to_a_place_of_the_page(broken: Path) -> None:
    page = page_of(ScanResult([scan(broken)], all_tensors=False))
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in page.attributes("href")} <= set(ids)
    assert page.attributes("href")


def test_of_several_checkpoints_the_bad_ones_are_shown_in_full(broken: Path, healthy: Path) -> None:
    page = page_of(ScanResult([scan(healthy), scan(broken)], all_tensors=False))
    ids = [value for value in page.attributes("id") if value.startswith("checkpoint-")]
    assert {"checkpoint-1"} <= {*ids}
    assert "checkpoint-0" not in ids
    assert str(healthy) in page.text


def test_a_file_that_is_gone_has_a_page_without_pictures_of_its_values(broken: Path) -> None:
    page = page_of(ScanResult([replace(scan(broken), path="/nowhere.zip")], all_tensors=False))
    assert "svg" not in {tag for tag, _ in page.elements}
    assert "v8_shared_lstm" in page.text


def test_a_difference_names_what_moved(healthy: Path, broken: Path) -> None:
    page = page_of(DiffResult(diff(broken, healthy)))
    page.refuse_what_acts()
    assert "v8_shared_lstm.bias_ih_l0" in page.text
    same = page_of(DiffResult(diff(broken, broken)))
    assert "Tensors, moments and settings are equal." in same.text


def test_a_checkup_draws_the_run_and_marks_what_came_up(runs: Runs) -> None:
    found = check_up(runs("crash"))
    page = page_of(CheckupResult(found))
    page.refuse_what_acts()
    kinds = [given["class"] for tag, given in page.elements if tag == "svg"]
    assert kinds.count("picture wide") == kinds.count("picture narrow") == 1
    for happening in found.timeline:
        assert happening.what in page.text
    titles = ("return", "weight norm", "update norm", "learning rate", "entropy coefficient")
    assert all(f">{title}</text>" in page.source for title in titles)
    assert len(page.source) < 3_000_000


def test_a_healthy_run_is_said_to_be_so(runs: Runs) -> None:
    page = page_of(CheckupResult(check_up(runs("healthy SAC"))))
    assert "Nothing that needs your attention." in page.text
    assert "Type next" not in page.text


def test_a_history_shows_every_checkpoint_as_a_row(runs: Runs) -> None:
    found = read_history(runs("late layers"))
    page = page_of(HistoryResult(found))
    for snapshot in found.runs[0].snapshots:
        assert Path(snapshot.report.path).name in page.text
    assert "91 parameters" not in page.text


def test_a_probe_shows_each_layer_and_what_comes_out() -> None:
    """By hand: 3 of 4 units are 75 %, 1 of 2 is 50 %."""
    page = page_of(ProbeResult(probed("actor.mu")))
    assert "75.0 %" in page.text and "50.0 %" in page.text
    assert "SAC, 500 observations of actor.mu" in page.text
    assert "they are at a bound on 100 % of the observations" in page.text
    assert "Values from -2 to 3, mean 0.5" in page.text


def test_the_same_result_makes_the_same_page(broken: Path) -> None:
    found = scan(broken)
    pages = {page_of(ScanResult([found], all_tensors=False)).source for _ in range(2)}
    assert len(pages) == 1


def test_a_page_of_very_many_layers_stays_small() -> None:
    layers = tuple(replace(layer("x"), name=f"layer{n}.bias") for n in range(20_000))
    page = page_of(ScanResult([replace(report("x"), layers=layers)], all_tensors=False))
    assert len(page.source) < 3_000_000
    assert "19,400 further layers not shown" in page.text


def test_names_of_a_megabyte_leave_a_page_small() -> None:
    name = "a_" * 500_000
    for result in (
        CheckupResult(checkup(name)),
        ScanResult([report("x", "/x"), report(name)], False),
    ):
        assert len(page_of(result).source) < 3_000_000


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_without_the_extra_it_says_what_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch, broken: Path
) -> None:
    for module in [
        name for name in sys.modules if name.startswith("sacdoctor.report.formats.html.")
    ]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SacdoctorError) as error:
        FORMATS["html"].write(ScanResult([scan(broken)], all_tensors=False), io.StringIO())
    assert str(error.value) == f"--format html needs {package}: pip install 'sacdoctor[html]'"
