"""What every test may rely on: quiet threads, no network, a small moving clip."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from unstatic.core.memory import give_back_memory
from unstatic.core.threads import quiet_threads

quiet_threads()  # before torch comes in

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402
from jaxtyping import UInt8  # noqa: E402

os.environ["HF_HUB_OFFLINE"] = "1"

# Under nohup every process that tests start would ignore that its terminal closes.
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Processes of tests side by side share the cores.
torch.set_num_threads(
    max(1, torch.get_num_threads() // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
)

# The same examples in every run, however busy the machine is.
settings.register_profile("unstatic", deadline=None, derandomize=True, database=None)
settings.load_profile("unstatic")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that connects to anything but this machine."""
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else None
        if self.family != getattr(socket, "AF_UNIX", None) and host not in ("localhost", "127.0.0.1", "::1"):
            pytest.fail(f"a test tried to connect to {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect_here)


@pytest.fixture(autouse=True, scope="module")
def memory_of_its_own() -> Iterator[None]:
    """Let no file of tests leave memory behind: two thousand tests of every shape would fill the machine."""
    yield
    give_back_memory()


@pytest.fixture(autouse=True, scope="module")
def whole_packages() -> Iterator[None]:
    """Fail a file of tests that imports a module anew: a name then leads later tests to the wrong one."""
    yield
    torn = []
    for name, module in [each for each in sys.modules.items() if each[0].startswith("unstatic.")]:
        parent, _, child = name.rpartition(".")
        if getattr(sys.modules[parent], child, None) is not module:
            torn.append(name)
            setattr(sys.modules[parent], child, module)
    assert not torn, "imported anew and not given back"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sum in the order of the processes that torchrun starts: they have a thread each."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_frames() -> Callable[..., UInt8[np.ndarray, "t h w 3"]]:
    """Return a function that draws a clip: a red disc moves right over a smooth background."""

    def draw(num_frames: int, width: int = 64, height: int = 64) -> UInt8[np.ndarray, "t h w 3"]:
        rows, columns = np.mgrid[:height, :width]
        ramps = np.stack(
            [columns * 90 / width, 60 + rows * 120 / height, 200 - columns * 100 / width], axis=-1
        )
        frames = np.repeat(ramps.astype(np.uint8)[None], num_frames, axis=0)
        for number, frame in enumerate(frames):
            distance = np.hypot(rows - height / 2, columns - (width / 4 + number))
            frame[distance < height / 5] = (220, 30, 30)
        return frames

    return draw


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model with random weights, built like nano but tiny."""
    from unstatic.core.shapes import Compression, Size
    from unstatic.models.manifest import Manifest, SamplingDefaults, write_manifest
    from unstatic.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
    from unstatic.models.transformer import TransformerConfig, VideoTransformer
    from unstatic.models.weights import save_model

    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    transformer_config = TransformerConfig(
        in_channels=4,
        out_channels=4,
        width=48,
        depth=2,
        heads=2,
        ffn_width=64,
        text_width=384,
        frequency_width=16,
        chunk=4,
        anchors=True,
    )
    autoencoder_config = TinyAutoencoderConfig(
        latent_channels=4,
        encoder_widths=(8, 8, 8),
        encoder_blocks=(1, 1),
        decoder_widths=(8, 8, 8),
        decoder_blocks=(1, 1, 1),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = VideoTransformer(transformer_config)
        autoencoder = TinyAutoencoder(autoencoder_config)
        for parameter in transformer.parameters():  # a new transformer predicts zero whatever it reads
            torch.nn.init.normal_(parameter, std=0.2)
    save_model(folder / "transformer.safetensors", transformer, transformer_config, "transformer")
    save_model(folder / "autoencoder.safetensors", autoencoder, autoencoder_config, "tiny_autoencoder")
    manifest = Manifest(
        name="tiny",
        preset="none",
        summary="random weights",
        licence="Apache-2.0",
        text_encoder="minilm",
        prediction="x0",
        compression=Compression(time=4, space=8),
        chunk=4,
        sizes=(Size(32, 32), Size(48, 32)),
        fps=16,
        max_seconds=10.0,
        enlarge=2,
        max_enlarge=4,
        defaults=SamplingDefaults(steps=3, guidance=2.0, solver="euler", shift=1.5, history_sigma=0.1),
    )
    write_manifest(folder, manifest)
    return folder
