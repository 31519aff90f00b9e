"""Make `.venv` and install unstatic into it, on Linux, macOS and Windows, with the standard library alone.

    python3 scripts/setup_environment.py                            # what `make video` needs
    python3 scripts/setup_environment.py --extras dev,train,world,server   # what `make test` needs

Versions come from constraints.txt, everything else from pip's own configuration (index, mirror, proxy).
On Linux PyTorch's default build brings gigabytes of CUDA libraries; without an NVIDIA GPU the CPU build
is taken instead, if the index that has it answers within three seconds.
"""

import argparse
import os
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CPU_INDEX_PATIENCE_S = 3.0
OLDEST_PYTHON = (3, 11)


def main():
    """Create or refresh the environment; leaves with one line and exit code 1 where that is impossible."""
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(f"unstatic needs Python 3.11 or newer, this is {sys.version.split()[0]} ({sys.executable})")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="folder of the environment")
    parser.add_argument("--extras", default="", help="optional parts, comma-separated, for example dev,world")
    arguments = parser.parse_args()

    python = create_environment(arguments.venv)
    install(python, [requirement("torch"), *torch_index()])
    install(python, ["--editable", f"{ROOT}[{arguments.extras}]" if arguments.extras else str(ROOT)])


def create_environment(folder):
    """Create the environment unless a working one is there; return the path of its Python."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not works(python):
        say(f"making {folder} with Python {sys.version.split()[0]}")
        try:
            venv.create(folder, with_pip=True, clear=True)
        except subprocess.CalledProcessError:
            shutil.rmtree(folder)
            sys.exit("this Python cannot make environments; on Debian and Ubuntu: apt install python3-venv")
    return python


def works(python):
    """Tell whether the environment's Python still starts, is new enough and has pip."""
    check = f"import sys, pip; sys.exit(sys.version_info < {OLDEST_PYTHON})"
    return python.is_file() and subprocess.run([python, "-c", check], check=False).returncode == 0


def requirement(name):
    """Return the pinned requirement of a package in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith(f"{name}=="))


def torch_index():
    """Choose where PyTorch comes from, and say so; return pip's options for it."""
    if not sys.platform.startswith("linux"):
        return []  # the default builds for macOS and Windows are small
    if has_nvidia_gpu():
        say("PyTorch: the default build, because an NVIDIA GPU is here")
        return []
    if not answers(f"{CPU_INDEX}/torch/", CPU_INDEX_PATIENCE_S):
        say(f"PyTorch: what pip's own index has, because {CPU_INDEX} does not answer")
        return []
    say(f"PyTorch: the CPU build from {CPU_INDEX}")
    # As an additional index, so that a mirror in the user's pip configuration stays in force. Of 2.13.0 and
    # 2.13.0+cpu pip takes the latter, for a local label counts as newer (PEP 440).
    return ["--extra-index-url", CPU_INDEX]


def has_nvidia_gpu():
    """Tell whether the NVIDIA driver lists a GPU."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return False
    listing = subprocess.run([command, "-L"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return listing.returncode == 0 and b"GPU" in listing.stdout


def answers(url, patience_s):
    """Tell whether `url` can be opened within `patience_s` seconds, name lookup and proxy included."""
    opened = threading.Event()

    def open_url():
        try:
            with urllib.request.urlopen(url, timeout=patience_s):
                opened.set()
        except (urllib.error.URLError, OSError):
            pass

    # A thread, because the time-out above does not cover the name lookup.
    thread = threading.Thread(target=open_url, daemon=True)
    thread.start()
    thread.join(patience_s)
    return opened.is_set()


def install(python, arguments):
    """Run pip with the constraints; leave with one line more than pip says when it fails."""
    say("pip install " + " ".join(map(str, arguments)))
    command = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    command += [] if sys.stderr.isatty() else ["--quiet"]
    command += ["--constraint", ROOT / "constraints.txt", *arguments]
    # All of it is progress, and stdout is for results.
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
        sys.exit("pip could not install the above; its messages say why")


def say(text):
    """Print a line of progress to stderr at once."""
    print(f"setup: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
