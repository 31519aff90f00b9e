"""Configuration: nested frozen dataclasses, their JSON form, and overrides such as `diffusion.steps=200`.

A config is made of dataclasses, int, float, bool, str, Path, Literal, `X | None` and tuples of these.
Defaults exist once, in the dataclass. An unknown key is an error that names the nearest key.
"""

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from unstatic.core.errors import InputError

Config = TypeVar("Config")

_SWITCH = {"true": True, "false": False}


def to_dict(config: object) -> dict[str, Any]:
    """Return the config as plain JSON values: dicts, lists, strings, numbers, booleans and None."""
    return {name: _plain(getattr(config, name)) for name in _field_types(type(config))}


def from_dict(cls: type[Config], mapping: Mapping[str, Any]) -> Config:
    """Build `cls` from what `to_dict` returned; fields that are left out take their defaults.

    Raises InputError for an unknown key, a missing key and a value of the wrong type.
    """
    return _build(cls, mapping, where="")


def override(config: Config, pairs: Sequence[str]) -> Config:
    """Return a copy of `config` changed by `pairs` such as "diffusion.steps=200" or "patch=1,2,2".

    Configs in a tuple are named by their place: "windows.0.share=0.5".
    Text is read by the type of the field: none for an optional field, true or false, commas in a tuple.
    Rules that several fields obey together are asked when all are set: pairs may come in any order.
    Raises InputError for an unknown key and for text that the type does not accept.
    """
    keys, values = _keys(config), to_dict(config)
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"{pair!r} is not KEY=VALUE, for example steps=200")
        if key not in keys:
            raise InputError(_unknown(key, keys))
        _set(values, config, key, text)
    return from_dict(type(config), values) if pairs else config


# -------------------------------------------------------------------------------------------------- structure


def _field_types(cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _keys(config: object) -> list[str]:
    """List the dotted names that can be set: fields of nested configs, not the nested configs themselves."""
    keys: list[str] = []
    kinds = {} if isinstance(config, tuple) else _field_types(type(config))
    for name, value in _parts(config).items():
        keys += [f"{name}.{key}" for key in _keys(value)] if _has_parts(value) else []
        if not _has_parts(value) or (name in kinds and _is_optional(kinds[name])):
            keys.append(name)  # the whole of an optional config can be none
    return keys


def _parts(config: Any) -> dict[str, Any]:
    """Return what a config, or a tuple of configs, is made of."""
    if isinstance(config, tuple):
        return {str(place): each for place, each in enumerate(cast(tuple[Any, ...], config))}
    return {name: getattr(config, name) for name in _field_types(type(config))}


def _has_parts(value: Any) -> bool:
    return dataclasses.is_dataclass(value) or (
        isinstance(value, tuple)
        and any(dataclasses.is_dataclass(each) for each in cast(tuple[Any, ...], value))
    )


def _unknown(key: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    return f"unknown setting {key!r}; " + (
        f"did you mean {nearest[0]!r}?" if nearest else f"known: {_list(known)}"
    )


def _list(names: Sequence[object]) -> str:
    return ", ".join(str(name) for name in names)


def _set(values: dict[str, Any], config: object, key: str, text: str) -> None:
    """Read text as the field `key` of `config` and put it into `values`, the plain form of it."""
    *above, name = key.split(".")
    within: Any = values
    for part in above:
        config = _parts(config)[part]
        place: Any = int(part) if part.isdecimal() else part
        within = within[place]
        if within is None:
            raise InputError(f"{key}: nothing can be set in what was set to none")
    kind = _field_types(type(config))[name]
    within[name] = _plain(_check(_parse(text, kind), kind, key))


def _build(cls: type[Config], mapping: Mapping[str, Any], *, where: str) -> Config:
    types = _field_types(cls)
    for key in mapping:
        if key not in types:
            raise InputError(_unknown(f"{where}{key}", [where + name for name in types]))
    values = {key: _check(value, types[key], where + key) for key, value in mapping.items()}
    required = [field.name for field in dataclasses.fields(cast(Any, cls)) if _is_required(field)]
    missing = [where + name for name in required if name not in mapping]
    if missing:
        raise InputError(f"missing setting: {_list(missing)}")
    return cls(**values)


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


# ----------------------------------------------------------------------------------------------------- values


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in cast(tuple[Any, ...], value)]
    if isinstance(value, Path):
        return value.as_posix()
    assert value is None or isinstance(value, bool | int | float | str), f"a config cannot hold {value!r}"
    return value


def _parse(text: str, kind: Any) -> Any:
    """Read text as the plain value that `_check` then examines; what cannot be read stays text."""
    if _is_optional(kind):
        return None if text.lower() == "none" else _parse(text, _present(kind))
    if get_origin(kind) is tuple:
        items = [item.strip() for item in text.strip("()[]").split(",") if item.strip()]
        kinds = _item_types(kind, len(items))
        return (
            [_parse(*pair) for pair in zip(items, kinds, strict=True)] if len(kinds) == len(items) else items
        )
    if kind is bool:
        return _SWITCH.get(text.lower(), text)
    if get_origin(kind) is Literal:
        return next((choice for choice in get_args(kind) if str(choice) == text), text)
    if kind is int or kind is float:
        try:
            return kind(text)
        except ValueError:
            return text
    return text


def _check(value: Any, kind: Any, where: str) -> Any:
    """Return the plain `value` as the config type `kind`, or raise InputError."""
    if _is_optional(kind):
        return None if value is None else _check(value, _present(kind), where)
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return _build(cast(type[Any], kind), cast(Mapping[str, Any], value), where=f"{where}.")
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        return _check_items(cast(Sequence[Any], value), kind, where)
    if get_origin(kind) is Literal and value in get_args(kind):
        return value
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if kind in (int, bool, str) and type(value) is kind:
        return value
    raise InputError(f"{where}={value!r} is not {_describe(kind)}")


def _check_items(values: Sequence[Any], kind: Any, where: str) -> tuple[Any, ...]:
    kinds = _item_types(kind, len(values))
    if len(kinds) != len(values):
        raise InputError(f"{where} has {len(values)} values, it takes {len(kinds)}")
    return tuple(_check(value, kind, where) for value, kind in zip(values, kinds, strict=True))


def _is_optional(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType)


def _present(kind: Any) -> Any:
    """Return X of `X | None`, the only union that a config field may be."""
    arms = [arm for arm in get_args(kind) if arm is not NoneType]
    assert len(get_args(kind)) == 2, f"a config field cannot be {kind}"
    assert len(arms) == 1, f"a config field cannot be {kind}"
    return arms[0]


def _item_types(kind: Any, count: int) -> list[Any]:
    arms = get_args(kind)
    return [arms[0]] * count if arms[-1] is Ellipsis else list(arms)


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {_list(get_args(kind))}"
    if kind is bool:
        return "true or false"
    names = {int: "a whole number", float: "a finite number", str: "text", Path: "a path"}
    return names.get(kind, f"a {getattr(kind, '__name__', kind)}")
