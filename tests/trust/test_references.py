"""What a pickle would import and call is named, and nothing of it happens."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import pickle
import struct
import sys
from enum import Enum
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

from sacdoctor.checkpoint import Limits
from sacdoctor.pickles import Name
from sacdoctor.severity import Severity
from sacdoctor.trust.dangerous_names import LIBRARIES_IN_PICKLESCAN, dangerous
from sacdoctor.trust.parts import PickledPart
from sacdoctor.trust.references import (
    Kind,
    Reference,
    references,
    references_by_chance,
    torch_references,
)
from sacdoctor.trust.suspicions import Suspicion, description, evidence, suspicions
from tests import payloads
from tests.archives import members_of, saved, zip_of
from tests.payloads import Calls, by_hand, indirect, text, touching

PAYLOADS = list(touching(Path("mark")))
_BAD = Severity.WARNING


def judged(data: bytes) -> tuple[Suspicion, ...]:
    return suspicions([PickledPart("", "", references(memoryview(data)))])


def worst(data: bytes) -> str:
    """What is critical in the pickle, in words."""
    return "; ".join(
        description(s.reference) for s in judged(data) if s.severity is Severity.CRITICAL
    )


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


@pytest.mark.parametrize("name", list(indirect("")))
def test_what_is_called_by_way_of_harmless_names_is_no_mere_reference(
    tmp_path: Path, name: str
) -> None:
    mark = tmp_path / "mark"
    data = indirect(str(mark))[name]
    assert not {"warning", "critical"}.isdisjoint(severities(data))
    assert not all(found.is_calm for found in judged(data))
    assert not mark.exists()
    with contextlib.suppress(Exception):  # what it makes may be unusable; it has run by then
        pickle.loads(data)
    assert mark.exists()


def test_name_that_is_followed_only_where_it_is_called_must_not_be_given_away() -> None:
    inner = saved(Calls(os.system, "x"))
    data = pickle.dumps(functools.partial(th.storage._load_from_bytes, inner))
    assert "_load_from_bytes, which it gives to another call" in worst(data)


def test_class_inside_plain_containers_is_a_mere_reference() -> None:
    (found,) = judged(pickle.dumps({"activation_fn": [payloads.Touches]}))
    assert found.is_calm


def test_what_becomes_of_a_model_as_an_attribute_may_be_called() -> None:
    """SB3 puts every key of `data` among the model's attributes, its methods included."""
    found = references(memoryview(pickle.dumps(payloads.touch)))
    is_calm = {
        key: suspicions([PickledPart("data", key, found)])[0].is_calm
        for key in ("policy_class", "policy_kwargs.optimizer_kwargs", "lr_schedule", "_setup_model")
    }
    assert is_calm == {
        "policy_class": True,
        "policy_kwargs.optimizer_kwargs": True,
        "lr_schedule": False,
        "_setup_model": False,
    }


def test_names_cannot_pass_for_lines_of_their_own() -> None:
    for module in ("a\nHEALTHY", "a\x1b[2J", "a\r\u2028b"):
        data = b"\x80\x04" + text(module) + text("f") + b"\x93)R."
        told = evidence(judged(data))
        assert told.isprintable()
        assert evidence([Suspicion("x\ny", "", Reference(Kind.CALL, Name("m", "f")), _BAD)]) == (
            "x\\ny: calls m.f"
        )


def test_import_by_a_dotted_name_returns_the_package() -> None:
    get, imported = (
        b"cbuiltins\ngetattr\n",
        b"cbuiltins\n__import__\n" + text("torch.nn") + b"\x85R",
    )
    data = get + imported + text("hub") + b"\x86R" + text("x") + b"\x85R."
    assert Name("torch", "hub") in {r.name for r in references(memoryview(data))}


@pytest.mark.parametrize("name", ["archive/DATA.PKL", "archive/Data.pkl"])
def test_record_of_a_torch_file_is_found_in_any_case(name: str) -> None:
    """torch's own reader asks for `data.pkl` and takes it in any case."""
    members = members_of(saved({"w": th.zeros(2)}))
    evil = zip_of({name: pickle.dumps(Calls(os.system, "x")), **members})
    assert Name(os.name, "system") in {r.name for r in torch_references(memoryview(evil))}


def test_what_runs_before_the_damage_is_named_with_the_damage() -> None:
    data = pickle.dumps(Calls(os.system, "x"), 2)
    for end in range(data.index(b"R") + 1, len(data)):
        named = worst(data[:end])
        assert "system" in named
        assert "cannot be read to its end" in named


def test_what_stands_behind_the_end_is_named_and_walked() -> None:
    """SB3 loads the first pickle alone; others go on, as picklescan's own tests do."""
    assert "system" in worst(pickle.dumps(1) + pickle.dumps(os.system))
    assert severities(pickle.dumps(1) + pickle.dumps(2)) == {"warning"}
    assert severities(pickle.dumps(1) + b"\0") == {"warning"}


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
    function = lambda p: max(float(p), math.sqrt(2))  # noqa: E731
    # From 3.1.3 on cloudpickle puts a word in the place of the file's path.
    rebuilt = pickle.loads(cloudpickle.dumps(function))
    found = code_of(function)
    assert found.name == Name(rebuilt.__code__.co_filename, "<lambda>")
    assert set(found.uses) >= {"max", "float", "sqrt"}


def test_code_that_only_computes_is_a_notice() -> None:
    start = 3e-4
    assert severities(cloudpickle.dumps(lambda p: start * float(p))) == {"notice"}


def test_code_that_uses_other_names_is_a_warning() -> None:
    assert severities(cloudpickle.dumps(lambda p: p.rate())) == {"warning"}


def test_code_that_reaches_out_is_critical() -> None:
    assert "__import__" in worst(cloudpickle.dumps(lambda p: __import__("os").system("x")))
    assert "eval" in worst(cloudpickle.dumps(lambda p: [eval(q) for q in p]))


@pytest.mark.parametrize("protocol", range(2, 6))
def test_names_of_code_are_read_in_every_protocol(protocol: int) -> None:
    """Below 3 its bytes are calls of `_codecs.encode`, and its line table may be plain bytes."""
    data = cloudpickle.dumps(lambda p: p.unknown_word, protocol)
    assert "unknown_word" in {use for s in judged(data) for use in s.reference.uses}


@pytest.mark.parametrize("encoded", [True, False])
def test_names_of_code_are_read_where_only_its_table_is_plain(encoded: bool) -> None:
    code = (lambda p: p.unknown_word).__code__
    text_of_code = code.co_code.decode("latin-1")
    plain = b"\x80\x03" + b"C" + bytes([len(code.co_code)]) + code.co_code
    call = b"c_codecs\nencode\n" + text(text_of_code) + text("latin1") + b"\x86R"
    numbers = b"K\x01K\x00K\x00K\x01K\x02K\x03"
    data = (
        (b"" if encoded else b"\x80\x03")
        + b"ctypes\nCodeType\n("
        + numbers
        + (call if encoded else plain[2:])
        + b"("
        + text("a")
        + text("b")
        + b"t("
        + text("unknown_word")
        + b"t("
        + text("p")
        + b"t"
        + text("f.py")
        + text("f")
        + text("f")
        + b"K\x01C\x01xC\x00))tR."
    )
    (found,) = judged(data)
    assert found.reference == Reference(Kind.CODE, Name("f.py", "f"), ("unknown_word",))


def test_words_of_code_may_stand_for_other_names() -> None:
    def schedule(progress: float) -> Any:
        return floor(progress)

    floor = payloads.touch
    data = cloudpickle.dumps(schedule)
    assert severities(data) == {"notice", "warning"}
    assert "touch" in "; ".join(description(s.reference) for s in judged(data))


def test_enum_of_the_users_own_is_calm() -> None:
    class Mode(Enum):
        FAST = 1

    assert all(found.is_calm for found in judged(cloudpickle.dumps(Mode.FAST)))


def test_code_that_computes_with_functions_of_math_is_a_notice() -> None:
    cos = math.cos
    assert severities(cloudpickle.dumps(lambda p: 1e-3 * cos(p))) == {"notice"}


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
        Name("sympy.core.sympify", "sympify"),
        Name("numpy.lib._npyio_impl", "savetxt"),
        Name("torch.fx.graph_module", "_exec_with_source"),
        Name("stable_baselines3.ppo.ppo", "PPO.load"),
        Name("gymnasium.envs.registration", "load_env_creator"),
        Name("zipfile", "ZipFile"),
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


def test_a_file_without_pickles_is_none_by_chance() -> None:
    """Headers of every length, in which letters are opcodes: none of them looks up a name."""
    for size in range(64, 1200):
        said = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
        header = json.dumps({"conv.0.weight": said}, indent=1)
        data = struct.pack("<Q", size) + header.encode().ljust(size) + b"\n\n.c" * 2
        assert references_by_chance(memoryview(data), Limits.of(len(data))) == ()
