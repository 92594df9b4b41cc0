"""Numbers and pickles in the JSON of a `data` member exchanged, all else as it was written."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence

from sacdoctor.checkpoint.hyperparameters import decoded
from sacdoctor.errors import CheckpointError, CorruptCheckpoint
from sacdoctor.pickles import GlobalName, with_global_names

_PICKLE = re.compile(r'(":serialized:"\s*:\s*")([^"\\]*)(?=")')


def edited_settings(data: bytes, numbers: Mapping[str, float], removed: Sequence[str]) -> bytes:
    """Return the JSON text with these numbers under their keys and without the keys `removed`.

    All else stays as it was written. Raises `CorruptCheckpoint` where a key to correct is missing.
    """
    # As json.loads reads bytes: a byte order mark or UTF-16 is nothing SB3 writes, but legal.
    encoding = json.detect_encoding(data)
    text = data.decode(encoding, "surrogatepass")
    spans = _members(text)
    missing = [key for key in numbers if key not in spans]
    if missing:
        raise CorruptCheckpoint(f"its `data` has no {missing[0]!r} to correct")
    changes = [(*spans[key][1:], json.dumps(number)) for key, number in numbers.items()]
    for start, end, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[end:]
    for key in removed:
        spans = _members(text)
        if key in spans:
            start, end = _with_comma(text, spans, key)
            text = text[:start] + text[end:]
    return text.encode(encoding, "surrogatepass")


def with_names_in_settings(data: bytes, names: Mapping[GlobalName, GlobalName]) -> bytes:
    """Return the JSON text with every pickle in it asking for other `names`.

    A pickle in which that cannot be done stays as it is.
    """

    def changed(found: re.Match[str]) -> str:
        try:
            pickle = decoded(found[2])
            other = with_global_names(pickle, names)
        except CheckpointError:
            return found[0]
        return found[0] if other == pickle else found[1] + base64.b64encode(other).decode()

    if not names:
        return data
    encoding = json.detect_encoding(data)
    text = data.decode(encoding, "surrogatepass")
    return _PICKLE.sub(changed, text).encode(encoding, "surrogatepass")


def _members(text: str) -> dict[str, tuple[int, int, int]]:
    """Return, per key of a JSON object, where the key starts and its value starts and ends."""
    decoder, space = json.JSONDecoder(), re.compile(r"[ \t\r\n]*")

    def skip(at: int) -> int:
        found = space.match(text, at)
        assert found is not None
        return found.end()

    found: dict[str, tuple[int, int, int]] = {}
    at = skip(0) + 1
    while text[skip(at)] != "}":
        key_at = skip(at)
        key, at = decoder.raw_decode(text, key_at)
        value_at = skip(skip(at) + 1)
        _, end = decoder.raw_decode(text, value_at)
        found[key] = (key_at, value_at, end)
        at = skip(end)
        at += text[at] == ","
    return found


def _with_comma(text: str, spans: Mapping[str, tuple[int, int, int]], key: str) -> tuple[int, int]:
    """Return what to cut so that `key`, its value and one comma are gone."""
    start, _, end = spans[key]
    earlier = [other_end for _, _, other_end in spans.values() if other_end <= start]
    if earlier:
        return max(earlier), end
    later = [other_start for other_start, _, _ in spans.values() if other_start >= end]
    return start, min(later, default=end)
