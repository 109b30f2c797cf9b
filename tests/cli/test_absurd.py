"""What a fuzzer found: values and rates that no signal has."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import soundfile
from conftest import QUICK


def test_values_beyond_what_can_be_squared(cli, here):
    volume = np.random.default_rng(0).normal(100, 30, (16, 16, 16)).astype(np.float32)
    volume[3, 3, 3] = 2e38
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), "wild.nii.gz")
    loud = np.random.default_rng(0).normal(0, 0.1, 4000)
    loud[7] = 1e30
    soundfile.write("loud.wav", loud, 8000, "FLOAT")
    for content, style, out in (("c.nii.gz", "wild.nii.gz", "o.nii.gz"), ("loud.wav", "s.wav", "o.wav")):
        ran = cli("stylize", content, style, "-o", out, *QUICK)
        assert ran.status == 3
        assert "values up to" in ran.err
        assert not Path(out).exists()


@pytest.mark.parametrize(("rate", "word"), [(2e9, "allowed: up to 1e+07 Hz"), (9e6, "more than 1000 times apart")])
def test_rates_that_nothing_has(cli, here, rate, word):
    soundfile.write("fast.wav", np.random.default_rng(0).normal(0, 0.1, 400), int(rate))
    ran = cli("stylize", "fast.wav", "s.wav", "-o", "o.wav", *QUICK)
    assert ran.status == 3
    assert word in ran.err
