"""Which clips a folder has, also after its writer was killed."""

import json
from pathlib import Path

import pytest

from unstatic.core.errors import InputError
from unstatic.data.clip_index import NAME, open_index


def test_every_clip_is_written_down_at_once(tmp_path: Path):
    with open_index(tmp_path) as index:
        assert not index.has("0.mp4", '{"seed": 0}')
        (tmp_path / "0.mp4").touch()
        index.add("0.mp4", "a ball", '{"seed": 0}')
        (line,) = (tmp_path / NAME).read_text(encoding="utf-8").splitlines()
        assert json.loads(line) == {"file": "0.mp4", "caption": "a ball", "scene": {"seed": 0}}
        assert index.has("0.mp4", '{"seed":   0}')
        with pytest.raises(InputError, match=r"0\.mp4 shows another scene: take another folder"):
            index.has("0.mp4", '{"seed": 1}')


def test_what_was_cut_off_is_made_again_and_nothing_else(tmp_path: Path):
    lines = [json.dumps({"file": f"{number}.mp4", "caption": "", "scene": number}) for number in range(3)]
    (tmp_path / NAME).write_text("\n".join(lines)[:-5], encoding="utf-8")
    for number in (0, 2, 3):  # the last has no line at all
        (tmp_path / f"{number}.mp4").touch()
    with open_index(tmp_path) as index:
        assert [index.has(f"{number}.mp4", str(number)) for number in range(4)] == [True, False, False, False]
        for number in (1, 2, 3):
            index.add(f"{number}.mp4", "", str(number))
    found = map(json.loads, (tmp_path / NAME).read_text(encoding="utf-8").splitlines())
    assert [each["scene"] for each in found] == [0, 1, 2, 3]


@pytest.mark.parametrize("files", [{"mine.mp4": ""}, {NAME: "[]\n"}, {NAME: "no JSON\n"}])
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, files: dict[str, str]):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match="take another folder"), open_index(tmp_path):
        pass
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files
