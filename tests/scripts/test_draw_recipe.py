import json
import xml.etree.ElementTree as ElementTree

from draw_recipe import BARS, FIGURES, PICTURE, Panel, chart

PANELS = (Panel("one", "a", 0, 10, "{:.1f}"), Panel("two & more", "b", 0, 1, "{:.0%}"))


def test_every_change_has_a_bar_where_it_has_a_figure():
    drawn = ElementTree.fromstring(
        chart([{"change": "x", "a": 5.0}, {"change": "y", "a": 20.0, "b": 0.5}], PANELS)
    )
    space = "{http://www.w3.org/2000/svg}"
    bars = [
        float(each.attrib["width"]) for each in drawn.iter(f"{space}rect") if each.attrib["width"] != "100%"
    ]
    assert bars == [BARS / 2, BARS, BARS / 2]
    texts = [each.text for each in drawn.iter(f"{space}text")]
    assert texts == ["one", "x", "5.0", "y", "20.0", "two & more", "y", "50%"]


def test_the_picture_is_that_of_the_figures():
    changes = [json.loads(line) for line in FIGURES.read_text(encoding="utf-8").splitlines()]
    assert len(changes) >= 5
    assert PICTURE.read_text(encoding="utf-8") == chart(changes)
