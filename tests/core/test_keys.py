import pytest

from unstatic.core.errors import InputError
from unstatic.core.keys import KEY_VARIABLE, server_key


@pytest.mark.parametrize(("set_to", "key"), [(None, ""), ("", ""), (" sk-1_2 \n", "sk-1_2")])
def test_the_key_is_what_the_variable_holds(monkeypatch: pytest.MonkeyPatch, set_to: str | None, key: str):
    if set_to is None:
        monkeypatch.delenv(KEY_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(KEY_VARIABLE, set_to)
    assert server_key() == key


@pytest.mark.parametrize("broken", ["two words", "a\nb", "schl\u00fcssel"])
def test_what_no_header_carries_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, broken: str):
    monkeypatch.setenv(KEY_VARIABLE, broken)
    with pytest.raises(InputError, match="holds spaces or letters that no key has") as caught:
        server_key()
    assert broken not in str(caught.value)
