"""SD601 and SD602: what loading a file would run is named, wherever its pickle stands."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from fixtures.make import CHECKPOINTS
from sacdoctor import Finding, Report, ScanOptions, scan
from sacdoctor.errors import CorruptCheckpoint, UnsupportedCheckpoint
from sacdoctor.fleet import Look, reports_on
from sacdoctor.report.formats.table.style import finding_text
from tests import agents
from tests.archives import Entry, members_of, raw_zip, saved, zip_of
from tests.conftest import child_environment
from tests.corpus import each_file
from tests.payloads import Calls, serialized, with_settings

GATE = ScanOptions(select=("SD6",))
Write = Callable[[dict[str, bytes]], Path]


@pytest.fixture(scope="session")
def members() -> dict[str, bytes]:
    return members_of((CHECKPOINTS / "sac_two_head.zip").read_bytes())


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that a payload makes when it runs."""
    return tmp_path / "mark"


@pytest.fixture
def payload(mark: Path) -> Calls:
    return Calls(subprocess.check_output, ["touch", str(mark)])


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(members: dict[str, bytes]) -> Path:
        path = tmp_path / "model.zip"
        path.write_bytes(zip_of(members))
        return path

    return to_file


def report(path: Path, options: ScanOptions = GATE) -> Report:
    """As the command line sees it: a file that cannot be read has a report too."""
    (found,) = reports_on([path], Look(options))
    return found


def finding(path: Path, code: str, options: ScanOptions = GATE) -> Finding | None:
    return next((f for f in report(path, options).findings if f.rule == code), None)


def members_with(members: dict[str, bytes], place: str, thing: Any) -> dict[str, bytes]:
    """A checkpoint with the pickle of `thing` at one of the places where one can stand."""
    state = {"w": th.zeros(2), "x": thing}
    if place.startswith("data "):
        outer, _, inner = place.removeprefix("data ").partition(".")
        value = serialized(thing)
        return with_settings(members, **{outer: {inner: [1, value]} if inner else value})
    if place.endswith(" legacy"):
        return {**members, place.removesuffix(" legacy"): saved(state, legacy=True)}
    if place.endswith(".pth"):
        return {**members, place: saved(state)}
    return {**members, place: pickle.dumps(thing)}


PLACES = [
    "data lr_schedule",
    "data foo",
    "data policy_kwargs.optimizer_kwargs",
    "policy.pth",
    "policy.pth legacy",
    "critic.optimizer.pth",
    "pytorch_variables.pth",
    "extra.pth",
    "extra.pth legacy",
    "notes.pkl",
    "notes",
]


@pytest.mark.parametrize("options", [GATE, ScanOptions()], ids=["gate", "whole scan"])
@pytest.mark.parametrize("place", PLACES)
def test_payload_is_named_with_its_place_and_does_not_run(
    members: dict[str, bytes], write: Write, payload: Calls, mark: Path, place: str, options: Any
) -> None:
    path = write(members_with(members, place, payload))
    found = finding(path, "SD601", options)
    assert found is not None
    assert (found.severity, found.name) == ("critical", "unsafe-pickle")
    line = found.evidence.splitlines()[0]
    assert line.startswith(place.removesuffix(" legacy"))
    assert "subprocess.check_output" in line
    assert report(path, options).status in ("critical", "error")
    assert not mark.exists()


def test_payload_in_data_is_what_sb3_runs(
    members: dict[str, bytes], write: Write, payload: Calls, mark: Path
) -> None:
    from stable_baselines3.common.save_util import load_from_zip_file

    load_from_zip_file(write(members_with(members, "data foo", payload)))
    assert mark.exists()


def test_characters_that_sb3_skips_in_base64_hide_nothing(
    members: dict[str, bytes], write: Write, payload: Calls
) -> None:
    value = serialized(payload)
    value[":serialized:"] = "!" + value[":serialized:"][:8] + "\n*" + value[":serialized:"][8:]
    found = finding(write(with_settings(members, lr_schedule=value)), "SD601")
    assert found is not None and "check_output" in found.evidence


def test_deflated_checkpoint_is_looked_into(
    members: dict[str, bytes], tmp_path: Path, payload: Calls
) -> None:
    path = tmp_path / "m.zip"
    path.write_bytes(zip_of(members_with(members, "notes", payload), method=zipfile.ZIP_DEFLATED))
    assert finding(path, "SD601") is not None


def test_bare_state_dict_is_looked_into(tmp_path: Path, payload: Calls) -> None:
    for legacy in (False, True):
        path = tmp_path / "model.pth"
        path.write_bytes(saved({"a.bias": th.zeros(3), "x": payload}, legacy=legacy))
        assert finding(path, "SD601") is not None
        path.write_bytes(saved({"a.bias": th.zeros(3)}, legacy=legacy))
        assert report(path).findings == ()


def test_unreadable_checkpoint_says_both_why_and_what_it_would_run(
    members: dict[str, bytes], write: Write, payload: Calls
) -> None:
    found = report(write(members_with(members, "policy.pth", payload)), ScanOptions())
    assert found.status == "error"
    assert [f.rule for f in found.findings] == ["SD601", "SD702"]


@pytest.mark.parametrize("options", [GATE, ScanOptions()], ids=["gate", "whole scan"])
def test_payload_beside_a_state_dict_is_named(
    members: dict[str, bytes], write: Write, payload: Calls, options: ScanOptions
) -> None:
    """SB3 loads `data` whatever else is in the zip."""
    hostile = members_with(members, "data lr_schedule", payload)
    for extra in ({"a/data.pkl": pickle.dumps({}, 2)}, members_of(saved({"a.bias": th.ones(3)}))):
        found = finding(write({**hostile, **extra}), "SD601", options)
        assert found is not None and "data lr_schedule" in found.evidence


def test_members_are_walked_in_any_case_of_letters(
    members: dict[str, bytes], write: Write, payload: Calls
) -> None:
    hostile = {"x.PTH": saved({"x": payload}), "y.PKL": pickle.dumps(payload, 0)}
    found = finding(write({**members, **hostile}), "SD601")
    assert found is not None and "x.PTH, y.PKL: calls subprocess" in found.evidence


@pytest.mark.parametrize("options", [GATE, ScanOptions()], ids=["gate", "whole scan"])
def test_records_are_walked_in_any_case_of_letters(
    members: dict[str, bytes], write: Write, payload: Calls, options: ScanOptions
) -> None:
    """torch's reader takes the first record that fits, whatever the case of its letters."""
    records = members_of(members["policy.pth"])
    folder = next(iter(records)).partition("/")[0]
    evil = zip_of({f"{folder}/DATA.PKL": pickle.dumps(payload), **records})
    found = finding(write({**members, "policy.pth": evil}), "SD601", options)
    assert found is not None
    assert "policy.pth: calls subprocess.check_output" in found.evidence


@pytest.mark.parametrize("options", [GATE, ScanOptions()], ids=["gate", "whole scan"])
def test_damaged_member_is_damage_and_hides_nothing(
    members: dict[str, bytes], tmp_path: Path, payload: Calls, options: ScanOptions
) -> None:
    path = tmp_path / "model.zip"
    entries = [Entry(name, data) for name, data in members.items()]
    path.write_bytes(raw_zip([*entries, Entry("extra.pth", b"weights", crc=1)]))
    found = report(path, options)
    rules = {f.rule for f in found.findings}
    assert (found.status, rules - {"SD602"}) == ("error", {"SD701"})
    hidden = [Entry("data", b"{}", crc=1), Entry("notes.pkl", pickle.dumps(payload))]
    path.write_bytes(raw_zip([e for e in entries if e.name != "data"] + hidden))
    found = report(path, options)
    assert (found.status, found.findings[0].rule) == ("error", "SD601")
    assert "SD701" in [f.rule for f in found.findings]


# -- code and classes of the user's ------------------------------------------------------------


def test_lambda_schedule_is_a_notice_of_the_gate_that_names_its_code(
    members: dict[str, bytes], write: Write
) -> None:
    path = write(with_settings(members, learning_rate=serialized(lambda p: 1e-3 * float(p))))
    found = finding(path, "SD602", ScanOptions(select=("SD6",), trusted=("fixtures.policies",)))
    assert found is not None
    assert found.severity == "notice"
    assert "data learning_rate: code of <lambda>" in found.evidence
    assert "uses float" in found.evidence
    assert finding(path, "SD602", ScanOptions()) is None


def test_lambda_with_other_names_is_named_by_every_scan(
    members: dict[str, bytes], write: Write
) -> None:
    path = write(with_settings(members, learning_rate=serialized(lambda p: json.loads("1") * p)))
    for options in (GATE, ScanOptions()):
        found = finding(path, "SD602", options)
        assert found is not None and found.severity == "warning"


def test_class_of_the_users_that_the_file_holds_whole_is_the_gates_business(
    members: dict[str, bytes], write: Write
) -> None:
    """As cloudpickle writes a class that cannot be imported, from a script or a notebook."""

    class Extractor(FlattenExtractor):
        def forward(self, observations: th.Tensor) -> th.Tensor:
            return th.nn.functional.relu(super().forward(observations))

    value = serialized({"features_extractor_class": Extractor})
    path = write(with_settings(members, policy_kwargs=value))
    found = finding(path, "SD602")
    assert found is not None and found.severity == "warning"
    assert "code of forward" in found.evidence
    assert finding(path, "SD602", ScanOptions()) is None


def test_class_of_the_users_that_reaches_out_is_unsafe_in_every_scan(
    members: dict[str, bytes], write: Write
) -> None:
    class Hostile(FlattenExtractor):
        def forward(self, observations: th.Tensor) -> th.Tensor:
            os.system("true")
            return observations

    path = write(with_settings(members, policy_kwargs=serialized({"x": Hostile})))
    assert finding(path, "SD601", ScanOptions()) is not None


def test_whole_pickled_module_is_called_so(tmp_path: Path) -> None:
    th.save(th.nn.Sequential(th.nn.Linear(2, 3), th.nn.ReLU()), tmp_path / "m.pt")
    found = report(tmp_path / "m.pt").findings
    assert [f.rule for f in found if f.rule.startswith("SD6")] == ["SD602"]
    assert found[0].message == "a whole module is pickled; its class must be imported to load it"


def test_lambda_that_reaches_out_is_unsafe(members: dict[str, bytes], write: Write) -> None:
    hostile = serialized(lambda p: __import__("os").system("true"))
    found = finding(write(with_settings(members, learning_rate=hostile)), "SD601")
    assert found is not None and "which reaches __import__" in found.evidence


def test_policy_of_the_users_is_named_by_the_gate_alone(healthy: Path) -> None:
    found = finding(healthy, "SD602")
    assert found is not None
    assert (found.severity, report(healthy).status) == ("warning", "warning")
    assert "data policy_class: refers to fixtures.policies.TwoHeadV11SigmoidFixed" in found.evidence
    assert found.remedy.endswith("The gate takes it with `--trust fixtures.policies`.")
    assert finding(healthy, "SD602", ScanOptions()) is None


def test_trust_is_not_advised_for_what_is_called_or_for_a_library(
    members: dict[str, bytes], write: Write
) -> None:
    for hostile in (
        {"foo": serialized(Calls(json.loads, "1"))},
        {"policy_class": serialized(th.nn.Linear)},
    ):
        found = finding(write(with_settings(members, **hostile)), "SD602")
        assert found is not None and "--trust" not in found.remedy


def test_call_of_an_unknown_function_is_a_warning(members: dict[str, bytes], write: Write) -> None:
    found = finding(write(with_settings(members, foo=serialized(Calls(json.loads, "1")))), "SD602")
    assert found is not None
    assert (found.severity, "calls json.loads" in found.evidence) == ("warning", True)


def test_evidence_names_a_whole_crowd_and_the_table_its_head(
    members: dict[str, bytes], write: Write
) -> None:
    many = {f"key{n}": serialized(Calls(os.system, str(n))) for n in range(60)}
    found = finding(write(with_settings(members, **many)), "SD601")
    assert found is not None
    assert all(f"data key{n}" in found.evidence for n in range(60))
    lines = finding_text(found, 40).plain.splitlines()
    assert len(lines) < 30
    assert "      and more; --format json lists all" in lines


# -- models as SB3 saves them ------------------------------------------------------------------


@pytest.mark.parametrize("name", list(agents.ALGORITHMS))
def test_model_and_buffer_as_sb3_saves_them_have_no_finding(tmp_path: Path, name: str) -> None:
    model = agents.train(name, next(iter(agents.ALGORITHMS[name].policy_aliases)))
    model.save(tmp_path / "m.zip")
    assert report(tmp_path / "m.zip").findings == ()
    if getattr(model, "replay_buffer", None) is not None:
        model.save_replay_buffer(tmp_path / "buffer.pkl")  # type: ignore[attr-defined]
        assert report(tmp_path / "buffer.pkl").findings == ()


@each_file
def test_what_sb3s_authors_published_is_healthy_to_a_plain_scan(path: Path) -> None:
    """Their schedules are code of SB3 itself, or of rl-zoo."""
    assert [f.rule for f in report(path, ScanOptions()).findings if f.rule == "SD602"] == []


@each_file
def test_nothing_in_the_wild_is_unsafe_or_worse_than_a_notice(path: Path) -> None:
    found = report(path)
    assert found.status in ("healthy", "notice")
    assert {f.rule for f in found.findings} <= {"SD602"}


# -- files of other libraries ------------------------------------------------------------------


def named(module: str, qualname: str) -> dict[str, str]:
    """A value of `data` that is pickled by this name alone."""
    pickled = f"c{module}\n{qualname}\n.".encode()
    return {":type:": "?", ":serialized:": base64.b64encode(pickled).decode()}


def called(module: str, qualname: str) -> dict[str, str]:
    """One whose loading calls it, and what comes of it."""
    pickled = f"c{module}\n{qualname}\n)R)R.".encode()
    return {":type:": "?", ":serialized:": base64.b64encode(pickled).decode()}


def of_another_library(kind: str, **values: Any) -> dict[str, bytes]:
    if kind == "SB2":
        data = {"policy": called("dill._dill", "_load_type"), "gamma": 0.99, **values}
        return {"data": json.dumps(data).encode(), "parameters": b"", "parameter_list": b"[]"}
    policy = named("sbx.sac.policies", "SACPolicy")
    data = {"policy_class": policy, "qf": called("flax.core", "freeze"), **values}
    return {"data": json.dumps(data).encode(), "_stable_baselines3_version": b"2.4.0"}


@pytest.mark.parametrize("options", [GATE, ScanOptions()], ids=["gate", "whole scan"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [("SB2", "a Stable-Baselines 2 zip (TensorFlow)"), ("sbx", "an SBX zip (JAX)")],
)
def test_file_of_another_library_is_called_what_it_is_and_accused_of_nothing(
    write: Write, kind: str, words: str, options: ScanOptions
) -> None:
    found = report(write(of_another_library(kind)), options)
    assert found.status == "error"
    assert found.error is not None and words in found.error
    assert "SD601" not in [f.rule for f in found.findings]


@pytest.mark.parametrize("options", [GATE, ScanOptions()], ids=["gate", "whole scan"])
@pytest.mark.parametrize("kind", ["SB2", "sbx"])
def test_payload_in_a_file_of_another_library_is_named_all_the_same(
    write: Write, payload: Calls, kind: str, options: ScanOptions
) -> None:
    """SB3 opens `data` before it misses the policy."""
    hostile = write(of_another_library(kind, foo=serialized(payload)))
    found = finding(hostile, "SD601", options)
    assert found is not None and "check_output" in found.evidence
    assert report(hostile, options).status == "error"


# -- pickles of their own ----------------------------------------------------------------------


def test_vec_normalize_is_looked_into(tmp_path: Path, payload: Calls, mark: Path) -> None:
    env = VecNormalize(DummyVecEnv([lambda: agents.TinyEnv(agents.VECTOR, False)]))
    path = tmp_path / "vecnormalize.pkl"
    env.save(str(path))
    assert (report(path).status, report(path).layers) == ("unknown", ())
    env.clip_obs = payload
    env.save(str(path))
    assert finding(path, "SD601") is not None
    assert not mark.exists()


def test_replay_buffer_is_looked_into(tmp_path: Path, payload: Calls, mark: Path) -> None:
    model = agents.train("SAC", "MlpPolicy")
    assert isinstance(model, SAC) and model.replay_buffer is not None
    model.replay_buffer.infos = payload  # type: ignore[attr-defined]
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    assert finding(tmp_path / "buffer.pkl", "SD601", ScanOptions()) is not None
    assert not mark.exists()


def test_large_pickle_is_walked_without_reading_its_arrays(tmp_path: Path) -> None:
    path = tmp_path / "buffer.pkl"
    with path.open("wb") as file:
        head = pickle.dumps(np.zeros(3, np.uint8), 5)
        # The same array with 4 GiB, most of it a hole in the file.
        size = 2**32
        start = head.index(b"\x96") + 1
        file.write(b"\x80\x05" + head[head.index(b"\x95") + 9 : start])
        file.write(size.to_bytes(8, "little"))
        file.seek(size, io.SEEK_CUR)
        shape = b"\x8a\x05" + size.to_bytes(5, "little")
        file.write(head[start + 8 + 3 :].replace(b"K\x03\x85", shape + b"\x85"))
    assert report(path).findings == ()


def test_protocol_0_is_known_by_its_ending(tmp_path: Path, payload: Calls) -> None:
    path = tmp_path / "buffer.pkl"
    path.write_bytes(pickle.dumps(payload, 0))
    assert finding(path, "SD601") is not None


def test_pickle_before_a_zip_cannot_be_known(
    members: dict[str, bytes], tmp_path: Path, payload: Calls
) -> None:
    """`pickle` reads the one, `SAC.load` the other."""
    path = tmp_path / "buffer.pkl"
    path.write_bytes(pickle.dumps([1]) + zip_of(members))
    found = finding(path, "SD601")
    assert found is not None and "a zip archive stands behind it" in found.evidence
    path.write_bytes(pickle.dumps(payload) + zip_of(members))
    found = finding(path, "SD601")
    assert found is not None and "check_output" in found.evidence


def test_cut_off_pickle_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "buffer.pkl"
    path.write_bytes(pickle.dumps([1, 2, 3])[:-2])
    with pytest.raises(CorruptCheckpoint, match="ends inside"):
        scan(path)


def test_pickle_is_refused_where_no_rule_about_code_is_selected(tmp_path: Path) -> None:
    path = tmp_path / "buffer.pkl"
    path.write_bytes(pickle.dumps(1))
    with pytest.raises(UnsupportedCheckpoint, match="SD601"):
        scan(path, ScanOptions(select=("SD1",)))


# -- the gate ----------------------------------------------------------------------------------


def test_gate_reads_no_tensor(members: dict[str, bytes], write: Write) -> None:
    """A storage that is missing stops whoever reads tensors, not who asks for code."""
    path = write({**members, "policy.pth": _without_storages(members["policy.pth"])})
    assert report(path, ScanOptions()).status == "error"
    found = report(path)
    assert (found.status, found.summary, found.layers) == ("warning", None, ())
    assert found.algorithm == "SAC"


def _without_storages(policy: bytes) -> bytes:
    return zip_of({n: data for n, data in members_of(policy).items() if "/data/" not in n})


def test_clean_scan_imports_no_picklescan(healthy: Path) -> None:
    code = f"""
import sys
from sacdoctor import ScanOptions, scan
scan({str(healthy)!r}); scan({str(healthy)!r}, ScanOptions(select=("SD6",)))
assert not [name for name in sys.modules if name.startswith("picklescan")]
"""
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, timeout=60, env=child_environment())


def test_pickle_in_place_of_a_torch_file_is_named(tmp_path: Path, payload: Calls) -> None:
    """`torch.load(weights_only=False)` runs it before it sees that it is no torch file."""
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps(payload))
    assert report(path).status == "error"
    assert finding(path, "SD601") is not None
