"""Pickle programs by the million: what Python's own unpickler does with them, against the gate.

`python -m tests.fuzz.programs --runs 1000000` makes programs opcode by opcode, from the names that
SB3's own files use, with aliases, memo and states, and by mutating the payloads of `tests.payloads`
and honest pickles. Python loads each (as a pickle, or as an old torch file; functions that it makes
are called once, as SB3 calls a schedule) in a child process under an audit hook. Anything that can
be observed, an import, code, a file, a process, a socket, a change of what everybody shares, a
crash, must make the gate fail: programs for which it does not are faults, and are kept.

Events that would reach outside of the process are stopped as they are observed.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import gc
import io
import json
import mmap
import operator
import os
import pickle
import pickletools
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import types
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import cloudpickle

from tests.payloads import assembly as asm
from tests.payloads.calls import Marks
from tests.payloads.hiding import HIDING, old_torch, torch_zip
from tests.payloads.places import sound, with_settings

BATCH = 400
"""Programs of one child; most do not change it."""
SECONDS = 3
"""After which a program is given up; that it takes long is no harm."""
MEMORY = 1 << 30
"""Bytes that a child may take beyond what it starts with."""

SINK = Marks("/nonexistent/mark")
EVIL = torch_zip(asm.whole(asm.call(asm.name("builtins", "exec"), asm.text("0"))))
EVIL_OLD = old_torch(asm.call(asm.name("builtins", "exec"), asm.text("0")))
HARMLESS = torch_zip(asm.whole(asm.NONE))

_CLOUD = "cloudpickle.cloudpickle"
NAMES: tuple[tuple[str, str], ...] = tuple(
    (module, qualname)
    for module, qualnames in {
        "builtins": (
            "getattr list dict set tuple frozenset bytes bytearray str int float object type slice "
            "range complex bool map zip property classmethod abs min max round sum len"
        ),
        "collections": "OrderedDict deque defaultdict Counter",
        "copyreg": "_reconstructor __newobj__",
        "_codecs": "encode",
        "functools": "partial",
        "types": "SimpleNamespace CodeType FunctionType CellType ModuleType",
        "enum": "Enum IntEnum Enum.__new__",
        "datetime": "datetime timedelta timezone date",
        "pathlib": "PosixPath",
        "numpy": "dtype ndarray float64 float32 bool_ exp clip maximum",
        "numpy._core.multiarray": "_reconstruct scalar",
        "numpy._core.numeric": "_frombuffer",
        "numpy.random._pickle": "__generator_ctor __bit_generator_ctor __randomstate_ctor",
        "numpy.random._pcg64": "PCG64",
        "torch": "Size Tensor device FloatStorage float32",
        "torch.storage": "_load_from_bytes TypedStorage UntypedStorage",
        "torch._utils": "_rebuild_tensor _rebuild_tensor_v2 _rebuild_parameter",
        "torch._tensor": "_rebuild_from_type_v2",
        "torch.serialization": "_get_layout",
        "torch.nn.modules.activation": "ReLU Tanh",
        "torch.optim.adam": "Adam",
        _CLOUD: (
            "_make_function _function_setstate _make_cell _make_empty_cell subimport "
            "_builtin_type _make_skeleton_class _class_setstate _make_skeleton_enum"
        ),
        "gymnasium.spaces.box": "Box",
        "gymnasium.spaces.discrete": "Discrete",
        "gymnasium.spaces.dict": "Dict",
        "stable_baselines3.common.buffers": "ReplayBuffer",
        "stable_baselines3.common.noise": "NormalActionNoise",
        "stable_baselines3.common.running_mean_std": "RunningMeanStd",
        "stable_baselines3.common.type_aliases": "TrainFreq TrainFrequencyUnit",
        "stable_baselines3.common.utils": (
            "FloatSchedule ConstantSchedule LinearSchedule get_schedule_fn get_linear_fn"
        ),
        "stable_baselines3.common.vec_env.vec_normalize": "VecNormalize",
        "stable_baselines3.her.goal_selection_strategy": "GoalSelectionStrategy",
        "math": "sqrt cos floor",
    }.items()
    for qualname in qualnames.split()
)
WORDS = (
    *(
        "f4",
        "f8",
        "O8",
        "u1",
        "|b1",
        "latin1",
        "ascii",
        "utf-8",
        "ignore",
        "C",
        "storage",
        "module",
    ),
    *(
        "cpu",
        "0",
        "step",
        "STEP",
        "keys",
        "__array__",
        "__new__",
        "__init__",
        "__call__",
        "payload",
    ),
    *("__setstate__", "append", "extend", "__builtins__", "__globals__", "__dict__", "__class__"),
    *("__reduce__", "__self__", "__func__", "__code__", "__defaults__", "__lt__", "__getitem__"),
    *("value_schedule", "math", "numpy", "exec", "eval", "X", "f", "__closure__", "mro", "args"),
    *("_cloudpickle_submodules", "func", "data", "__wrapped__", "__mro_entries__", "__prepare__"),
    *(
        "__array_interface__",
        "shape",
        "typestr",
        "version",
        "dump_patches",
        "__name__",
        "_metadata",
    ),
)


# -- programs --------------------------------------------------------------------------------------


class Maker:
    """Makes programs: expressions of names, calls, states and containers, some of them kept."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.slots = 0

    def program(self) -> bytes:
        parts = [self.value(0) for _ in range(self.dice.choice((1, 2, 2, 3, 4)))]
        return asm.POP.join(parts)

    def value(self, depth: int) -> bytes:
        made = self._value(depth)
        if self.dice.random() < 0.25:
            self.slots += 1
            made = asm.keep(made, self.slots)
        return made

    def _value(self, depth: int) -> bytes:
        dice = self.dice
        if depth > 4 or dice.random() < 0.3:
            return self.plain()
        way = dice.randrange(13)
        if way < 4:
            return asm.call(self.callee(depth), *self.some(depth))
        if way == 4:
            return asm.new(self.callee(depth), *self.some(depth))
        if way == 5:
            return asm.build(self.value(depth + 1), self.state(depth))
        if way == 6:
            return self.value(depth + 1) + b"(" + b"".join(self.some(depth)) + b"e"
        if way == 7:
            return self.value(depth + 1) + self.value(depth + 1) + self.value(depth + 1) + b"s"
        if way == 8:
            return asm.attribute(self.value(depth + 1), dice.choice(WORDS))
        if way == 9:
            return asm.persistent(asm.tuple_(asm.text(dice.choice(WORDS)), *self.some(depth)))
        if way == 10:
            return dice.choice((asm.tuple_, asm.list_))(*self.some(depth))
        if way == 11:
            return self.state(depth)
        return self.idiom(depth)

    def callee(self, depth: int) -> bytes:
        return self.name() if self.dice.random() < 0.85 else self.value(depth + 1)

    def some(self, depth: int) -> list[bytes]:
        return [self.value(depth + 1) for _ in range(self.dice.choice((0, 1, 1, 2, 2, 3, 4)))]

    def state(self, depth: int) -> bytes:
        items = {self.dice.choice(WORDS): self.value(depth + 1) for _ in range(2)}
        state = asm.dict_(**items)
        if self.dice.random() < 0.3:
            return asm.tuple_(self.dice.choice((asm.NONE, asm.dict_())), state)
        return state

    def name(self) -> bytes:
        return asm.name(*self.dice.choice(NAMES))

    def plain(self) -> bytes:
        dice = self.dice
        if self.slots and dice.random() < 0.4:
            return asm.kept(dice.randint(1, self.slots))
        way = dice.randrange(9)
        if way < 2:
            return self.name()
        if way == 2:
            return asm.text(dice.choice(WORDS))
        if way == 3:
            return asm.number(dice.choice((0, 1, 2, 3, 4, 8, 63, -1)))
        if way == 4:
            return dice.choice((asm.NONE, asm.TRUE, asm.FALSE, asm.EMPTY, b"]", b"}"))
        if way == 5:
            return asm.data(dice.choice((EVIL, EVIL_OLD, HARMLESS, b"", b"12345678")))
        if way == 6:
            return asm.growing(dice.choice((EVIL_OLD, HARMLESS, b"", b"12345678")))
        if way == 7:
            return asm.number(dice.randrange(256))
        return asm.text("0")

    def idiom(self, depth: int) -> bytes:
        """Something that libraries do write."""
        dice = self.dice
        dtype = asm.call(
            asm.name("numpy", "dtype"),
            asm.text(dice.choice(("u1", "f8", "O8"))),
            asm.FALSE,
            asm.TRUE,
        )
        if dice.random() < 0.3:
            return asm.build(
                dtype,
                asm.tuple_(
                    asm.number(3),
                    asm.text("|"),
                    asm.NONE,
                    asm.NONE,
                    asm.NONE,
                    asm.number(-1),
                    asm.number(-1),
                    asm.number(dice.choice((0, 63))),
                ),
            )
        way = dice.randrange(5)
        if way == 0:
            data = dice.choice((asm.growing, asm.data))(b"12345678")
            return asm.call(
                asm.name("numpy._core.numeric", "_frombuffer"),
                data,
                dtype,
                asm.numbers(dice.choice((1, 8))),
                asm.text("C"),
            )
        if way == 1:
            return asm.build(asm.new(asm.name(*dice.choice(NAMES[-20:]))), self.state(depth))
        if way == 2:
            return schedule(dice)
        if way == 3:
            return asm.call(asm.name("functools", "partial"), self.callee(depth), *self.some(depth))
        return asm.build(asm.call(asm.name("types", "SimpleNamespace")), self.state(depth))


# -- code ------------------------------------------------------------------------------------------


def _sources() -> Iterator[types.CodeType]:
    start, end = 1.0, 0.5
    yield (lambda p: start * p).__code__
    yield (lambda p: max(start * (1 - p), end)).__code__
    yield (lambda p: start if p > end else end).__code__
    yield (lambda p: (1, 2, 3)[int(p)]).__code__
    yield (lambda p: float(p) ** 2 + abs(end) // 3).__code__
    yield (lambda p: p).__code__


SOURCES = tuple(_sources())


def schedule(dice: random.Random) -> bytes:
    """A function as cloudpickle writes it, around such code with a few changes, or none."""
    code = dice.choice(SOURCES)
    raw, stack = bytearray(code.co_code), code.co_stacksize
    names, constants = code.co_names, code.co_consts
    if dice.random() < 0.3:
        names = (*names, *dice.sample(("exec", "max", "sqrt", "f"), 2))
    for _ in range(dice.choice((0, 1, 1, 2, 3))):
        at = 2 * dice.randrange(len(raw) // 2)
        way = dice.randrange(7)
        if way == 0:
            raw[at] = dice.choice(CODES)
        elif way == 1:
            raw[at + 1] = dice.choice((0, 1, 2, 3, 4, 8, 9, 255))
        elif way == 2:
            raw[at:at] = bytes((dice.choice(CODES), dice.randrange(4)))
        elif way == 3:
            del raw[at : at + 2]
        elif way == 4:
            other = dice.choice(SOURCES).co_code
            raw[at:at] = other[2 * dice.randrange(len(other) // 2) :][: 2 * dice.randrange(1, 12)]
        elif way == 5:
            stack = max(0, stack + dice.choice((-2, -1, 1)))
        else:
            constants = (*constants, 0, (1, 2))
    changed = code.replace(co_names=names, co_consts=constants, co_stacksize=stack)
    cells = tuple(map(types.CellType, (1.0, 0.5)[: len(code.co_freevars)]))
    pickle_ = cloudpickle.dumps(types.FunctionType(changed, {}, "f", None, cells), 3)
    # `co_code` shows what stands between instructions as zeros: it is put in by hand.
    written = b"C" + bytes([len(changed.co_code)]) + changed.co_code
    assert written in pickle_
    return asm.program_of(pickle_.replace(written, asm.data(bytes(raw)), 1))


CODES = (1, 2, 9, 25, 83, 99, 100, 101, 102, 108, 110, 116, 120, 122, 124, 125, 151, 160, 166, 171)
"""Instructions of Python 3.11."""


# -- mutations -------------------------------------------------------------------------------------


@cache
def seeds() -> tuple[tuple[bytes, ...], ...]:
    """Payloads and honest pickles, as lists of opcodes."""
    found = [program(SINK) for program in HIDING.values()]
    start = 0.5
    honest = (
        lambda p: start * p,
        {"a": [1, 2.5, "x", b"y", None, (1, 2)]},
        *_honest_values(),
    )
    found += [asm.program_of(cloudpickle.dumps(value, 3)) for value in honest]
    return tuple(map(_operations, found))


def _honest_values() -> Iterator[Any]:
    import gymnasium
    import numpy as np
    import torch
    from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
    from stable_baselines3.common.utils import LinearSchedule

    yield np.arange(4.0)
    yield np.random.default_rng(0)
    yield torch.zeros(2)
    yield TrainFreq(1, TrainFrequencyUnit.STEP)
    yield LinearSchedule(1.0, 0.0, 0.5)
    yield gymnasium.spaces.Box(-1.0, 1.0, (2,))
    yield gymnasium.spaces.Dict(a=gymnasium.spaces.Discrete(2))


def _operations(program: bytes) -> tuple[bytes, ...]:
    data = program + b"."
    starts = [position or 0 for _, _, position in pickletools.genops(data)]
    return tuple(
        data[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True)
    )[:-1]


def mutant(dice: random.Random) -> bytes:
    pieces = list(dice.choice(seeds()))
    maker = Maker(dice)
    for _ in range(dice.choice((1, 1, 2, 3))):
        at = dice.randrange(len(pieces) + 1)
        way = dice.randrange(8)
        if way == 0:
            pieces.insert(at, maker.plain())
        elif way == 1 and at < len(pieces):
            pieces[at] = maker.plain()
        elif way == 2:
            del pieces[at : at + dice.choice((1, 2, 4))]
        elif way == 3:
            other = dice.choice(seeds())
            start = dice.randrange(len(other))
            pieces[at:at] = other[start : start + dice.randrange(1, 30)]
        elif way == 4:
            pieces[at:at] = dice.choice(seeds())
        elif way == 5:
            pieces.insert(
                at, dice.choice((b"R", b"b", b"s", b"a", b"\x81", b"0", b"(", b"t", b"Q"))
            )
        elif way == 6:
            pieces.insert(at, maker.value(2))
        elif at < len(pieces):
            pieces[at:at] = pieces[at : at + dice.randrange(1, 8)]
    return b"".join(pieces)


@dataclass(frozen=True)
class Program:
    """A program, and how it is read."""

    reader: str
    data: bytes

    @classmethod
    def of(cls, seed: int) -> Program:
        dice = random.Random(seed)
        way = dice.random()
        if way < 0.05:
            return cls("settings", asm.whole(schedule(dice)))
        made = mutant(dice) if way < 0.5 else Maker(dice).program()
        return (
            cls("torch", old_torch(made)) if dice.random() < 0.4 else cls("pickle", asm.whole(made))
        )


# -- what Python does ------------------------------------------------------------------------------


class Stopped(BaseException):
    """Raised where a program would reach outside."""


_HARMLESS = (
    *("pickle.find_class", "object.__getattr__", "object.__setattr__", "code.__new__"),
    *("sys._getframe", "compile", "object.__delattr__", "array.__new__", "builtins.id"),
    *("time.sleep", "sys._current_frames", "gc.get_objects", "function.__new__", "marshal.dumps"),
)
"""Events that loading an honest file raises, too. `exec` follows `compile` where anything runs."""


class Observer:
    """The audit hook, which cannot be taken out again; and what everybody shares."""

    def __init__(self) -> None:
        self.events: list[str] | None = None
        things = {f"{module}.{name}": _found(module, name) for module, name in NAMES}
        self.scopes = {key: thing.__dict__ for key, thing in things.items() if _has_dict(thing)}
        self.scopes |= {
            module: import_module(module).__dict__ for module, _ in NAMES if module not in _LARGE
        }
        self.functions = {
            key: thing for key, thing in things.items() if isinstance(thing, types.FunctionType)
        }
        for program in (old_torch(asm.NONE), torch_zip(asm.whole(asm.NONE))):
            self._load(Program("torch", program))  # what is imported when it is first used
        for encoding in ("latin1", "ascii", "utf-8"):
            codecs.lookup(encoding)
        self.remember()
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.events is None or event in _HARMLESS:
            return
        words = f"{event} {args[0] if args and isinstance(args[0], str) else ''}"
        self.events.append(words.strip())
        raise Stopped(words)

    def remember(self) -> None:
        """Take everything as it is now: much is made when it is first used."""
        self.before = {key: tuple(scope.values()) for key, scope in self.scopes.items()}
        self.before_codes = self.codes()

    def changed(self) -> list[str]:
        """Return of what the attributes, or a module's globals, are not the objects they were."""
        changed = [
            key
            for key, scope in self.scopes.items()
            if len(scope) != len(self.before[key])
            or not all(map(operator.is_, self.before[key], scope.values()))
        ]
        codes = self.codes()
        return changed + [key for key in codes if codes[key] != self.before_codes[key]]

    def codes(self) -> dict[str, tuple[Any, Any]]:
        return {key: (f.__code__, f.__defaults__) for key, f in self.functions.items()}

    def observe(self, program: Program) -> list[str]:
        self.events = []
        with contextlib.suppress(BaseException):  # most programs fail
            self._load(program)
        events, self.events = self.events, None
        return events + [f"changed {key}" for key in self.changed()]

    def _load(self, program: Program) -> None:
        import torch

        if program.reader == "torch":
            torch.load(io.BytesIO(program.data), weights_only=False)
            return
        made = pickle.loads(program.data)
        if program.reader == "settings" and isinstance(made, types.FunctionType):
            made(0.25)


_LARGE = frozenset(("torch", "numpy", "builtins"))
"""Modules of thousands of names, which nothing here gets hold of but by its name."""


def _has_dict(thing: Any) -> bool:
    return isinstance(thing, (type, types.FunctionType))


def _found(module: str, qualname: str) -> Any:
    return attrgetter(qualname)(import_module(module))


# -- many of them ----------------------------------------------------------------------------------


@dataclass
class Tally:
    """What has been seen so far."""

    runs: int = 0
    observed: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    hung: int = 0
    faults: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """What happened with a program, and with which one its process began."""

    seed: int
    events: list[str]
    began: int

    @property
    def ended_it(self) -> bool:
        return self.events[0].startswith(("died", "ended"))


def batch(observer: Observer, first: int, count: int) -> Iterator[Seen]:
    """Yield with which programs, among `count` from `first` on, something happened."""
    at = first
    while at < first + count:
        place = mmap.mmap(-1, 8)
        observer.remember()
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            try:
                _child(observer, range(at, first + count), place, writing)
            finally:
                os._exit(1)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            for line in pipe.read().splitlines():
                seed, events = json.loads(line)
                yield Seen(seed, events, at)
        _, status = os.waitpid(child, 0)
        (last,) = struct.unpack("<q", place[:8])
        if os.WIFSIGNALED(status):
            how = os.WTERMSIG(status)
            told = "hung" if how == signal.SIGALRM else f"died of signal {how}"
            yield Seen(last, [told], at)
        elif os.WEXITSTATUS(status):  # it broke what watches it
            yield Seen(last, [f"ended with {os.WEXITSTATUS(status)}"], at)
        at = last + 1


def _child(observer: Observer, seeds: range, place: mmap.mmap, writing: int) -> None:
    silent = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(silent, standard)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for seed in seeds:
        place[:8] = struct.pack("<q", seed)
        signal.alarm(SECONDS)  # what an earlier one overwrote may keep the next from being made
        program = Program.of(seed)
        events = observer.observe(program)
        signal.alarm(0)
        if events:
            os.write(writing, json.dumps([seed, events[:4]]).encode() + b"\n")
            if any(event.startswith("changed") for event in events):
                break
    os._exit(0)


def gate_fails(program: Program, folder: Path) -> bool:
    """Whether the gate names anything in the program, or refuses it."""
    from sacdoctor import ScanOptions, scan
    from sacdoctor.errors import SacdoctorError
    from sacdoctor.severity import Status

    path = folder / {"pickle": "x.pkl", "torch": "x.pt", "settings": "x.zip"}[program.reader]
    data = program.data
    if program.reader == "settings":
        data = with_settings(sound().sac, learning_rate=program.data[2:-1])
    path.write_bytes(data)
    try:
        report = scan(path, ScanOptions(select=("SD6",)))
    except SacdoctorError:
        return True
    return report.status not in (Status.HEALTHY, Status.UNKNOWN, Status.NOTICE)


def main() -> None:
    """Run as many as asked, and say what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--faults", type=Path, default=Path("faults"))
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    seeds(), sound()  # made before anybody listens
    observer = Observer()
    gc.freeze()
    tally, start = Tally(), time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        for first in range(given.first, given.first + given.runs, BATCH):
            count = min(BATCH, given.first + given.runs - first)
            for seen in batch(observer, first, count):
                _count(tally, seen, observer, Path(name), given.faults)
            tally.runs += count
            if not tally.runs % (BATCH * 50):
                _tell(tally, start)
    _tell(tally, start)


def _count(tally: Tally, seen: Seen, observer: Observer, folder: Path, faults: Path) -> None:
    if seen.events == ["hung"]:
        tally.hung += 1
        return
    tally.observed += 1
    kind = seen.events[0].split("/")[0]
    tally.kinds[kind] += 1
    program = Program.of(seen.seed)
    if gate_fails(program, folder) or _was_anothers(seen, observer, folder):
        return
    key = f"{program.reader}: {kind}"
    tally.faults[key] = tally.faults.get(key, 0) + 1
    if tally.faults[key] <= 3:
        faults.mkdir(parents=True, exist_ok=True)
        (faults / f"{seen.seed}.{program.reader}").write_bytes(program.data)
        (faults / f"{seen.seed}.txt").write_text("\n".join(seen.events))


def _was_anothers(seen: Seen, observer: Observer, folder: Path) -> bool:
    """Whether a process ended late: of a program before, which the gate names.

    What overwrites memory need not end its process at once. Alone, this program does nothing.
    """
    if not seen.ended_it or any(batch(observer, seen.seed, 1)):
        return False
    return any(gate_fails(Program.of(seed), folder) for seed in range(seen.began, seen.seed))


def _tell(tally: Tally, start: float) -> None:
    seconds = time.monotonic() - start
    print(
        json.dumps(
            {
                "runs": tally.runs,
                "per_second": round(tally.runs / seconds),
                "observed": tally.observed,
                "hung": tally.hung,
                "kinds": dict(tally.kinds.most_common(12)),
                "faults": tally.faults,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
