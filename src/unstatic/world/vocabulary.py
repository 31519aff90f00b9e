"""Every word a caption may use, as tables; evaluation reads them too, to know what counts as the right word.

Pieces are separated by " / ". The first piece of a table is the plain word that most people would type.
Pieces after " // " are held out: training captions never contain them, evaluation asks for them.
Verbs are written "present|participle". Braces are slots. Articles are always "a", the finished text has "an".
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

PLAIN_WORD_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Words:
    """Interchangeable pieces of a sentence; `seen` is never empty, and no `seen` contains a `held_out`."""

    seen: tuple[str, ...]
    held_out: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Every accepted wording."""
        return self.seen + self.held_out

    def pick(self, rng: np.random.Generator, *, held_out: bool) -> str:
        """Draw a piece, half of the time the plain one; with `held_out` a held-out one where there is any."""
        if held_out and self.held_out:
            return self.held_out[rng.integers(len(self.held_out))]
        if len(self.seen) == 1 or rng.random() < PLAIN_WORD_SHARE:
            return self.seen[0]
        return self.seen[1 + rng.integers(len(self.seen) - 1)]


class Verb(NamedTuple):
    """One verb phrase: "rolls" and "rolling"."""

    present: str
    participle: str

    def then(self, text: str) -> "Verb":
        """Append the same words to both forms."""
        return Verb(f"{self.present} {text}".strip(), f"{self.participle} {text}".strip())


def words(text: str) -> Words:
    """Read "plain / other // held out / held out"."""
    seen, _, held_out = text.partition(" // ")
    return Words(tuple(seen.split(" / ")), tuple(held_out.split(" / ")) if held_out else ())


def verb(text: str) -> Verb:
    """Read "present|participle"."""
    present, _, participle = text.partition("|")
    return Verb(present, participle)


# A "block" is a cube that is clearly higher or wider than a cube.
SHAPE_WORDS = {
    "ball": words("ball / sphere / orb // globe"),
    "cube": words("cube / box / block // square box"),
    "block": words("block / box // cuboid"),
    "cylinder": words("cylinder / can / drum // canister"),
    "cone": words("cone / pointed cone // conical object"),
    "capsule": words("capsule / pill // lozenge"),
    "ring": words("ring / hoop / torus / donut // doughnut"),
}

ANIMAL_WORDS = {
    "alpaca": words("alpaca / cream alpaca / llama // woolly alpaca"),
    "bull": words("bull / black bull // horned bull"),
    "cow": words("cow / brown cow // heifer"),
    "deer": words("deer / brown deer / doe // hind"),
    "donkey": words("donkey / grey donkey // burro"),
    "fox": words("fox / red fox / orange fox // vixen"),
    "horse": words("horse / brown horse / bay horse // stallion"),
    "white horse": words("white horse / light horse // pale horse"),
    "husky": words("husky / husky dog / sled dog // siberian husky"),
    "shiba inu": words("shiba inu / shiba / shiba dog // japanese dog"),
    "stag": words("stag / buck / stag with antlers / deer with antlers // hart"),
    "wolf": words("wolf / grey wolf / gray wolf // timber wolf"),
}
# What people also call them, though it fits more than one kind: never where the answer must be certain.
GENERIC_WORDS = {
    "husky": words("dog / doggo / doggy / pup"),
    "shiba inu": words("dog / doggo / doggy / pup"),
    "horse": words("pony"),
    "white horse": words("horse / pony"),
    "stag": words("deer"),
    "bull": words("cow"),
}

PROP_WORDS = {
    "ramp": words("ramp / slope // incline"),
    "post": words("post / pillar / column // pole"),
    "wall": words("wall / panel / screen // partition"),
}

COLOUR_WORDS = {
    "red": words("red / bright red / crimson // scarlet"),
    "orange": words("orange / bright orange // tangerine"),
    "yellow": words("yellow / bright yellow // lemon-coloured"),
    "green": words("green / vivid green // emerald"),
    "cyan": words("cyan / turquoise / aqua // aquamarine"),
    "blue": words("blue / royal blue // cobalt"),
    "purple": words("purple / violet // amethyst"),
    "pink": words("pink / rose-pink // rosy"),
    "white": words("white / pure white // ivory"),
    "black": words("black / jet-black // ebony"),
    "brown": words("brown / chocolate-brown // chestnut"),
    "grey": words("grey / gray // ash-grey"),
}

# "a shiny blue cube": said before the colour. "a blue metal cube": said after it.
MATERIAL_QUALITIES = {
    "matte": words("matte / dull // non-glossy"),
    "metal": words("metallic / shiny / shiny metallic // gleaming"),
    "mirror": words("mirrored / reflective // silvered"),
    "glass": words("transparent / see-through // crystal-clear"),
    "checkered": words("checkered / chequered / checked // chess-patterned"),
    "wood": words("wooden / wood-grained // timber"),
}
MATERIAL_NOUNS = {
    "metal": words("metal // polished metal"),
    "mirror": words("mirror / chrome // mirror-finish"),
    "glass": words("glass // crystal"),
    "wood": words("wood // oak"),
}

BIG = words("big / large // huge")
SMALL = words("small / little // tiny")
TALL = words("tall / slim // slender")
FLAT = words("flat / wide // squat")

FLOOR_WORDS = {
    "plain": words(
        "a {colour} floor / the {colour} floor / a plain {colour} floor / {colour} ground"
        " / a {colour} surface // a bare {colour} floor / an even {colour} floor"
    ),
    "checker": words(
        "a checkered floor / a {colour} and {other} checkered floor / a chequered floor / the checkered floor"
        " // a chessboard floor"
    ),
    "wood": words(
        "a wooden floor / the wooden floor / a wood floor / wooden planks / wooden boards"
        " // floorboards / a parquet floor"
    ),
    "grass": words("grass / green grass / the grass / a lawn / a grassy field // a meadow"),
    "sand": words("sand / the sand / sandy ground / a sandy floor // desert sand"),
    "snow": words("snow / the snow / snowy ground / white snow // snow-covered ground"),
    "water": words("water / the water / a water surface / the surface of the water // a sheet of water"),
    "mirror": words(
        "a mirror floor / a mirrored floor / the mirror floor / a reflective floor / a mirror"
        " // a glossy mirror-like floor"
    ),
}

SKY_WORDS = {
    "day": words(
        "in daylight / during the day / in the sunshine / under a blue sky / on a sunny day // by day"
    ),
    "sunset": words("at sunset / at dusk / under a sunset sky / in the evening light // at sundown"),
    "night": words("at night / under a night sky / in the dark / under a dark sky // after dark"),
    "studio": words(
        "in a studio / in a photo studio / under studio lights / with studio lighting // on a studio set"
    ),
}
SKY_TAGS = {
    "day": words("daylight / blue sky / sunshine // full daylight"),
    "sunset": words("sunset / dusk / evening light // sundown"),
    "night": words("night / night sky // nighttime"),
    "studio": words("studio / studio lighting // studio backdrop"),
}

EVENT_VERBS = {
    "rest": words(
        "rests|resting / sits|sitting / stands still|standing still / stays still|staying still"
        " / sits still|sitting still // remains motionless|remaining motionless"
    ),
    "fall": words(
        "falls|falling / drops|dropping / falls down|falling down / drops from above|dropping from above"
        " // plummets|plummeting"
    ),
    "bounce": words("bounces|bouncing / hops|hopping / keeps bouncing|bouncing // rebounds|rebounding"),
    "roll": words("rolls|rolling / trundles|trundling // tumbles|tumbling"),
    "slide": words("slides|sliding / glides|gliding / slips|slipping // skids|skidding"),
    "spin": words("spins|spinning / rotates|rotating / twirls|twirling / turns|turning // whirls|whirling"),
    "topple": words(
        "topples over|toppling over / tips over|tipping over / falls over|falling over / topples|toppling"
        " // keels over|keeling over"
    ),
    "collide": words(
        "hits|hitting / collides with|colliding with / bumps into|bumping into / crashes into|crashing into"
        " / runs into|running into / knocks into|knocking into // smashes into|smashing into"
    ),
    "pendulum": words("swings|swinging / sways|swaying // dangles and swings|dangling and swinging"),
    "ricochet": words(
        "bounces off the walls|bouncing off the walls / bounces around between four walls|bouncing around"
        " between four walls / ricochets between the walls|ricocheting between the walls"
        " // glides from wall to wall|gliding from wall to wall"
    ),
    "shower": words(
        "keeps dropping from above|dropping from above again and again / falls again and again|falling again"
        " and again / rains down again and again|raining down again and again"
        " // drops time after time|dropping time after time"
    ),
    "jump": words(
        "jumps|jumping / leaps|leaping / jumps up|jumping up"
        " / is thrown into the air|being thrown into the air / is tossed up|being tossed up"
        " // springs into the air|springing into the air"
    ),
}

ANIMAL_VERBS = {
    "walk": words(
        "walks|walking / strolls|strolling / ambles|ambling / takes a walk|taking a walk // wanders|wandering"
    ),
    "gallop": words(
        "gallops|galloping / runs|running / races|racing / sprints|sprinting / runs fast|running fast"
        " // dashes|dashing"
    ),
    "leap": words(
        "leaps|leaping / jumps|jumping / bounds|bounding / runs and jumps|running and jumping"
        " // springs along|springing along"
    ),
    "eat": words(
        "eats|eating / feeds|feeding / grazes|grazing / nibbles|nibbling / has a meal|having a meal"
        " // munches|munching"
    ),
    "stand": words(
        "stands still|standing still / stands|standing / stands there|standing there / waits|waiting"
        " / looks around|looking around // idles|idling"
    ),
    "attack": words(
        "attacks|attacking / strikes with its head|striking with its head / lunges|lunging"
        " / lashes out|lashing out"
        " // charges|charging"
    ),
    "kick": words(
        "kicks|kicking / kicks out|kicking out / kicks with its hind legs|kicking with its hind legs"
        " // bucks|bucking"
    ),
}
BESIDE = words(
    "beside {other} / next to {other} / together with {other} / alongside {other}"
    " // side by side with {other}"
)

# How things get about when the event needs it said: down a ramp, behind a wall, towards what they hit.
MOVE_VERBS = {
    "rolling": words("rolls|rolling / moves|moving / goes|going // travels|travelling"),
    "sliding": words("slides|sliding / moves|moving / goes|going // travels|travelling"),
}
PASS_VERBS = words("passes|passing / moves|moving / goes|going // makes its way|making its way")

MANNERS = {
    "bounce": words("up and down / again and again // over and over"),
    "spin": words("in place / on the spot / around // round and round"),
    "pendulum": words(
        "on a string / from a string / back and forth on a string / like a pendulum"
        " / at the end of a string // on a cord"
    ),
}

DIRECTION_WORDS = {
    "left": words("to the left / left / towards the left / from right to left // leftwards"),
    "right": words("to the right / right / towards the right / from left to right // rightwards"),
    "towards": words(
        "towards the camera / toward the camera / towards us / toward the viewer // nearer to us"
    ),
    "away": words(
        "away / away from the camera / into the distance / away from us // off into the background"
    ),
}
LEAN_WORDS = {
    "left": words("to the left / towards the left // leftwards"),
    "right": words("to the right / towards the right // rightwards"),
    "towards": words("towards the camera / toward the camera / towards us // in our direction"),
    "away": words("away from the camera / backwards / away from us // away from the viewer"),
}

# Where another thing is, seen from the hero, who is {it}.
RELATION_WORDS = {
    "left": words(
        "to the left of {it} / on {its} left / to {its} left / left of {it} // on the left side of {it}"
    ),
    "right": words(
        "to the right of {it} / on {its} right / to {its} right / right of {it} // on the right side of {it}"
    ),
    "behind": words("behind {it} / further back / in the background // at the back"),
    "front": words("in front of {it} / in the foreground / closer to the camera // at the front"),
    "": words("in the scene / as well // in the picture"),
}
STANDS = words("is / is visible // appears")
STAND = words("are / are visible // appear")

CAMERA_VERBS = {
    "still": words(
        "stays still|staying still / does not move|not moving / stays fixed|staying fixed"
        " // holds still|holding still"
    ),
    "orbit": words(
        "orbits {it}|orbiting {it} / circles {it}|circling {it} / moves around {it}|moving around {it}"
        " // revolves around {it}|revolving around {it}"
    ),
    "pan": words("pans|panning / turns|turning / pans slowly|panning slowly // swivels|swivelling"),
    "dolly in": words(
        "moves closer|moving closer / moves in|moving in / dollies in|dollying in // pushes in|pushing in"
    ),
    "dolly out": words(
        "moves back|moving back / pulls back|pulling back / dollies out|dollying out // retreats|retreating"
    ),
    "zoom in": words(
        "zooms in|zooming in / slowly zooms in|slowly zooming in // zooms closer|zooming closer"
    ),
    "zoom out": words(
        "zooms out|zooming out / slowly zooms out|slowly zooming out // zooms back|zooming back"
    ),
    "rise up": words("rises|rising / moves up|moving up / goes up|going up // cranes up|craning up"),
    "rise down": words(
        "sinks|sinking / moves down|moving down / goes down|going down // cranes down|craning down"
    ),
    "follow": words(
        "follows {it}|following {it} / tracks {it}|tracking {it}"
        " / moves with {it}|moving with {it}"
        " // keeps up with {it}|keeping up with {it}"
    ),
}
CAMERA_SENSES = {
    "left": words("to the left / towards the left // leftward"),
    "right": words("to the right / towards the right // rightward"),
}

SHADOWS = {
    "soft": words("with soft shadows / in soft light // with blurred shadows"),
    "hard": words("with sharp shadows / in hard light // with crisp shadows"),
}
LIT_FROM = {
    "left": words("lit from the left // with light from the left"),
    "right": words("lit from the right // with light from the right"),
}

# How the event meets the floor; events that are not named use "on".
FLOOR_PREPOSITIONS = {
    "fall": words("onto / on"),
    "roll": words("on / across / over // along"),
    "slide": words("on / across / over // along"),
    "pendulum": words("above / over"),
    "jump": words("on / above"),
    "walk": words("across / over / on // upon"),
    "gallop": words("across / over / on // upon"),
    "leap": words("across / over / on // upon"),
    "shower": words("onto / on"),
}

# Whole sentences. {a} is the subject with its article, {bare} without; {present} and {participle} its event.
CLAUSES = words(
    "{a} {present} / {a} is {participle} / the {bare} {present} / there is {a} {participle}"
    " / the {bare} is {participle} / {a} that {present} / one {bare} {present}"
    " // we see {a} {participle} / here is {a} {participle}"
)
FRAGMENTS = words(
    "{a} {participle} / {bare} {participle} / a video of {a} {participle} / a clip of {a} {participle}"
    " / show me {a} {participle} / make a video of {a} {participle} / video of {a} {participle}"
    " / a film of {a} {participle} / the {bare} {participle}"
    " // footage of {a} {participle} / a short film of {a} {participle}"
)
OTHERS_JOINS = words(
    "{rest}, with {list} / {rest}. There {be} {list} / {rest}, and {standing} / {rest}. {standing}"
    " // {rest}; also visible {be} {list} / {rest}, where {standing}"
)
COUNT_JOINS = words(
    "{rest}. There are {count} objects in all / {rest}. {count} objects are in view"
    " // {rest}. It shows {count} objects"
)
CAMERA_JOINS = words(
    "{rest} while the camera {present} / {rest} as the camera {present} / {rest}, the camera {participle}"
    " // {rest}, with the camera {participle} / {rest}, and meanwhile the camera {present}"
)
CAMERA_SENTENCES = words(
    "{rest}. The camera {present} / {rest}. The camera is {participle} // {rest}. Our camera {present}"
)
FRONTS = words("{place}, {rest} // picture this: {place}, {rest}")

COUNTS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
