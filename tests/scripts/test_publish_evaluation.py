import json
from pathlib import Path

import pytest
from publish_evaluation import (
    check_parts,
    commits,
    figure,
    page,
    sections,
    shortened,
    with_figures,
    with_kept,
    with_table,
)

from unstatic.core.errors import InputError

SCORES = {
    name: {"right": 9, "total": 10, "share": 0.9, "interval_95": [0.6, 0.98]} for name in ("colour", "all")
}
FACTS = {
    "model": "nano",
    "digest": "abc",
    "command": "unstatic eval nano --slow-prompts 20 -o report",
    "commit": "1234567",
    "machine": "a machine",
    "objects": {"columns": {"real render": {"scores": SCORES, "answers": [1, 2]}}, "prompts": 10},
    "reconstruction": {"whole": {"pooled": 31.234}, "lpips": None, "clips": [3]},
}


def test_what_is_long_is_left_out_and_all_else_stays():
    short = shortened(FACTS)
    assert short["objects"]["columns"]["real render"] == {"scores": SCORES}
    assert short["reconstruction"] == {"whole": {"pooled": 31.234}, "lpips": None}


def test_a_figure_is_what_the_facts_have():
    assert figure(FACTS, "objects / columns / real render / scores / colour") == "90.0%"
    assert figure(FACTS, "reconstruction / whole / pooled") == "31.23"
    assert figure(FACTS, "objects / prompts") == "10"
    with pytest.raises(KeyError):
        figure(FACTS, "objects / nothing")


def test_figures_and_tables_of_a_document_are_replaced():
    mark = "<!-- figure: reconstruction / whole / pooled -->"
    filled = with_figures(f"| PSNR {mark}?? dB ({mark}12.5), {mark}. | x |", FACTS)
    assert filled == f"| PSNR {mark}31.23 dB ({mark}31.23), {mark}31.23. | x |"
    assert with_figures(filled, FACTS) == filled
    table = with_table("before\n<!-- evaluation -->\nold\n<!-- /evaluation -->\nafter\n", FACTS)
    assert "| colour | 90.0% [60%, 98%] | 95% |" in table
    assert "old" not in table
    assert "Weights `abc`, commit 1234567, a machine." in table
    assert table.endswith("<!-- /evaluation -->\nafter\n")


def test_a_figure_that_was_not_measured_is_named():
    with pytest.raises(InputError, match="the figure bench / 5 s / speed"):
        with_figures("<!-- figure: bench / 5 s / speed -->1.5", FACTS)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"key": "xyz 1000", "facts": {"commit": "1234567"}}, "of the weights xyz, not abc"),
        ({"key": "abc 1000", "facts": {"commit": "1234567+"}}, "by code that no commit has"),
        ({"key": "abc 5", "facts": {"commit": "1234567"}}, "not what evaluation.json says"),
    ],
)
def test_parts_of_other_weights_or_of_no_commit_are_refused(tmp_path: Path, part: dict, message: str):
    (tmp_path / "objects.json").write_text(json.dumps({"key": "abc 1000", "facts": {"commit": "1234567"}}))
    facts = {"model": "nano", "objects": {"commit": "1234567"}}
    check_parts(tmp_path, "abc", facts)
    (tmp_path / "pairs.json").write_text(json.dumps(part))
    told = part["facts"] if "1000" in part["key"] else part["facts"] | {"prompts": 1_000}
    with pytest.raises(InputError, match=message):
        check_parts(tmp_path, "abc", facts | {"pairs": told})


def test_parts_that_were_measured_in_other_ways_are_not_put_together():
    old = FACTS | {"bench": {}, "objects": FACTS["objects"] | {"how": "1000 20"}}
    old["reconstruction"] = FACTS["reconstruction"] | {"how": "1000 20"}
    new = {name: FACTS[name] for name in ("digest", "command", "commit", "machine")} | {"bench": {}}
    same = with_kept(new | {"distribution": {"how": "1000 20 of animals, objects"}}, old)
    assert same["distribution"]["how"] == "1000 20 of animals, objects"
    with pytest.raises(InputError, match="in several ways"):
        with_kept(new | {"objects": FACTS["objects"] | {"how": "5 1"}}, old)


def test_the_page_has_a_section_for_every_part_in_order():
    text = page(FACTS, {"reconstruction": "| B |", "objects": "| A |", "of another time": "| C |"})
    assert text.index("## objects\n\n| A |") < text.index("## reconstruction\n\n| B |")
    assert "of another time" not in text
    assert "weights `abc`, at commit 1234567" in text


def test_what_each_parser_alone_reads_in_real_renders_is_said():
    alone = {
        "colour": [SCORES["colour"], SCORES["colour"] | {"right": 10}],
        "shape": [{"right": 0, "total": 0}],
    }
    columns = {name: {"scores": SCORES, "parsers_alone": alone} for name in ("real render", "nano")}
    short = shortened(FACTS | {"objects": {"columns": columns, "prompts": 10}})
    assert short["objects"]["columns"] == {
        "real render": {"scores": SCORES, "parsers_alone": alone},
        "nano": {"scores": SCORES},
    }
    text = page(short, {"objects": "| A |"})
    assert "| objects | colour | 10 | 90.0% [60%, 98%] | 100.0% [72%, 100%] |\n" in text
    assert "| objects | shape |" not in text
    assert sections(page(short, sections(text)))["objects"] == "| A |", "nothing piles up"
    assert page(short, sections(text)) == text


def test_what_was_not_measured_again_stays_with_its_commit():
    old = FACTS | {"bench": {"5 s": 1, "60 s": 2}, "edits": {"loop": 3, "commit": "2222222"}}
    new = {
        "digest": "abc",
        "command": "unstatic eval nano --suite remixes -o report",
        "commit": "3333333",
        "machine": "a machine",
        "remixes": {"columns": {}, "commit": "3333333"},
        "edits": {"loop": 4, "commit": "3333333"},
        "bench": {"60 s": 5},
    }
    both = with_kept(new, old)
    assert list(both)[-5:] == ["objects", "edits", "remixes", "reconstruction", "bench"]
    assert both["edits"] == {"loop": 4, "commit": "3333333"}
    assert both["objects"] == FACTS["objects"] | {"commit": "1234567"}
    assert both["bench"] == {"60 s": 5}
    assert with_kept(new | {"bench": {}}, old)["bench"] == {"5 s": 1, "60 s": 2}
    assert both["command"] == FACTS["command"]
    assert commits(both) == "1234567 (edits, remixes: 3333333)"
    with pytest.raises(InputError, match="of the weights abc"):
        with_kept(new | {"digest": "xyz"}, old)
    with pytest.raises(InputError, match="of a machine: measure"):
        with_kept(new | {"machine": "another"}, old)


def test_the_tables_of_a_page_are_found_again():
    parts = {"objects": "| A |\n|---|\n\n| more |", "reconstruction": "| B |"}
    assert sections(page(FACTS, parts)) == parts
