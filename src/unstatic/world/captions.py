"""Captions of a scene: exact, visible, and in many wordings, from "red ball bouncing" to a whole paragraph.

Short captions name the object and the event, medium ones most of the scene, long ones all of it. None says
what the clip does not show. More than a fifth of the wordings is held out: training never uses them, so that
evaluation can ask how well words are understood that were never trained on.
"""

import re
from dataclasses import dataclass

import numpy as np

from unstatic.world import vocabulary as terms
from unstatic.world.captions_grammar import (
    NAMES_ANOTHER_THING,
    Voice,
    camera_is_plain,
    camera_verb,
    event_phrase,
    floor_noun,
    floor_phrase,
    hero_name,
    light_phrase,
    noun_phrase,
    other_phrase,
    others,
)
from unstatic.world.relations import hero
from unstatic.world.spec import SceneSpec
from unstatic.world.vocabulary import Verb


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """How much a caption says: its `share` of all captions, and how often each thing is said in it."""

    share: float
    direction: float
    material: float
    size: float
    floor: float
    sky: float
    others: float
    camera_move: float
    still_camera: float
    light: float
    tags: float
    sentence_case: float


STYLES = {name: Style(**shares) for name, shares in terms.STYLE_SHARES.items()}


def caption(
    spec: SceneSpec,
    rng: np.random.Generator,
    *,
    style: str | None = None,
    held_out: bool = False,
    exact: bool = False,
) -> str:
    """Describe `spec` in one of many wordings.

    `style` is one of STYLES, drawn by its share when None. With `held_out`, wordings kept from training are
    used wherever there are any, instead of never. With `exact`, no word is used that fits more than one kind
    of animal ("dog").
    """
    names = list(STYLES)
    chosen = STYLES[style or names[rng.choice(len(names), p=[STYLES[name].share for name in names])]]
    voice = Voice(rng, held_out, exact)
    if voice.maybe(chosen.tags):
        return _finished(_tags(spec, voice, chosen), sentence_case=False)
    text = _core(spec, voice, chosen)
    text = _with_camera_and_others(text, spec, voice, chosen)
    return _finished(text, sentence_case=". " in text or voice.maybe(chosen.sentence_case))


def captions(spec: SceneSpec, seed: int, count: int, *, held_out: bool = False) -> list[str]:
    """Return `count` captions decided by `seed` and the scene's own seed; equal ones may occur."""
    rng = np.random.default_rng((seed, spec.seed))
    return [caption(spec, rng, held_out=held_out) for _ in range(count)]


def _subject_and_event(spec: SceneSpec, voice: Voice, style: Style) -> tuple[str, Verb]:
    subject = noun_phrase(spec, hero(spec), voice, material=style.material, size=style.size)
    event = event_phrase(spec, voice, direction=style.direction, material=style.material, size=style.size)
    return subject, event


def _core(spec: SceneSpec, voice: Voice, style: Style) -> str:
    """Say who does what, where, and under which sky and light; the place sometimes comes first."""
    subject, event = _subject_and_event(spec, voice, style)
    floor = floor_phrase(spec, voice) if voice.maybe(style.floor) else ""
    sky = voice.pick(terms.SKY_WORDS[spec.sky]) if voice.maybe(style.sky) else ""
    light = light_phrase(spec, voice) if voice.maybe(style.light) else ""

    # What comes before the event; a fragment ("red ball rolling") only makes sense without
    front = sky if sky and voice.maybe(0.3) else ""
    is_fragment = not front and voice.maybe(0.2 if style.others else 0.5)
    sentence = voice.pick(terms.FRAGMENTS if is_fragment else terms.CLAUSES).format(
        a=f"a {subject}", bare=subject, present=event.present, participle=event.participle
    )

    sentence = " ".join(part for part in (sentence, floor, "" if front else sky) if part)
    sentence = f"{sentence}, {light}" if light else sentence
    return voice.pick(terms.FRONTS).format(place=front, rest=sentence) if front else sentence


def _with_camera_and_others(text: str, spec: SceneSpec, voice: Voice, style: Style) -> str:
    """Add the other things, their number, and the camera; once others are named the hero is not just "it"."""
    present = others(spec) if voice.maybe(style.others) else []
    it = hero_name(spec, plain=not present and spec.event not in NAMES_ANOTHER_THING)
    if present:
        text = _join_others(text, spec, voice, style)
        if style is STYLES["long"] and not spec.props and voice.maybe(0.3):
            text = voice.pick(terms.COUNT_JOINS).format(rest=text, count=terms.COUNTS[len(spec.objects)])
    if _says_camera(spec, voice, style):
        joins = terms.CAMERA_SENTENCES if present or voice.maybe(0.25) else terms.CAMERA_JOINS
        move = camera_verb(spec, voice, it=it)
        text = voice.pick(joins).format(rest=text, present=move.present, participle=move.participle)
    return text


def _join_others(text: str, spec: SceneSpec, voice: Voice, style: Style) -> str:
    found = others(spec)
    it = hero_name(spec, plain=len(found) == 1 and spec.event not in NAMES_ANOTHER_THING)

    def listed(standing: bool) -> str:
        return enumerated(
            [
                other_phrase(spec, each, voice, it=it, standing=standing, material=style.material)
                for each in found
            ]
        )

    return voice.pick(terms.OTHERS_JOINS).format(
        rest=text,
        be="are" if found[0].count > 1 else "is",
        list=listed(standing=False),
        standing=listed(standing=True),
    )


def _says_camera(spec: SceneSpec, voice: Voice, style: Style) -> bool:
    share = style.still_camera if spec.camera.kind == "still" else style.camera_move
    return camera_is_plain(spec) and voice.maybe(share)


def _tags(spec: SceneSpec, voice: Voice, style: Style) -> str:
    """Say it as people type search words: "red ball, bouncing, blue cube, wooden floor, night"."""
    subject, event = _subject_and_event(spec, voice, style)
    parts = [subject, event.participle]
    for other in others(spec) if voice.maybe(style.others) else ():
        noun = noun_phrase(
            spec, other.thing, voice, material=style.material, size=style.size, plural=other.count > 1
        )
        parts.append(f"{terms.COUNTS[other.count]} {noun}" if other.count > 1 else noun)
    if voice.maybe(style.floor):
        parts.append(re.sub("^(a|the) ", "", floor_noun(spec, voice)))
    if voice.maybe(style.sky):
        parts.append(voice.pick(terms.SKY_TAGS[spec.sky]))
    if _says_camera(spec, voice, style):
        move = camera_verb(spec, voice, it=hero_name(spec, plain=spec.event not in NAMES_ANOTHER_THING))
        parts.append(f"camera {move.participle}")
    return ", ".join(parts)


def enumerated(parts: list[str]) -> str:
    """Join as in "a, b and c"."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def with_articles(text: str) -> str:
    """Settle "a" and "an"."""
    return re.sub(r"\ba (?=[aeiou])", "an ", text)


def _finished(text: str, *, sentence_case: bool) -> str:
    """Settle "a" and "an"; with `sentence_case`, begin sentences with capitals and end with a full stop."""
    text = with_articles(text)
    if not sentence_case:
        return text
    return re.sub(r"(^|\. )([a-z])", lambda match: match.group(1) + match.group(2).upper(), text) + "."
