"""Numbers as people write them in settings, and other numbers written in the same manner."""

from __future__ import annotations

import math
import re

from msgspec import Struct

LINEAR = "lin_"
"""rl-zoo's prefix of a rate that decays linearly to zero."""

_NUMBER = re.compile(
    r"[-+]?(?:(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|\.?inf(?:inity)?)"
    r"|\.?nan",
    re.IGNORECASE,
)


class Written(Struct, frozen=True):
    """A number, and whether it is the start of a linear schedule."""

    number: float
    linear: bool = False


def read_number(text: str) -> Written | None:
    """Return the number that `text` is, None where it is none.

    `5e-3` without a dot is one, although YAML 1.1 says it is text; so are `5_000`, `.5`, `.inf`
    and `lin_5e-3`.
    """
    text = text.strip()
    linear = text.startswith(LINEAR)
    digits = text.removeprefix(LINEAR)
    if not _NUMBER.fullmatch(digits):
        return None
    digits = digits.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan")
    return Written(float(digits), linear)


def write_number(number: float, like: str = "", *, dotted: bool = False) -> str:
    """Return `number` as text: with an exponent, with underscores, as a schedule if `like` is.

    `dotted` asks for a dot before an exponent, without which YAML 1.1 reads text.
    """
    from decimal import Decimal

    linear = like.strip().startswith(LINEAR)
    digits = like.strip().removeprefix(LINEAR).lower()
    if "e" in digits and 0 < abs(number) < 1:
        return f"{LINEAR if linear else ''}{_scientific(number, dotted=dotted and not linear)}"
    plain = format(Decimal(repr(number)), "f")
    return f"{LINEAR if linear else ''}{plain}"


def write_count(number: int, like: str = "") -> str:
    """Return a whole number as text, with underscores if `like` has them."""
    return f"{number:_}" if "_" in like else str(number)


def spelled(number: float) -> str:
    """Return `number` as a message shows it: 1e-4, 7.3e-4, 0.02, 1, 5000."""
    if math.isfinite(number) and 0 < abs(number) < 0.01:
        return _scientific(number)
    return f"{number:.6g}" if abs(number) < 1e6 else f"{number:g}"


def _scientific(number: float, *, dotted: bool = False) -> str:
    from decimal import Decimal

    mantissa, exponent = f"{Decimal(repr(number)).normalize():e}".split("e")
    dot = ".0" if dotted and "." not in mantissa else ""
    return f"{mantissa}{dot}e{int(exponent)}"
