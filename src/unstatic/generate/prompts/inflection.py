"""Bends words: all forms of a verb, the plural of a noun."""

import re
from collections.abc import Mapping

from unstatic.world.captions_grammar import pluralised

Phrase = tuple[str, ...]


def inflected(phrase: Phrase, past_forms: Mapping[str, str]) -> set[Phrase]:
    """Bend the verb that a phrase begins with: "run away" is also "runs", "running" and "ran away".

    `past_forms` hold what does not end in -ed: "ran", "threw thrown".
    """
    if phrase[0] == "not":
        return {("not", *form) for form in inflected(phrase[1:], past_forms)}
    verb, rest = phrase[0], phrase[1:]
    past = past_forms.get(verb, "").split() or [_with_ending(verb, "ed")]
    return {(form, *rest) for form in (verb, _third_person(verb), _with_ending(verb, "ing"), *past)}


def plural(phrase: Phrase, irregular: Mapping[str, str]) -> Phrase:
    """Put the last word of a noun into the plural."""
    return (*phrase[:-1], irregular.get(phrase[-1]) or pluralised(phrase[-1]))


def _third_person(verb: str) -> str:
    if _ends_in_consonant_and_y(verb):
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("s", "x", "z", "ch", "sh", "o")) else "s")


def _with_ending(verb: str, ending: str) -> str:
    if ending == "ed" and _ends_in_consonant_and_y(verb):
        return verb[:-1] + "ied"
    if verb.endswith("e") and not verb.endswith(("ee", "oe")):
        return verb[:-1] + ending
    is_short = re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", verb) is not None
    return verb + (verb[-1] if is_short else "") + ending


def _ends_in_consonant_and_y(verb: str) -> bool:
    return re.search(r"[^aeiou]y$", verb) is not None
