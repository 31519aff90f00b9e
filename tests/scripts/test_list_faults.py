"""Every numbered fault has its test, and the page that lists them is today's."""

import pytest
from list_faults import FAULTS, ON_BOTH, OPEN, PAGE, Tests, collected, page

NUMBERS = [number for faults in FAULTS.values() for number in faults]


@pytest.fixture(scope="module")
def tests() -> Tests:
    return collected()


def test_all_are_numbered_once():
    assert sorted(NUMBERS) == list(range(1, 48))


@pytest.mark.parametrize("number", sorted({*NUMBERS} - {*OPEN}))
def test_a_fault_has_a_test(tests: Tests, number: int):
    assert tests[number]
    if number in ON_BOTH:
        assert set().union(*tests[number].values()) == {"sqlite", "postgresql"}


@pytest.mark.parametrize("number", sorted(OPEN))
def test_what_has_a_test_is_not_called_open(tests: Tests, number: int):
    assert not tests[number]


def test_the_page_is_what_there_is(tests: Tests):
    assert PAGE.read_text(encoding="utf-8") == page(tests)
