import subprocess
import sys

import numpy as np

from unstatic.media.enlarge import enlarge

RED, BLUE = (255, 0, 0), (0, 0, 255)


def test_enlarging_repeats_pixels_or_blends_them():
    frames = np.array([[[RED, BLUE]]], np.uint8)
    np.testing.assert_array_equal(enlarge(frames, 2), [[[RED, RED, BLUE, BLUE]] * 2])
    smooth = enlarge(frames, 4, "bicubic")
    assert smooth.shape == (1, 4, 8, 3)
    assert len(np.unique(smooth[0, 0, :, 0])) > 2


def test_reading_and_writing_files_does_not_import_torch():
    rooms = "unstatic.media.enlarge, unstatic.media.probe, unstatic.media.read, unstatic.media.write"
    code = f"import sys, {rooms}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
