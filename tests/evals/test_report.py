from pathlib import Path

import numpy as np

from unstatic.evals.report import ShownClip, best_rows, flat, to_html, to_markdown
from unstatic.media.write import write_animation

ATOMS = ("colour", "shape", "all")


def suite_facts(right: int, total: int, atoms: tuple[str, ...] = ATOMS) -> dict:
    scores = {atom: {"right": right, "total": total, "share": right / total} for atom in atoms}
    alone = {atom: [{"right": total, "total": total, "share": 1.0}] * 2 for atom in atoms}
    column = {"scores": scores, "parsers_alone": alone, "confusions": {}, "answers": []}
    return {
        "suite": "objects",
        "fingerprint": "0123456789abcdef",
        "prompts": total,
        "columns": {"real render": column, "nano <24> steps": column},
    }


FACTS = {
    "model": "nano",
    "steps": 24,
    "objects": suite_facts(90, 100),
    "animals": suite_facts(30, 60, ("animal", "motion", "all")),
    "held-out": suite_facts(10, 40),
    "possible": {"all": {"right": 21, "total": 24, "share": 0.875}},
    "reconstruction": {"whole": {"pooled": 31.234567, "per_clip": 33.0}, "lpips": None, "clips": [1, 2]},
}


def test_rows_add_up_the_suites_that_ask_and_keep_held_out_prompts_apart() -> None:
    rows = best_rows(FACTS)
    assert rows["colour"]["real render"].total == 100
    assert rows["motion"]["real render"].right == 30
    assert rows["all at once, objects and animals"]["nano <24> steps"].right == 120
    assert rows["all, held-out combinations"]["real render"].share == 0.25


def test_of_held_out_prompts_those_count_whose_unseen_pair_is_read() -> None:
    held_out = suite_facts(6, 30, ("unseen",))
    for column in held_out["columns"].values():
        column["scores"]["all"] = {"right": 10, "total": 40, "share": 0.25}
    row = best_rows(FACTS | {"held-out": held_out})["all, held-out combinations"]
    assert (row["real render"].right, row["real render"].total) == (6, 30)


def test_the_table_has_a_row_for_every_atom_and_its_aim() -> None:
    header, _, *rows = to_markdown(FACTS).splitlines()
    assert header == "| | real render | nano <24> steps | aim |"
    assert rows[0].startswith("| colour | 90.0%")
    assert rows[0].endswith("| 95% |")
    assert any(
        row.startswith("| all at once, objects and animals |") and row.endswith("| 55% |") for row in rows
    )
    assert to_markdown({"model": "nano"}) == ""


def test_columns_of_first_prompts_have_the_others_beside_them() -> None:
    whole, first = suite_facts(90, 100), suite_facts(11, 20)
    columns = {"real render": whole["columns"]["real render"]}
    columns["nano, 6 steps"] = whole["columns"]["real render"] | {
        "scores_of_first": {"20": {atom: {"right": 15, "total": 20, "share": 0.75} for atom in ATOMS}}
    }
    columns["nano, 32 steps"] = first["columns"]["real render"]
    header, _, *rows = to_markdown({"objects": whole | {"columns": columns}}).splitlines()
    assert header == (
        "| | real render | nano, 6 steps | nano, 6 steps, first 20 | nano, 32 steps, first 20 | aim |"
    )
    assert [each.split("%")[0] for each in rows[0].split(" | ")[1:5]] == ["90.0", "90.0", "75.0", "55.0"]


def test_a_suite_of_few_prompts_counts_whole_and_one_of_another_time_not_at_all() -> None:
    first = {atom: {"right": 15, "total": 20, "share": 0.75} for atom in ATOMS}
    long, short = (suite_facts(90, 100)["columns"]["real render"] for _ in range(2))
    long = long | {"scores_of_first": {"20": first}}
    facts = {
        "objects": suite_facts(90, 100) | {"columns": {"nano": long}},
        "held-out": suite_facts(5, 10) | {"columns": {"nano": suite_facts(5, 10)["columns"]["real render"]}},
        "held-out-words": suite_facts(90, 100) | {"columns": {"nano": short}},
    }
    rows = {row.split(" |")[0]: row for row in to_markdown(facts).splitlines()[2:]}
    assert rows["| colour"].startswith("| colour | 90.0% [83%, 94%] | 75.0%")
    few = rows["| all, held-out combinations"].split(" | ")
    assert few[1] == few[2]
    assert rows["| all, held-out words"].split(" | ")[2] == ""


def test_the_page_says_how_long_films_took() -> None:
    speed = {"nano": {"seconds_per_clip": 2.0, "film_seconds_per_second": 2.0}}
    page = to_html("What nano can do", {}, FACTS | {"objects": FACTS["objects"] | {"speed": speed}}, [])
    assert "nano 2.00 s, 2.00 s of film a second" in page


def test_the_page_has_all_parts_and_no_raw_angle_brackets(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    write_animation(tmp_path / "a.webp", frames, fps=16)
    clip = ShownClip(
        suite="objects", column="nano", picture=tmp_path / "a.webp", text="a <b>red</b> ball", right=False
    )
    page = to_html("What nano can do", {"commit": "abc1234"}, FACTS, [clip])
    for part in (
        "objects",
        "animals",
        "held-out",
        "possible",
        "reconstruction",
        "31.23",
        "abc1234",
        "data:image/webp",
    ):
        assert part in page, part
    assert "nano &lt;24&gt; steps" in page
    assert "a &lt;b&gt;red&lt;/b&gt; ball" in page
    assert page.count("<svg") == 2 * sum(
        len(FACTS[name]["columns"]["real render"]["scores"]) for name in ("objects", "animals", "held-out")
    )
    assert 'class="wrong"' in page
    assert page.index("<h2>possible") < page.index("<h2>reconstruction")


def test_films_without_edges_have_a_report_all_the_same() -> None:
    score = {"right": 0, "total": 1}
    curves = {"sharpness": [None, None], "colour": [0.0, 1.0], "motion": [0.5, 0.5]}
    maker = {
        "begins": score,
        "ends": score,
        "stays": score,
        "moves_alike": score,
        "sharpness_ratio": None,
        "colour_shift": 0.0,
        "motion_ratio": 1.0,
        "curves": curves,
    }
    page = to_html("soft", {}, {"minutes": {"fingerprint": "f", "makers": {"model": maker}}}, [])
    assert "width of edges, pixels, 0 to 0.0" in page
    assert "shift of colours, levels, 0 to 1.0" in page


def test_nested_facts_become_named_ones() -> None:
    assert flat(FACTS["reconstruction"]) == {
        "whole pooled": "31.23",
        "whole per_clip": "33",
        "lpips": "not computed",
    }
