"""A pickle is proven harmless, form by form, or named."""

from __future__ import annotations

import abc
import collections
import dataclasses
import opcode
import os
import pickle
import subprocess
import sys
import typing
from collections.abc import Callable
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from stable_baselines3.common.type_aliases import TrainFrequencyUnit

from fixtures.make import CHECKPOINTS
from sacdoctor import ScanOptions, scan
from sacdoctor.severity import Severity
from sacdoctor.trust.bytecode import Code
from sacdoctor.trust.parts import PickledPart
from sacdoctor.trust.references import Kind, reads_as_tar, references, torch_references
from sacdoctor.trust.suspicions import Suspicion, suspicions
from tests.archives import members_of, saved, zip_of
from tests.payloads import text, with_settings

CLOUDPICKLE = "cloudpickle.cloudpickle"


def judged(data: bytes, place: str = "") -> tuple[Suspicion, ...]:
    return suspicions([PickledPart("data", place, references(memoryview(data), place=place))])


def is_proven(data: bytes, place: str = "") -> bool:
    """Whether the gate passes it: code that only computes is told, and passes."""
    return all(found.severity is Severity.NOTICE for found in judged(data, place))


def name(module: str, qualname: str) -> bytes:
    return f"c{module}\n{qualname}\n".encode()


def of(*opcodes: bytes) -> bytes:
    return b"\x80\x03" + b"".join(opcodes) + b"."


DTYPE = name("numpy", "dtype") + text("f4") + b"\x89\x88\x87R"
PLAIN_STATE = b"(K\x03" + text("<") + b"NNN" + b"J\xff\xff\xff\xff" * 2
HOOKS = name("collections", "OrderedDict") + b")R"
UNIT = name("stable_baselines3.common.type_aliases", "TrainFrequencyUnit") + text("step") + b"\x85R"
SPACE = name("gymnasium.spaces.box", "Box") + b")\x81"
FUNCTION = name(CLOUDPICKLE, "_make_function")


# -- each form, whole and with one thing changed -------------------------------------------------


UNPROVEN = {
    "flags of a dtype": of(DTYPE, PLAIN_STATE, b"K\x3ftb"),
    "state of a dtype in use": of(
        name("numpy.core.multiarray", "scalar"),
        DTYPE,
        b"q\x00C\x04\x00\x00\x00\x00\x86R0h\x00",
        PLAIN_STATE,
        b"K\x00tb",
    ),
    "a dtype that is not a copy": of(
        name("numpy", "dtype"), text("f4") + b"\x89\x89\x87R", PLAIN_STATE, b"K\x00tb"
    ),
    "state of an enumeration": of(UNIT, b"}" + text("_value_") + b"K\x07sb"),
    "a second state": of(SPACE, b"}" + text("n") + b"K\x01sb}b"),
    "an error handler": of(
        name("_codecs", "encode"), text("x") + text("latin1") + text("namereplace") + b"\x87R"
    ),
    "another codec": of(name("_codecs", "encode"), text("x") + text("rot13") + b"\x86R"),
    "a list that changes after it was read": of(
        name("collections", "deque"), b"]q\x00\x85R0h\x00K\x01a"
    ),
    "a dict that changes after it was read": of(
        SPACE, b"}q\x00b0h\x00" + text("sample") + name("builtins", "float") + b"s"
    ),
    "a hook": of(
        name("torch._utils", "_rebuild_parameter"),
        name("collections", "OrderedDict") + b")R",
        b"\x88",
        HOOKS,
        b"\x87R",
    ),
    "a generator by a constructor of its own": of(
        name("numpy.random._pickle", "__generator_ctor"),
        text("MT19937"),
        name("builtins", "list"),
        b"\x86R",
    ),
    "an array that is no numpy array": of(
        name("numpy.core.multiarray", "_reconstruct"),
        name("collections", "deque"),
        b"K\x00\x85C\x01b\x87R",
    ),
    "more bytes than elements": of(
        name("numpy.core.numeric", "_frombuffer"),
        b"(C\x08" + bytes(8),
        DTYPE,
        b"K\x01\x85" + text("C") + b"tR",
    ),
    "a storage outside of torch": of(
        b"(" + text("storage") + name("torch", "FloatStorage"), text("0") + text("cpu") + b"K\x01tQ"
    ),
    "a function as a value": of(name("builtins", "getattr")),
    "arguments that are no tuple": of(name("collections", "deque"), b"]R"),
    "an item of a list set by number": of(b"]K\x01aK\x00K\x02s"),
    "an item of a set appended": of(b"\x8fK\x01a")[:-1].replace(b"\x80\x03", b"\x80\x04") + b".",
    "STRING": of(b"S'x'\n"),
    "BINSTRING": of(b"T\x01\x00\x00\x00x"),
    "SHORT_BINSTRING": of(b"U\x01x"),
    "UNICODE": of(b"Vx\n"),
    "LONG": of(b"L1L\n"),
    "INST": of(b"(icollections\nOrderedDict\n"),
    "DUP": of(b"]2\x86"),
    "a second PROTO": of(b"\x80\x02N"),
    "a second pickle": of(b"N") + of(b"N"),
    "a class of a known one": of(
        name("builtins", "type"), text("X"), name("collections", "deque"), b"\x85}\x87R"
    ),
    "attributes of a known class": of(
        name(CLOUDPICKLE, "_class_setstate"), name("collections", "deque"), b"}}\x86\x86R"
    ),
    "objects with arguments": of(name("gymnasium.spaces.box", "Box"), b"K\x01\x85\x81"),
}


@pytest.mark.parametrize("kind", UNPROVEN)
def test_what_is_not_of_a_form_is_named(kind: str) -> None:
    assert not is_proven(UNPROVEN[kind])


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3).T,
        np.array([{"a": 1}, None], dtype=object),
        np.array(["ab", "c"]),
        np.float64(0.5),
        np.random.default_rng(0),
        TrainFrequencyUnit.STEP,
        collections.OrderedDict(a=np.zeros(2)),
        collections.deque([{"r": 1.0}], maxlen=100),
        th.zeros(2, 3),
        {"activation_fn": th.nn.ReLU, "net_arch": [64, 64]},
        {(1, 2), "a", None},
        {((1, 2), (3, 4)), frozenset((1,))},
        {np.int64(1): 1, (np.int64(1), 2): 2, np.str_("a"): 3},
        {TrainFrequencyUnit.STEP: 1, th.float32: 2, frozenset((1, 2)): 3, 2**70: 4},
        {tuple(range(40)): 1, ((1, 2), (3, 4)): 2, b"x" * 5000: 3},
        collections.defaultdict(int, {1: collections.defaultdict(dict, {2: {}})}),
        collections.Counter("aab"),
        np.random.RandomState(0),
        np.random.default_rng(np.int64(3)).spawn(1)[0],
        *(np.random.Generator(kind(1)) for kind in (np.random.SFC64, np.random.Philox)),
        bytearray(b"x"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("protocol", range(2, 6))
def test_what_the_libraries_write_is_proven(value: Any, protocol: int) -> None:
    assert is_proven(pickle.dumps(value, protocol))


@pytest.mark.parametrize("protocol", range(2, 6))
def test_keys_of_a_dict_are_no_names(protocol: int) -> None:
    """A table that counts visits of observations, as an attribute of an object of SB3's."""
    space = gymnasium.spaces.Discrete(2)
    space.visits = {np.int64(1): 2, (np.int64(1), np.float64(0.5)): 3}  # type: ignore[attr-defined]
    assert is_proven(pickle.dumps(space, protocol))


def test_hooks_of_a_tensor_stay_empty() -> None:
    """`Tensor.backward` calls what is in there, whoever put it there and when."""

    def tensor(*behind: bytes) -> bytes:
        storage = b"(" + text("storage") + name("torch", "FloatStorage") + text("0") + text("cpu")
        rebuilt = name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + b"K\x01tQK\x00)"
        program = of(rebuilt, b")\x89", HOOKS, b"q\x00tR", *behind)
        members = members_of(saved({"w": th.zeros(1)}))
        return zip_of({**members, "archive/data.pkl": program})

    later = b"0h\x00K\x01" + name("builtins", "float") + b"s"
    assert torch_references(memoryview(tensor())) == ()
    assert torch_references(memoryview(tensor(later))) != ()


def test_globals_of_a_function_hold_pythons_own_functions() -> None:
    """cloudpickle puts `__builtins__` into the dict that it is given, and others may recall it."""
    function = cloudpickle.dumps(lambda p: p, protocol=3)
    assert is_proven(function, "learning_rate")
    shared = b"}q\xf0" + text("__name__") + text("m") + b"s"
    code = _code_of(lambda p: p)
    made = FUNCTION + b"(" + code + shared + b"NNNtR"
    assert is_proven(of(made), "learning_rate")
    assert not is_proven(of(made, b"0", SPACE, b"h\xf0b"))


def _code_of(function: Callable[..., Any]) -> bytes:
    """The call that makes a code object, as cloudpickle writes it."""
    code = function.__code__
    args = [
        *(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_nlocals),
        *(code.co_stacksize, code.co_flags, code.co_code, code.co_consts, code.co_names),
        *(code.co_varnames, "f.py", "f", "f", 1, b"", b"", (), ()),
    ]
    pushed = b"".join(pickle.dumps(arg, 3)[2:-1].replace(b"q\x00", b"") for arg in args)
    return name("types", "CodeType") + b"(" + pushed + b"tR"


# -- what SB3 calls ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("policy_kwargs", {"activation_fn": th.nn.ReLU}, True),
        ("policy_kwargs", {"activation_fn": FlattenExtractor}, False),
        ("policy_kwargs", {"features_extractor_class": FlattenExtractor}, True),
        ("policy_kwargs", {"features_extractor_class": th.nn.ReLU}, False),
        ("policy_kwargs", {"optimizer_class": th.optim.Adam}, True),
        ("policy_kwargs", {"optimizer_class": dict}, False),
        ("policy_class", th.optim.Adam, False),
        ("replay_buffer_class", dict, False),
        ("_setup_model", dict, False),
        ("env", "Pendulum-v1", False),
        ("learning_rate", np.float64(1e-3), True),
    ],
)
def test_only_classes_of_the_right_kind_stand_where_sb3_calls_them(
    place: str, value: Any, expected: bool
) -> None:
    assert is_proven(pickle.dumps(value), place) == expected


def test_environment_that_sb3_would_make_by_its_name_is_named(tmp_path: Path) -> None:
    """`SAC.load` hands `env` of `data` to `gymnasium.make`, which imports the module before `:`."""
    members = members_of((CHECKPOINTS / "sac_two_head.zip").read_bytes())
    path = tmp_path / "model.zip"
    path.write_bytes(zip_of(with_settings(members, env="this:Any-v0")))
    (found,) = (f for f in scan(path, ScanOptions(select=("SD6",))).findings if f.rule == "SD602")
    assert "imports this" in found.evidence


# -- code that only computes ---------------------------------------------------------------------


def linear(start: float, end: float, fraction: float) -> Callable[[float], float]:
    """SB3's `get_linear_fn`."""

    def func(progress_remaining: float) -> float:
        if (1 - progress_remaining) > fraction:
            return end
        else:
            return start + (1 - progress_remaining) * (end - start) / fraction

    return func


def zoo(initial: float) -> Callable[[float], float]:
    """rl-zoo's `linear_schedule`."""

    def func(progress_remaining: float) -> float:
        """Progress will decrease from 1 (beginning) to 0."""
        return progress_remaining * initial

    return func


def cosine(progress: float) -> float:
    half = 0.5 * (1 + np.cos(np.pi * (1 - progress)))
    return max(half, 1e-5) if progress > 0.1 else min(half, 1)


@pytest.mark.parametrize(
    "function",
    [linear(1.0, 0.1, 0.5), zoo(3e-4), cosine, lambda p: 2.5e-4 * p, lambda p: (p and 1.0) or 0.5],
)
def test_schedules_that_only_compute_are_proven(function: Any) -> None:
    function.__module__ = "__main__"  # so that it is kept whole
    assert is_proven(cloudpickle.dumps(function), "learning_rate")


def with_parts(function: Callable[..., Any], **parts: Any) -> Code:
    code = function.__code__.replace(**parts)
    made = Code.of(
        (
            *(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_nlocals),
            *(code.co_stacksize, code.co_flags, code.co_code, code.co_consts, code.co_names),
            *(code.co_varnames, code.co_filename, code.co_name, code.co_qualname),
            *(code.co_firstlineno, code.co_linetable, code.co_exceptiontable),
            *(code.co_freevars, code.co_cellvars),
        )
    )
    assert made is not None
    return made


def rate(progress: float) -> float:
    return 3e-4 * progress


HARMLESS = rate.__code__.co_code
EXTENDED = bytes((opcode.EXTENDED_ARG, 0))


def changed(name: str, argument: int, by: tuple[str, int]) -> bytes:
    """The bytecode of `rate` with one instruction replaced."""
    at = HARMLESS.index(bytes([opcode.opmap[name], argument]))
    return HARMLESS[:at] + bytes([opcode.opmap[by[0]], by[1]]) + HARMLESS[at + 2 :]


BY_HAND: dict[str, Callable[[], dict[str, Any]]] = {
    "a constant that is not there": lambda: {
        "co_code": changed("LOAD_CONST", 1, ("LOAD_CONST", 99))
    },
    "a variable that is not there": lambda: {"co_code": changed("LOAD_FAST", 0, ("LOAD_FAST", 9))},
    "a value that is not there": lambda: {"co_code": changed("LOAD_FAST", 0, ("NOP", 0))},
    "an operation that does not exist": lambda: {
        "co_code": changed("BINARY_OP", 5, ("BINARY_OP", 200))
    },
    # 3.11 skips the call behind what prepares it, by the bytes of a call without a prefix.
    "a prefix of nothing": lambda: {"co_code": EXTENDED + HARMLESS},
    "what nothing leads to": lambda: {"co_code": HARMLESS + HARMLESS[-2:]},
    "a name that is not used": lambda: {"co_names": ("FileHandler",)},
    "too small a stack": lambda: {"co_stacksize": 1},
    "a generator": lambda: {"co_flags": 0x23},
    "a handler": lambda: {"co_exceptiontable": b"\x01\x01\x01\x01"},
    "a text with reach": lambda: {"co_consts": (None, 3e-4, "exec")},
    "code inside": lambda: {"co_consts": (None, 3e-4, rate.__code__)},
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_bytecode_made_by_hand_is_not_proven(kind: str) -> None:
    assert with_parts(rate).needs == frozenset()
    assert with_parts(rate, **BY_HAND[kind]()).needs is None


def matched(progress: Any) -> Any:
    match progress:
        case object(__class__=found):
            return found
    return None


@pytest.mark.parametrize(
    "function",
    [
        matched,
        lambda p: globals(),
        lambda p: p.__self__,
        lambda p: [q + 1 for q in p],
        lambda p: (lambda q: q)(p),
        lambda p: p.open(),
    ],
)
def test_other_code_is_named_and_not_accused(function: Any) -> None:
    found = judged(cloudpickle.dumps(function), "learning_rate")
    assert {one.severity for one in found} >= {Severity.WARNING}
    assert all(one.severity is not Severity.CRITICAL for one in found)


@pytest.mark.parametrize(
    ("function", "reached"),
    [
        (lambda p: eval("1"), "eval"),
        (lambda p: os.system("x"), "os.system"),
        (lambda p: subprocess.run(["x"]), "subprocess.run"),
        (lambda p: p.__globals__["x"], ".__globals__"),
    ],
)
def test_code_that_reaches_a_dangerous_name_is_accused_of_it(function: Any, reached: str) -> None:
    found = judged(cloudpickle.dumps(function), "learning_rate")
    assert reached in {path for one in found for path in one.reference.reaches}
    assert found[0].severity is Severity.CRITICAL


# -- nobody is accused wrongly -------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Settings:
    rate: float = 1e-3
    layers: list[int] = dataclasses.field(default_factory=list)

    def path(self) -> str:
        return os.path.join("runs", str(self.rate))


class Step(typing.NamedTuple):
    reward: float = 0.0
    done: bool = False


class Mode(Enum):
    FAST = 1


class Level(IntEnum):
    LOW = 1


class Extractor(BaseFeaturesExtractor):
    def __init__(self, space: Any, features_dim: int = 4) -> None:
        super().__init__(space, features_dim)
        self.net = th.compile(th.nn.Linear(3, features_dim))
        self.open = self.net.eval()

    @property
    def label(self) -> str:
        return self.__class__.__name__

    def forward(self, observations: Any) -> Any:
        return self.net(observations)


class Shape(abc.ABC):
    @abc.abstractmethod
    def open(self) -> None: ...


class Square(Shape):
    def open(self) -> None:
        self.open()


Pair = collections.namedtuple("Pair", "first second")

OWN: list[Any] = [
    *(Settings(), Step(), Mode.FAST, Level.LOW, Square(), Pair(1, 2), Extractor),
    {"features_extractor_class": Extractor},
]


@pytest.mark.parametrize("value", OWN, ids=lambda value: str(value)[:30])
def test_code_of_the_users_own_is_named_and_not_accused(value: Any) -> None:
    """As in a notebook: cloudpickle keeps what `__main__` defines whole."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        found = judged(cloudpickle.dumps(value), "policy_kwargs")
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    assert found
    assert [str(one.reference) for one in found if one.severity is Severity.CRITICAL] == []


def test_trusted_modules_are_the_users_own_and_dangerous_names_stay() -> None:
    part = PickledPart("", "", references(memoryview(pickle.dumps({"net": Extractor}))))
    assert suspicions([part]) != ()
    assert suspicions([part], trusted=("tests",)) == ()
    assert suspicions([part], trusted=("test",)) != ()
    system = PickledPart("", "", references(memoryview(of(name("os", "system")))))
    assert suspicions([system], trusted=("os", "posix"))[0].severity is Severity.CRITICAL


def test_trust_does_not_cover_what_is_done_with_a_name() -> None:
    """A trusted object may stand anywhere; a form that is broken stays broken."""
    changes = of(name("tests", "x"), b"0", SPACE, b"}b}b")
    part = PickledPart("", "", references(memoryview(changes)))
    kinds = {one.reference.kind for one in suspicions([part], trusted=("tests",))}
    assert kinds == {Kind.FORM}


@pytest.mark.parametrize("algorithm", ["PPO", "DQN", "SAC"])
def test_policy_that_was_saved_alone_is_proven(algorithm: str, tmp_path: Path) -> None:
    import stable_baselines3

    env = "Pendulum-v1" if algorithm == "SAC" else "CartPole-v1"
    path = tmp_path / "policy.pth"
    getattr(stable_baselines3, algorithm)("MlpPolicy", env).policy.save(str(path))
    assert torch_references(memoryview(path.read_bytes())) == ()


def test_tar_archive_that_begins_as_pickles_do_is_refused() -> None:
    """Before anything else, torch asks `tarfile`, which goes by a sum over the header."""
    import tarfile

    header = bytearray(tarfile.TarInfo("x").tobuf())
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    header[: len(magic)] = magic
    assert not reads_as_tar(memoryview(bytes(header)))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert reads_as_tar(memoryview(bytes(header)))
    assert Kind.UNREAD in {one.kind for one in torch_references(memoryview(bytes(header)))}


# -- what really runs ----------------------------------------------------------------------------


def run(data: bytes, mark: Path) -> bool:
    """Whether the pickle leaves its mark in a process of its own."""
    script = "import pickle, sys; f = pickle.loads(sys.stdin.buffer.read()); f and f(1)"
    subprocess.run([sys.executable, "-c", script], input=data, capture_output=True, check=False)
    return mark.exists()


def test_state_that_captures_builtins_runs_and_is_named(tmp_path: Path) -> None:
    """The globals of a harmless function, recalled as a dict of names: `exec` is at hand."""
    mark = tmp_path / "mark"
    shared = b"}q\xf0" + text("__name__") + text("m") + b"s"
    made = FUNCTION + b"(" + _code_of(lambda p: p) + shared + b"NNNtR0"
    get = name("operator", "getitem") + b"h\xf0" + text("__builtins__") + b"\x86R"
    run_it = name("operator", "getitem") + get + text("exec") + b"\x86R"
    data = of(made, run_it, text(f"open({str(mark)!r}, 'w').close()"), b"\x85R")
    assert not is_proven(data)
    assert run(data, mark)


def test_constructor_of_its_own_runs_and_is_named(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    data = of(
        name("numpy.random._pickle", "__generator_ctor"),
        text(str(mark)),
        name("os", "mkdir"),
        b"\x86R",
    )
    assert not is_proven(data)
    assert run(data, mark)
