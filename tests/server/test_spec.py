import json

import pytest

from unstatic.core.errors import InputError
from unstatic.server.spec import Card, Spec, read_spec


def test_a_row_gives_back_what_was_asked():
    spec = Spec(task="recut", prompt="x", seed=3, keep=(1.0, 2.5), cards=(Card(at=0.0, prompt="hi"),))
    assert read_spec(json.loads(json.dumps(spec.to_json()))) == spec


def test_what_another_version_wrote_is_refused():
    with pytest.raises(InputError, match="dream"):
        read_spec({"task": "dream", "prompt": "x", "seed": 3})
