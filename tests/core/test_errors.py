import pytest

from unstatic.core.errors import InputError, UnstaticError


def test_the_users_mistakes_and_our_failures_leave_with_different_codes():
    assert UnstaticError("a").exit_code == 1
    assert InputError("a").exit_code == 2


def test_input_errors_are_value_errors():
    with pytest.raises(ValueError, match="size"):
        raise InputError("size")
