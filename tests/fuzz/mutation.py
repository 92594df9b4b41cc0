"""Mutations that keep what stands in the way of all others: checksums, lengths, opcodes.

A changed byte in a checkpoint ends at a CRC; the reader behind it never sees a mutant. So a zip is
taken apart, one of its members is changed, and it is put together again with true checksums.
"""

from __future__ import annotations

import io
import pickletools
import random
import re
import struct
import zipfile
from collections.abc import Callable

from tests.archives import DEFLATED, STORED, Entry, raw_zip

MAX_SIZE = 1 << 16
"""Bytes of a mutant; larger ones only take longer."""

Mutation = Callable[[bytes, random.Random], bytes]

NUMBERS = (0, 1, 2, 3, 4, 255, 256, 65_535, 10**5, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63)
TEXT = (
    *("1e999", "-1e999", "NaN", "Infinity", "1" * 400, "-0", "1e-400", "0x10", "true", "null"),
    *('"lin_3e-4"', '"\\ud800"', '"\\u001b[2J"', "[]", "{}", "[[[[[[[[", "}}}}", "5e-3", "inf"),
    *("learning_rate", "max_grad_norm", "&a [*a, *a]", "<<: *a", "!!float 1", "!!python/name:os"),
    *("'''", '"""', "\n", "\r\n", "\t", " ", "#", ": ", ", ", "- ", "| \n", "> \n", "? ", "---\n"),
    *("[a.b.c]\n", "[[a]]\n", "a.b.c = 1\n", "\x85", "\u2028", "\ufeff", "\\", '"', "'"),
)
OPCODES = (
    *(b"(", b"0", b"1", b"2", b"N", b"\x88", b"]", b"}", b")", b"\x8f", b"a", b"e", b"s", b"u"),
    *(b"t", b"l", b"d", b"R", b"b", b"o", b"\x81", b"\x92", b"\x93", b"\x94", b"Q", b"."),
    *(b"q\0", b"h\0", b"q\1", b"h\1", b"p0\n", b"g0\n", b"\x85", b"\x86", b"\x87", b"I01\n"),
    *(b"K\xff", b"M\xff\xff", b"J\xff\xff\xff\xff", b"\x8a\x09" + b"\xff" * 8 + b"\1"),
    *(
        b"L" + b"9" * 400 + b"L\n",
        b"I-1\n",
        b"I0x7\n",
        b"Fnan\n",
        b"F1e999\n",
        b"G\x7f\xf0" + bytes(6),
    ),
    *(b"S'a'\n", b"Va\\ud800\n", b"X\2\0\0\0lr", b"\x8c\2lr", b"X\3\0\0\0\xed\xa0\x80", b"C\1a"),
    *(b"q\0h\0h\0\x86" * 30, b"]q\0h\0a", b"}q\0Nh\0s", b"\x85" * 200, b"]" * 200 + b"a" * 199),
    *(b"ccollections\nOrderedDict\n)R", b"ccollections\nOrderedDict\n", b"cbuiltins\nset\n"),
    *(b"cbuiltins\nlist\n", b"cbuiltins\ndict\n", b"ctorch\nSize\n", b"ctorch\nfloat8_e5m2\n"),
    *(b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_tensor_v3\n"),
    *(b"ctorch._tensor\n_rebuild_from_type_v2\n", b"ctorch._utils\n_rebuild_parameter\n"),
    *(b"c_codecs\nencode\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\nscalar\n"),
    *(b"ctorch\nBFloat16Storage\n", b"ctorch\nComplexDoubleStorage\n", b"ctorch\nBoolStorage\n"),
)
PUSHES = (b"K", b"M", b"J", b"L", b"I", b"N", b"G", b"X", b"\x8c", b"]", b"}", b")", b"\x88", b"h")
VALUES = (
    *(b"N", b"\x88", b"]", b"}", b")", b"Fnan\n", b"F-1e999\n", b"F1e308\n", b"F-1.5\n", b"I01\n"),
    *(b"N" + b"\x94h\0h\0\x86" * 30, b"N\x85" + b"p9\ng9\n\x86" * 40, b"]p9\ng9\na", b"K\2K\2\x86"),
    *(
        b"X\3\0\0\0\xed\xa0\x80",
        b"X\4\0\0\0\x1b[2J",
        b"X\0\0\0\0",
        b"C\1a",
        b"]" * 300 + b"a" * 299,
    ),
    *(
        b"}p9\nNg9\ns",
        b"G?\xee\x66\x66\x66\x66\x66\x66",
        b"cbuiltins\nset\n]\x85R",
        b"ctorch\nint8\n",
    ),
)


def mutated(data: bytes, dice: random.Random, others: tuple[bytes, ...] = ()) -> bytes:
    """Return `data` changed in one to four places, of whatever kind it is.

    `others` are inputs of the same kind, parts of which may be spliced in.
    """
    mutation, mutant = _kind(data), data
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        if others and dice.random() < 0.1:
            mutant = _spliced(mutant, dice.choice(others), dice)
        else:
            mutant = mutation(mutant, dice)
    return mutant if len(mutant) <= MAX_SIZE else data


def _kind(data: bytes) -> Mutation:
    if data[:2] == b"PK":
        return changed_zip
    if data[:1] in (b"\x80", b"(", b"]", b"}", b"c") and data[-1:] == b".":
        return changed_pickle
    sample = data[:200]
    if sample and all(byte >= 32 or byte in b"\t\r\n" for byte in sample):
        return changed_text
    return changed_bytes


def changed_bytes(data: bytes, dice: random.Random) -> bytes:
    """Return `data` with bytes flipped, cut, repeated, or numbers put in."""
    out = bytearray(data or b"\0")
    at = dice.randrange(len(out))
    way = dice.randrange(5)
    if way == 0:
        out[at] ^= 1 << dice.randrange(8)
    elif way == 1:
        del out[at : at + dice.choice((1, 2, 4, 8, 64))]
    elif way == 2:
        out[at:at] = out[at : at + dice.choice((1, 4, 16, 64))]
    elif way == 3:
        form = dice.choice(("<H", "<I", "<Q", ">I"))
        number = dice.choice(NUMBERS) % 256 ** struct.calcsize(form)
        out[at : at + struct.calcsize(form)] = struct.pack(form, number)
    else:
        out[at] = dice.randrange(256)
    return bytes(out)


def changed_text(data: bytes, dice: random.Random) -> bytes:
    """Return a text with a token replaced, repeated, dropped, nested or put in."""
    if dice.random() < 0.1:
        return changed_bytes(data, dice)
    tokens = re.findall(rb"\w+|\s+|[^\w\s]", data) or [b""]
    at = dice.randrange(len(tokens))
    piece = dice.choice(TEXT).encode("utf-8", "surrogatepass")
    way = dice.randrange(6)
    if way == 0:
        tokens[at] = piece
    elif way == 1:
        tokens.insert(at, piece)
    elif way == 2:
        del tokens[at : at + dice.choice((1, 2, 8))]
    elif way == 3:
        end = at + dice.randrange(1, 12)
        tokens[at:at] = tokens[at:end] * dice.choice((1, 2, 20))
    elif way == 4:
        depth = dice.choice((2, 20, 300, 900))
        left, right = dice.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"{a: ", b"}")))
        tokens[at] = left * depth + tokens[at] + right * depth
    else:
        other = dice.randrange(len(tokens))
        tokens[at], tokens[other] = tokens[other], tokens[at]
    return b"".join(tokens)


def changed_pickle(data: bytes, dice: random.Random) -> bytes:
    """Return a pickle with whole opcodes dropped, moved, repeated, exchanged or put in."""
    pieces = _operations(data)
    if len(pieces) < 2 or dice.random() < 0.1:
        return changed_bytes(data, dice)
    at = dice.randrange(len(pieces) - 1)
    way = dice.randrange(9)
    if way == 0:
        pieces.insert(at, dice.choice(OPCODES))
    elif way == 1:
        pieces[at] = dice.choice(OPCODES)
    elif way == 2:
        del pieces[at : at + dice.choice((1, 1, 2, 5))]
    elif way == 3:
        end = at + dice.randrange(1, 40)
        pieces[at:at] = pieces[at:end] * dice.choice((1, 1, 3, 50))
    elif way >= 4:
        # Another value in the place of a value: the rest of the pickle still makes sense.
        places = [n for n, piece in enumerate(pieces) if piece[:1] in PUSHES]
        at = dice.choice(places or [at])
        number = dice.choice((*NUMBERS, -1, -4, 2**70, 10**18, 10**400))
        pieces[at] = dice.choice((b"L%dL\n" % number, *VALUES))
    return b"".join(pieces)


def changed_zip(data: bytes, dice: random.Random) -> bytes:
    """Return an archive with a member changed, and checksums that fit; or its records changed."""
    entries = _entries(data)
    if not entries or dice.random() < 0.1:
        return changed_bytes(data, dice)
    entry = dice.choice(entries)
    way = dice.randrange(20)
    if way == 0:
        entries.remove(entry)
    elif way == 1:
        entries.insert(dice.randrange(len(entries)), Entry(entry.name, entry.data))
    elif way == 2:
        entry.name = dice.choice(("../a", "/a", "a\x1b[2J", "x" * 300, "data", "b.optimizer.pth"))
    elif way == 3:
        entry.data = dice.choice(entries).data
    elif way == 4:
        entry.method = dice.choice((STORED, DEFLATED))
    elif way == 5:
        entry.size = dice.choice(NUMBERS) % 2**32
    elif way == 6:
        entry.offset = dice.choice((0, 1, 30, dice.randrange(len(data)), 2**32 - 1))
    elif way == 7:
        entry.extra = b"\1\0\x18\0" + struct.pack("<3Q", *dice.choices(NUMBERS, k=3))
    elif way == 8:
        entry.flags = dice.choice((1, 8, 0x800))
    else:
        entry.data = _kind(entry.data)(entry.data, dice)
    archive = raw_zip(entries)
    return archive if dice.random() < 0.95 else _changed_records(archive, dice)


def _changed_records(data: bytes, dice: random.Random) -> bytes:
    """Change the directory and the end record, which no checksum covers."""
    start = data.rfind(b"PK\1\2")
    return data[: max(start, 0)] + changed_bytes(data[max(start, 0) :], dice)


def _entries(data: bytes) -> list[Entry]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [
                Entry(info.filename, archive.read(info), info.compress_type)
                for info in archive.infolist()
            ]
    except Exception:  # a mutant of before: it has no members any more
        return []


def _operations(data: bytes) -> list[bytes]:
    try:
        starts = [position or 0 for _, _, position in pickletools.genops(data)]
    except Exception:  # a mutant of before: its opcodes cannot be told any more
        return []
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]


def _spliced(data: bytes, other: bytes, dice: random.Random) -> bytes:
    """Put a part of `other` into `data`: members of zips, opcodes of pickles, else bytes."""
    if data[:2] == b"PK":
        entries, more = _entries(data), _entries(other)
        if entries and more:
            dice.choice(entries).data = dice.choice(more).data
            return raw_zip(entries)
    pieces, more_pieces = _operations(data), _operations(other)
    if len(pieces) > 1 and len(more_pieces) > 1:
        start = dice.randrange(len(more_pieces) - 1)
        at = dice.randrange(len(pieces))
        pieces[at:at] = more_pieces[start : start + dice.randrange(1, 60)]
        return b"".join(pieces)
    at, start = dice.randrange(len(data) + 1), dice.randrange(len(other) + 1)
    return data[:at] + other[start : start + dice.choice((8, 64, 1024))] + data[at:]
