"""Settings as text: YAML, JSON, TOML, or a section of an rl-zoo hyperparameter file."""

from __future__ import annotations

import json
from collections.abc import Iterator

from msgspec import Struct

from sacdoctor.algorithms import ALGORITHMS
from sacdoctor.errors import SacdoctorError
from sacdoctor.printable import escaped
from sacdoctor.settings.document import Language
from sacdoctor.settings.numbers import LINEAR, spelled, write_number
from sacdoctor.settings.ranges import LONGEST_WARMUP, MAX_GRAD_NORM_RANGE
from sacdoctor.settings.recommended import Settings


class _Line(Struct, frozen=True):
    """A setting, its value, and what a reader should know about it."""

    key: str
    value: object
    comment: str


def render_settings(settings: Settings, language: Language) -> str:
    """Return the settings as a file of their own, each explained where comments are possible."""
    lines = list(_lines(settings))
    if language is Language.JSON:
        return json.dumps({line.key: line.value for line in lines}, indent=2) + "\n"
    is_yaml = language is Language.YAML
    return "".join(_yaml(line) if is_yaml else _toml(line) for line in lines)


def render_zoo(settings: Settings) -> str:
    """Return a section for rl-zoo, which hands every key that it does not know to the constructor.

    Raises `SacdoctorError` for an algorithm that rl-zoo does not train.
    """
    name = settings.algorithm
    row = ALGORITHMS[name]
    if not row.in_rl_zoo:
        raise SacdoctorError(f"rl-zoo does not train {name}: use another --format")
    rate = settings.learning_rate or row.learning_rates.recommended
    number = write_number(rate, "1e-4")
    entries = [
        ("n_timesteps", "!!float 1e6"),
        ("policy", f"'{row.policy}'"),
        ("learning_rate", f"{LINEAR}{number}" if settings.linear else f"!!float {number}"),
    ]
    head = f"# {name} for rl-zoo. `default` holds for every environment that is not listed.\n"
    if settings.max_grad_norm is not None and row.clips:
        entries.append(("max_grad_norm", f"{settings.max_grad_norm}"))
    elif settings.max_grad_norm is not None:
        head += f"# {_elsewhere(name)} (see --format python).\n"
    if settings.learning_starts is not None and row.replays:
        entries.append(("learning_starts", str(settings.learning_starts)))
    entries += [(key, _written(value, dotted=True)) for key, value in settings.others.items()]
    was = {key: f"  # was {text}" for key, text in settings.was.items()}
    return f"{head}default:\n" + "".join(
        f"  {key}: {value}{was.get(key, '')}\n" for key, value in entries
    )


def convert(data: dict[str, object], language: Language) -> str:
    """Return a whole settings file in another language; comments do not come along."""
    # In JSON every text stands between double quotes, and tomlkit writes them so.
    if language is Language.JSON:
        return escaped(json.dumps(data, indent=2, ensure_ascii=False, default=str)) + "\n"
    if language is Language.TOML:
        import tomlkit

        return escaped(tomlkit.dumps(_without_null(data)))
    text = _dumped(data, allow_unicode=True)
    return text if text == escaped(text) else _dumped(data, allow_unicode=False)


def _dumped(data: dict[str, object], *, allow_unicode: bool) -> str:
    from io import StringIO

    from ruamel.yaml import YAML

    text = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.allow_unicode = allow_unicode
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.representer.add_representer(float, _represent_float)
    yaml.dump(data, text)
    return text.getvalue()


def _lines(settings: Settings) -> Iterator[_Line]:
    name = settings.algorithm
    row = ALGORITHMS[name]
    safe = row.learning_rates
    yield _Line("algorithm", name, "")
    if settings.learning_rate is not None:
        rate: object = settings.learning_rate
        if settings.linear:
            rate = f"{LINEAR}{write_number(settings.learning_rate, '1e-4')}"
        yield _commented(
            settings, "learning_rate", rate, f"safe: {spelled(safe.low)} to {spelled(safe.high)}"
        )
    if settings.max_grad_norm is not None:
        low, high = MAX_GRAD_NORM_RANGE
        comment = f"safe: {spelled(low)} to {spelled(high)}"
        if not row.clips:
            comment = f"{comment}; {_elsewhere(name)}"
        yield _commented(settings, "max_grad_norm", settings.max_grad_norm, comment)
    yield _commented(settings, "clip_grad_value", settings.clip_grad_value, "the norm is clipped")
    if settings.no_trading_warmup_steps is not None:
        yield _commented(
            settings,
            "no_trading_warmup_steps",
            settings.no_trading_warmup_steps,
            f"where the environment forces actions; at most {LONGEST_WARMUP}",
        )
    if settings.learning_starts is not None:
        comment = "where updates begin"
        if settings.no_trading_warmup_steps:
            comment += ", not before the warm-up is over"
        yield _commented(settings, "learning_starts", settings.learning_starts, comment)
    for key, value in settings.others.items():
        yield _commented(settings, key, value, "as rl-zoo and SB3 have it")


def _commented(settings: Settings, key: str, value: object, comment: str) -> _Line:
    was = settings.was.get(key)
    return _Line(key, value, comment if was is None else f"was {was}; {comment}")


def _elsewhere(name: str) -> str:
    return f"{name}(...) takes no max_grad_norm: clip in a hook on its optimizers"


def _yaml(line: _Line) -> str:
    comment = f"  # {line.comment}" if line.comment else ""
    return f"{line.key}: {_written(line.value, dotted=True) or 'null'}{comment}\n"


def _toml(line: _Line) -> str:
    comment = f"  # {line.comment}" if line.comment else ""
    if line.value is None:
        return f"# no {line.key}: {line.comment}\n"
    value = json.dumps(line.value) if isinstance(line.value, str) else _written(line.value)
    return f"{line.key} = {value}{comment}\n"


def _written(value: object, *, dotted: bool = False) -> str:
    if isinstance(value, float):
        return write_number(value, "1e-4", dotted=dotted) if 0 < value < 0.01 else repr(value)
    return "" if value is None else str(value)


def _represent_float(representer: object, value: float) -> object:
    """Write floats so that YAML 1.1 reads floats: Python's own 1e-05 has no dot."""
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e", 1)
    special = {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}
    return representer.represent_scalar(  # type: ignore[attr-defined]
        "tag:yaml.org,2002:float", special.get(text, text)
    )


def _without_null(table: dict[str, object]) -> dict[str, object]:
    """Return the table without what TOML cannot say: an unset key is simply not there."""

    def item(value: object) -> object:
        if isinstance(value, list):
            return [item(one) for one in value if one is not None]
        return _without_null(value) if isinstance(value, dict) else value

    return {key: item(value) for key, value in table.items() if value is not None}
