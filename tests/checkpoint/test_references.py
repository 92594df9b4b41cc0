"""What a pickle would import and call is named, and nothing of it happens."""

from __future__ import annotations

import functools
import math
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

from sacdoctor.checkpoint.dangerous_names import LIBRARIES_IN_PICKLESCAN, dangerous
from sacdoctor.checkpoint.pickled_parts import PickledPart
from sacdoctor.checkpoint.pickles import Name
from sacdoctor.checkpoint.references import Kind, Reference, references, torch_references
from sacdoctor.diagnosis.severity import Severity
from sacdoctor.diagnosis.trust import Suspicion, suspicions, words
from tests.archives import saved
from tests.payloads import Calls, by_hand, text, touching

PAYLOADS = list(touching(Path("mark")))


def judged(data: bytes) -> tuple[Suspicion, ...]:
    return suspicions([PickledPart("", "", references(memoryview(data)))])


def worst(data: bytes) -> str:
    """What is critical in the pickle, in words."""
    return "; ".join(words(s.reference) for s in judged(data) if s.severity is Severity.CRITICAL)


def severities(data: bytes) -> set[str]:
    return {suspicion.severity.value for suspicion in judged(data)}


# -- payloads ----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", PAYLOADS)
def test_payload_is_named_and_does_not_run(tmp_path: Path, name: str, protocol: int) -> None:
    mark = tmp_path / "mark"
    payload, expected = touching(mark)[name]
    data = pickle.dumps(payload, protocol)
    assert expected in worst(data)
    assert not mark.exists()
    pickle.loads(data)
    assert mark.exists()  # it would have run


@pytest.mark.parametrize("name", list(by_hand("")))
def test_payload_in_rare_opcodes_is_named_and_does_not_run(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "mark"
    data, expected = by_hand(f"touch {mark}")[name]
    assert expected in worst(data)
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["INST", "OBJ", "computed module", "getattr", "path", "changed partial"]
)
def test_payload_in_rare_opcodes_would_have_run(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "mark"
    pickle.loads(by_hand(f"touch {mark}")[name][0])
    assert mark.exists()


def test_what_runs_before_the_damage_is_named_with_the_damage() -> None:
    data = pickle.dumps(Calls(os.system, "x"), 2)
    for end in range(data.index(b"R") + 1, len(data)):
        named = worst(data[:end])
        assert "system" in named
        assert "cannot be read to its end" in named


def test_what_stands_behind_the_end_does_not_count() -> None:
    assert judged(pickle.dumps(1) + pickle.dumps(os.system)) == ()


def test_extension_code_cannot_be_known() -> None:
    for opcode in (b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"):
        assert "extension code 1" in worst(b"\x80\x02" + opcode + b".")


def test_all_pickles_of_an_old_torch_file_count() -> None:
    data = saved({"w": th.zeros(2), "x": Calls(os.system, "x")}, legacy=True)
    assert Name(os.name, "system") in {r.name for r in torch_references(memoryview(data))}
    clean = saved({"w": th.zeros(2)}, legacy=True)
    assert torch_references(memoryview(clean)) == ()
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(Calls(os.system, "x"), 2)
    assert Name(os.name, "system") in {r.name for r in torch_references(memoryview(magic))}


def test_torch_file_inside_a_pickle_is_followed() -> None:
    assert judged(pickle.dumps(th.zeros(3))) == ()
    inner = saved(Calls(os.system, "x"))
    assert "system" in worst(pickle.dumps(Calls(th.storage._load_from_bytes, inner)))


def test_pickles_inside_pickles_without_end_are_not_followed() -> None:
    data = pickle.dumps(Calls(os.system, "x"))
    for _ in range(20):
        data = pickle.dumps(Calls(pickle.loads, data))
    assert "deep" in worst(data)


def test_attribute_path_without_end_takes_no_time() -> None:
    step = text("a") + b"\x86R"
    data = b"cbuiltins\ngetattr\nq\x000cnumpy\ndtype\n" + b"q\x01"
    data += b"".join(b"0h\x00h\x01" + step + b"q\x01" for _ in range(5_000)) + b"."
    assert "without end" in worst(data)


# -- what is not dangerous ---------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, None, True, b"x", {1, 2}, (3,), frozenset({4})]},
        np.arange(6.0).reshape(2, 3),
        np.float32(1.5),
        np.random.default_rng(0),
        np.random.RandomState(0),
        TrainFreq(1, TrainFrequencyUnit.STEP),
        th.float32,
        th.device("cpu"),
        Path("runs"),
        functools.partial(float, "1"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_sb3_models_hold_is_allowed(value: Any, protocol: int) -> None:
    assert judged(pickle.dumps(value, protocol)) == ()


def test_member_of_an_enum_by_getattr_is_allowed() -> None:
    """How Python 3.11 writes it."""
    unit = b"cstable_baselines3.common.type_aliases\nTrainFrequencyUnit\n"
    data = b"\x80\x02cbuiltins\ngetattr\n" + unit + text("STEP") + b"\x86R."
    assert pickle.loads(data) is TrainFrequencyUnit.STEP
    assert judged(data) == ()


# -- code --------------------------------------------------------------------------------------


def code_of(function: Any) -> Reference:
    (found,) = references(memoryview(cloudpickle.dumps(function)))
    assert found.kind is Kind.CODE
    return found


def test_embedded_code_is_reported_with_the_names_it_uses() -> None:
    found = code_of(lambda p: max(float(p), math.sqrt(2)))
    assert found.name == Name(__file__, "<lambda>")
    assert set(found.uses) >= {"max", "float", "sqrt"}


def test_code_that_only_computes_is_a_notice() -> None:
    start = 3e-4
    assert severities(cloudpickle.dumps(lambda p: start * float(p))) == {"notice"}


def test_code_that_uses_other_names_is_a_warning() -> None:
    assert severities(cloudpickle.dumps(lambda p: p.rate())) == {"warning"}


def test_code_that_reaches_out_is_critical() -> None:
    assert "__import__" in worst(cloudpickle.dumps(lambda p: __import__("os").system("x")))
    assert "eval" in worst(cloudpickle.dumps(lambda p: [eval(q) for q in p]))


def test_code_that_loading_calls_is_critical() -> None:
    function = cloudpickle.dumps(lambda p: p)
    assert severities(function) == {"notice"}
    assert "whose code it holds" in worst(function[:-1] + b"K\x01\x85R.")


# -- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        Name("os", "system"),
        Name("torch.hub", "os.system"),
        Name("torch.hub", "load"),
        Name("numpy.testing._private.utils", "runstring"),
        Name("numpy.f2py.crackfortran", "myeval"),
        Name("builtins", "__import__"),
        Name("importlib", "import_module"),
        Name("pathlib", "PosixPath.write_text"),
        Name("a", "b.__globals__"),
        Name("os\nsystem", "x y"),
        Name("x", ".".join(["y"] * 1000)),
        Name("unknown.os", "os.system"),
    ],
    ids=lambda name: str(name)[:40],
)
def test_dangerous_names(name: Name) -> None:
    assert dangerous({name, Name("my.policies", "Net")}) == {name}


@pytest.mark.parametrize(
    "name", [Name("my.policies", "Net"), Name("my", "Outer.Inner"), Name("unknown_pkg.net", "Net")]
)
def test_names_of_a_users_own_are_not_called_dangerous(name: Name) -> None:
    assert dangerous({name}) == frozenset()


def test_picklescan_is_asked_about_every_package_that_it_knows() -> None:
    from picklescan import scanner

    known = {module.partition(".")[0] for module in scanner._unsafe_globals}
    assert known
    assert known <= {*sys.stdlib_module_names, *LIBRARIES_IN_PICKLESCAN}
