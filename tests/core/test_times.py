import pytest

from unstatic.core.times import seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1:30", 90),
        ("00:03", 3),
        ("0:03.25", 3.25),
        ("1:02:03.5", 3723.5),
        ("90:00", 5400),
        ("", None),
        ("1:5", None),
        ("1:60", None),
        ("1:2:03", None),
        ("-1", None),
        ("1e3", None),
        ("nan", None),
        ("1:30\n", None),
        ("\N{ARABIC-INDIC DIGIT ONE}", None),
    ],
)
def test_times_as_people_write_them(text: str, seconds: float | None):
    assert seconds_of(text) == seconds
