import json

import pytest

from unstatic.core.errors import InputError
from unstatic.server.spec import Card, Role, Spec, read_spec


def test_a_row_gives_back_what_was_asked():
    spec = Spec(task="recut", prompt="x", seed=3, keep=(1.0, 2.5), cards=(Card(at=0.0, prompt="hi"),))
    assert read_spec(json.loads(json.dumps(spec.to_json()))) == spec


def test_characters_come_with_their_words():
    roles = (Role(name="Mossy", clip="a/clip.mp4", description="a frog"), Role(name="Rex", clip="b/clip.mp4"))
    spec = Spec(task="create", prompt="x", seed=3, characters=roles)
    assert read_spec(json.loads(json.dumps(spec.to_json()))).characters == roles


def test_what_another_version_wrote_is_refused():
    with pytest.raises(InputError, match="dream"):
        read_spec({"task": "dream", "prompt": "x", "seed": 3})
