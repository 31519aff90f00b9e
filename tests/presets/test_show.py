import re
from pathlib import Path

from unstatic.presets.show import PROMPTS

MAKEFILE = Path(__file__).parents[2] / "Makefile"


def test_the_film_that_make_video_makes_by_default_is_among_those_shown():
    default = re.search(r"^PROMPT \?= (.+)$", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert default is not None
    assert default[1] in PROMPTS
