import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from unstatic.core.config import from_dict, override, to_dict
from unstatic.core.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimiser:
    name: Literal["muon", "adamw"] = "muon"
    rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    width: int
    chunk: int | None = None
    mixed: bool = True
    folder: Path = Path("runs")
    scalars: tuple[str, ...] = ("sigma",)
    optimiser: Optimiser = field(default_factory=Optimiser)

    def __post_init__(self) -> None:
        if self.width % 2:
            raise InputError(f"width={self.width} must be even")


RUN = Run(width=8)


def test_json_and_back_is_exact():
    run = Run(width=8, chunk=4, scalars=(), folder=Path("a/b"), optimiser=Optimiser(rate=3e-4))
    assert from_dict(Run, json.loads(json.dumps(to_dict(run)))) == run


def test_left_out_fields_take_their_defaults():
    assert from_dict(Run, {"width": 8, "optimiser": {"rate": 1}}) == Run(
        width=8, optimiser=Optimiser(rate=1.0)
    )


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "missing setting: width"),
        ({"width": 8, "widht": 3}, "unknown setting 'widht'; did you mean 'width'?"),
        (
            {"width": 8, "optimiser": {"rat": 1}},
            "unknown setting 'optimiser.rat'; did you mean 'optimiser.rate'?",
        ),
        ({"width": "8"}, "width='8' is not a whole number"),
        ({"width": True}, "width=True is not a whole number"),
        ({"width": 8, "mixed": 1}, "mixed=1 is not true or false"),
        ({"width": 8, "optimiser": {"name": "sgd"}}, "optimiser.name='sgd' is not one of muon, adamw"),
        ({"width": 8, "optimiser": {"betas": [0.9]}}, "optimiser.betas has 1 values, it takes 2"),
        ({"width": 8, "optimiser": 3}, "optimiser=3 is not a Optimiser"),
        ({"width": 7}, "width=7 must be even"),
    ],
)
def test_other_mappings_are_refused(mapping: dict[str, object], message: str):
    with pytest.raises(InputError) as caught:
        from_dict(Run, mapping)
    assert str(caught.value) == message


def test_overrides_are_read_by_the_type_of_the_field():
    pairs = ["width=16", "chunk=4", "mixed=False", "folder=x/y", "scalars=sigma,guidance"]
    pairs += ["optimiser.rate=3e-4", "optimiser.betas=(0.8, 0.9)", "optimiser.name=adamw"]
    assert override(RUN, pairs) == Run(
        width=16,
        chunk=4,
        mixed=False,
        folder=Path("x/y"),
        scalars=("sigma", "guidance"),
        optimiser=Optimiser(name="adamw", rate=3e-4, betas=(0.8, 0.9)),
    )


def test_later_overrides_win_and_none_empties_an_optional_field():
    assert override(RUN, ["chunk=4", "chunk=none"]).chunk is None


def test_an_optional_config_can_be_changed_or_left_out_as_a_whole():
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Outer:
        inner: Optimiser | None = None

    outer = Outer(inner=Optimiser())
    changed = override(outer, ["inner.rate=0.5"]).inner
    assert changed is not None
    assert changed.rate == 0.5
    assert override(outer, ["inner=none"]).inner is None
    with pytest.raises(InputError, match="inner='some' is not a Optimiser"):
        override(outer, ["inner=some"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    low: int = 0
    high: int = 1

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise InputError(f"low={self.low} must be below high={self.high}")


@pytest.mark.parametrize("pairs", [["low=5", "high=9"], ["high=9", "low=5"]])
def test_what_several_fields_obey_is_asked_when_all_are_set(pairs: list[str]):
    assert override(Span(), pairs) == Span(low=5, high=9)
    with pytest.raises(InputError, match="low=5 must be below high=1"):
        override(Span(), ["low=5"])


def test_nothing_is_set_in_what_was_left_out():
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Outer:
        inner: Optimiser | None = None

    with pytest.raises(InputError, match=r"inner.rate: nothing can be set in what was set to none"):
        override(Outer(inner=Optimiser()), ["inner=none", "inner.rate=1"])


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("width", "'width' is not KEY=VALUE, for example steps=200"),
        ("optimizer.rate=1", "unknown setting 'optimizer.rate'; did you mean 'optimiser.rate'?"),
        ("optimiser=1", "unknown setting 'optimiser'; did you mean 'optimiser.rate'?"),
        ("zzz=1", "unknown setting 'zzz'; known: width, chunk, mixed, folder, scalars, optimiser.name, "
                  "optimiser.rate, optimiser.betas"),
        ("width=8.5", "width='8.5' is not a whole number"),
        ("width=none", "width='none' is not a whole number"),
        ("chunk=many", "chunk='many' is not a whole number"),
        ("mixed=1", "mixed='1' is not true or false"),
        ("optimiser.rate=nan", "optimiser.rate=nan is not a finite number"),
        ("optimiser.betas=1,2,3", "optimiser.betas has 3 values, it takes 2"),
        ("optimiser.betas=1,x", "optimiser.betas='x' is not a finite number"),
        ("width=7", "width=7 must be even"),
    ],
)  # fmt: skip
def test_other_overrides_are_refused(pair: str, message: str):
    with pytest.raises(InputError) as caught:
        override(RUN, [pair])
    assert str(caught.value) == message


@dataclass(frozen=True, kw_only=True, slots=True)
class Stages:
    optimisers: tuple[Optimiser, ...] = (Optimiser(), Optimiser(rate=0.5))


def test_configs_in_a_tuple_are_named_by_their_place():
    changed = override(Stages(), ["optimisers.1.rate=0.25"])
    assert changed == Stages(optimisers=(Optimiser(), Optimiser(rate=0.25)))
    assert from_dict(Stages, json.loads(json.dumps(to_dict(changed)))) == changed
    with pytest.raises(InputError, match=r"unknown setting 'optimisers.2.rate'; did you mean"):
        override(Stages(), ["optimisers.2.rate=1"])
