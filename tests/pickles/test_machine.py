"""The pickle machine: agrees with Python's on plain data, and executes nothing."""

from __future__ import annotations

import collections
import contextlib
import io
import pickle
import pickletools
import struct
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacdoctor.checkpoint.torch_names import TORCH_NAMES
from sacdoctor.errors import CorruptCheckpoint, SacdoctorError, UnlistedName
from sacdoctor.pickles import ListedNames, Made, Name, Symbols, read_pickle

KEYS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.binary(max_size=8),
)
PLAIN = st.recursive(
    st.one_of(KEYS, st.integers(), st.text(max_size=300), st.binary(max_size=300)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
    ),
    max_leaves=12,
)


def plain(data: bytes) -> Any:
    """What our machine reads; it knows the names that protocols 0 to 2 need for bytes."""
    names = {("_codecs", "encode"): TORCH_NAMES["_codecs", "encode"]}
    for module in ("builtins", "__builtin__"):
        names[module, "bytes"] = bytes
    return read_pickle(data, ListedNames(names))


# -- agreement with Python ---------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
@settings(max_examples=60, deadline=None)
@given(value=PLAIN)
def test_plain_data_reads_as_python_reads_it(protocol: int, value: Any) -> None:
    data = pickle.dumps(value, protocol)
    assert plain(data) == pickle.loads(data) == value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [
        *(0, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, -1, -(2**31), -(2**31) - 1),
        *(2**63, -(2**63), 2**200, -(2**2000)),
        *(0.0, -0.0, 1e-310, float("inf"), float("-inf"), 0.1),
        *("", "é", "\u2028", "a\nb", "\\", "\x00", "𝄞", "\ud800", "x" * 300),
        *(b"", b"\x00\xff", bytes(range(256)), b"y" * 300, bytearray(b"abc")),
        *((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}, [[[]]], {"a": {"b": [None]}}),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_edges_of_every_type_read_as_python_reads_them(protocol: int, value: Any) -> None:
    if isinstance(value, bytearray) and protocol < 5:
        value = bytes(value)  # a class by name before protocol 5
    read = plain(pickle.dumps(value, protocol))
    assert read == value
    assert repr(read) == repr(value if not isinstance(value, bytearray) else bytes(value))


@pytest.mark.parametrize("protocol", range(6))
def test_long_bytes_are_read_whole(protocol: int) -> None:
    value = bytes(range(256)) * 1000
    assert bytes(plain(pickle.dumps(value, protocol))) == value


@pytest.mark.parametrize("protocol", range(6))
def test_shared_things_stay_shared(protocol: int) -> None:
    shared = [1]
    first, second = plain(pickle.dumps([shared, shared], protocol))
    assert first is second


@pytest.mark.parametrize("protocol", range(6))
def test_a_list_that_holds_itself(protocol: int) -> None:
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    read = plain(pickle.dumps(cyclic, protocol))
    assert read[0] is read


def test_python_2_strings_are_text() -> None:
    assert plain(b"(S'a\\x62'\nU\x03cdeT\x02\0\0\0fgt.") == ("ab", "cde", "fg")


def test_long_lists_and_dicts_come_in_batches() -> None:
    value = {"list": list(range(5000)), "dict": dict.fromkeys(range(5000))}
    assert plain(pickle.dumps(value, 4)) == value


def test_keys_that_take_long_to_hash_keep_their_values() -> None:
    """Their identity is lost, on purpose; the value is not."""
    long = tuple(range(40))
    read = plain(pickle.dumps({long: "a", 2**70: "b", ((1,), 2): "c"}, 4))
    assert sorted(read.values()) == ["a", "b", "c"]


# -- bytes that nobody vouches for -------------------------------------------------------------

OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
ARGUMENTS = st.one_of(
    st.binary(max_size=9),
    st.integers(0, 12).map(lambda n: b"%d\n" % n),
    st.integers(0, 3).map(lambda n: bytes([n])),
    st.sampled_from([b"torch\nFloatStorage\n", b"collections\nOrderedDict\n", b"os\nsystem\n"]),
    st.sampled_from([struct.pack("<I", 2) + b"ab", b"\x02ab", struct.pack("<Q", 2) + b"ab"]),
)
PROGRAMS = st.lists(st.tuples(st.sampled_from(OPCODES), ARGUMENTS), max_size=30).map(
    lambda steps: b"".join(code + argument for code, argument in steps) + b"."
)


def listed() -> ListedNames:
    return ListedNames(TORCH_NAMES, lambda identity: None)


@pytest.mark.parametrize("vocabulary", [Symbols, listed], ids=["symbols", "listed"])
@settings(max_examples=400, deadline=None)
@given(data=st.one_of(st.binary(max_size=200), PROGRAMS))
def test_any_bytes_give_a_value_or_one_of_our_errors(vocabulary: Any, data: bytes) -> None:
    try:
        read_pickle(data, vocabulary())
    except SacdoctorError as error:
        assert error.reason


@settings(max_examples=150, deadline=None)
@given(value=PLAIN, position=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_changed_byte_gives_a_value_or_one_of_our_errors(
    value: Any, position: float, byte: int
) -> None:
    data = bytearray(pickle.dumps(value, 4))
    data[int(position * len(data))] = byte
    try:
        plain(bytes(data))
    except SacdoctorError as error:
        assert error.reason


@settings(max_examples=100, deadline=None)
@given(value=PLAIN, protocol=st.integers(0, 5), share=st.floats(0, 1, exclude_max=True))
def test_a_pickle_that_was_cut_off_is_corrupt(value: Any, protocol: int, share: float) -> None:
    data = pickle.dumps(value, protocol)
    with pytest.raises(CorruptCheckpoint):
        plain(data[: int(share * len(data))])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"N",
        b"(.",
        b"0.",
        b"(K\x010.",
        b"a.",
        b"]a.",
        b"N]a.",
        b"K\x01K\x02a.",
        b"e.",
        b"(e.",
        b"s.",
        b"}K\x01s.",
        b"}(K\x01u.",
        b"NK\x01K\x02s.",
        b"u.",
        b"t.",
        b"\x85.",
        b"K\x01\x87.",
        b"R.",
        b")R.",
        b"h\x05.",
        b"g5\n.",
        b"gx\n.",
        b"p0\n.",
        b"q\x00.",
        b"\x94.",
        b"2.",
        b"b.",
        b"o.",
        b"(o.",
        b"\x81.",
        b"\x92.",
        b"\x93.",
        b"K\x01K\x02\x93.",
        b"Inot a number\n.",
        b"I" + b"9" * 5000 + b"\n.",
        b"Fnot a number\n.",
        b"L12L",
        b"Sunquoted\n.",
        b"S'\n.",
        b"V\\u12\n.",
        b"S'\\x1'\n.",
        b"X\xff\xff\xff\xffab.",
        b"X\x02\0\0\0\xff\xfe.",
        b"\x8d" + b"\xff" * 8 + b".",
        b"\x8b\xff\xff\xff\x7f.",
        b"\x95" + b"\xff" * 8 + b"N.",
        b"\xff.",
        b"csys",
        b"c\xff\n\n.",
        b"P",
        b"Q.",
    ],
    ids=lambda data: repr(data)[2:22],
)
@pytest.mark.parametrize("vocabulary", [Symbols, listed], ids=["symbols", "listed"])
def test_programs_that_make_no_sense_are_refused(data: bytes, vocabulary: Any) -> None:
    with pytest.raises(SacdoctorError):
        read_pickle(data, vocabulary())


@pytest.mark.parametrize(
    "data",
    [
        b"(" * 500_000 + b".",
        b"]" * 500_000 + b".",
        b"]" * 100_000 + b"a" * 99_999 + b".",
        b"N" + b"\x85" * 500_000 + b".",
        b"N" + b"\x85q\x00h\x00h\x00\x86" * 50_000 + b".",
        b"}" + b"N\x85" + b"q\x00h\x00h\x00\x86" * 60 + b"Ns.",
        b"}" + b"N" * 50_000 + b"q\x00" * 50_000 + b".",
        b"}q\x00(" + b"N" * 100_000 + b"tq\x010" + b"h\x00h\x01Ns0" * 50_000 + b"h\x00.",
    ],
    ids=["marks", "lists", "nested", "tuples", "doubling", "doubled-key", "puts", "long-key"],
)
def test_programs_that_grow_end_soon(data: bytes) -> None:
    start = time.process_time()
    with contextlib.suppress(SacdoctorError):
        read_pickle(data, listed())
    assert time.process_time() - start < 5


def test_keys_chosen_to_collide_end_soon() -> None:
    """Whole numbers hash modulo 2^61 - 1: multiples of it would make a dict of one bucket."""
    modulus = 2**61 - 1
    keys = b"".join(
        b"\x8a\x0b" + (n * modulus).to_bytes(11, "little") + b"N" for n in range(60_000)
    )
    start = time.process_time()
    assert len(read_pickle(b"}(" + keys + b"u.", listed())) == 60_000
    assert time.process_time() - start < 5


# -- names and calls ---------------------------------------------------------------------------


class _Trap:
    """Unpickled by Python, it would raise."""

    def __reduce__(self) -> Any:
        return (_spring, ("now",))


def _spring(_word: str) -> None:
    raise AssertionError("the pickle was executed")


@pytest.mark.parametrize("protocol", range(6))
def test_calls_are_kept_as_symbols_and_not_made(protocol: int) -> None:
    data = pickle.dumps(_Trap(), protocol)
    with pytest.raises(AssertionError, match="was executed"):
        pickle.loads(data)
    made = read_pickle(data, Symbols())
    assert isinstance(made, Made)
    assert (str(made.function), made.args) == (f"{__name__}._spring", ("now",))


@pytest.mark.parametrize("protocol", range(6))
def test_unlisted_calls_are_refused_by_name(protocol: int) -> None:
    with pytest.raises(UnlistedName, match=rf"{__name__}\._spring"):
        read_pickle(pickle.dumps(_Trap(), protocol), listed())


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("builtins", "__import__"),
        ("torch", "load"),
        ("torch", "hub.load"),
        ("torch.hub", "load"),
        ("torch.nn.modules.linear", "Linear"),
        ("torch", "FloatStorage.__init__"),
        ("collections", "OrderedDict.__reduce__"),
        ("numpy", "load"),
        ("cloudpickle.cloudpickle", "_make_function"),
        ("", ""),
    ],
)
def test_names_outside_the_list_are_refused(module: str, name: str) -> None:
    out = io.BytesIO(b"\x80\x04")
    for word in (module, name):
        raw = word.encode()
        out.seek(0, io.SEEK_END)
        out.write(b"\x8c" + bytes([len(raw)]) + raw)
    out.write(b"\x93.")
    with pytest.raises(UnlistedName):
        read_pickle(out.getvalue(), listed())


def test_a_listed_call_with_wrong_arguments_is_corrupt() -> None:
    data = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nK\x01K\x02\x86R."
    with pytest.raises(CorruptCheckpoint, match="wrong arguments"):
        read_pickle(data, listed())


def test_objects_keep_their_state_items_and_pairs() -> None:
    value = collections.OrderedDict(a=1)
    made = read_pickle(pickle.dumps(value, 4), Symbols())
    assert made.function == Name("collections", "OrderedDict")
    assert made.pairs == [("a", 1)]


@pytest.mark.parametrize(
    "name", ["torch._utils\n_rebuild_tensor_v2", "torch\nFloatStorage", "torch\nfloat32"]
)
def test_a_state_for_a_listed_thing_itself_is_refused(name: str) -> None:
    """It would change a function of torch's for all that comes after."""
    data = b"c" + name.encode() + b"\n}S'__kwdefaults__'\n}sb."
    with pytest.raises(CorruptCheckpoint, match="changes a function or class"):
        read_pickle(data, ListedNames(TORCH_NAMES))


def test_a_state_for_what_a_listed_call_makes_is_passed_over() -> None:
    """A module's `state_dict()` is an OrderedDict with its versions for a state."""
    data = b"ccollections\nOrderedDict\n)R}S'_metadata'\n}sb."
    assert read_pickle(data, ListedNames(TORCH_NAMES)) == {} == pickle.loads(data)
