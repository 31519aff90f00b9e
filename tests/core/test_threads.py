import os
import subprocess
import sys

import pytest

from unstatic.core.threads import quiet_threads


def test_threads_are_told_to_sleep(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    quiet_threads()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert os.environ["GOMP_SPINCOUNT"] == "0"


def test_the_users_own_setting_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    quiet_threads()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_torch_is_not_imported():
    code = "import sys, unstatic, unstatic.core.threads, unstatic.core.log; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
