"""Pictures of signals: their scales, what they show, and what they refuse."""

import numpy as np
import pytest
from PIL import Image

from nst_nd import figures
from nst_nd.errors import ConfigError, OutputError
from nst_nd.sample import Grid, Sample


def ecg(seconds=6.0, rate=250.0, leads=2, peak=1.0):
    time = np.arange(round(seconds * rate)) / rate
    wave = peak * np.exp(-0.5 * (((time % 0.8) - 0.4) / 0.012) ** 2)
    data = np.stack([wave * (1 - 0.3 * i) for i in range(leads)]).astype(np.float32)
    return Sample(data, "ecg", "mV", Grid((1 / rate,), "s", rate), ("I", "II", "III")[:leads])


def audio(seconds=1.0, rate=16000.0):
    data = 0.2 * np.sin(2 * np.pi * 1000.0 * np.arange(round(seconds * rate)) / rate)
    return Sample(data[None].astype(np.float32), "audio", "full scale", Grid((1 / rate,), "s", rate))


def test_ecg_paper_is_to_scale(tmp_path):
    sample = ecg()
    figures.draw(sample, sample, sample, tmp_path / "paper.png")
    figure = figures.ecg_figure([("content", sample), ("style", sample), ("result", sample)])
    wide, high = figure.get_size_inches() * figures.MM_PER_INCH
    assert len(figure.axes) == 3 * sample.nc
    for axes in figure.axes:
        box = axes.get_position()
        seconds, millivolts = np.diff(axes.get_xlim())[0], np.diff(axes.get_ylim())[0]
        assert box.width * wide / seconds == pytest.approx(25.0)
        assert box.height * high / millivolts == pytest.approx(10.0)
        shown = axes.lines[-1].get_ydata()
        assert axes.get_ylim()[0] < shown.min()
        assert shown.max() < axes.get_ylim()[1]
    with Image.open(tmp_path / "paper.png") as picture:
        assert picture.size == tuple(round(mm / figures.MM_PER_INCH * figures.DPI - 0.5) for mm in (wide, high))


def test_tall_waves_get_taller_strips_and_gaps_are_not_drawn():
    gaps = np.zeros((2, 1500), bool)
    gaps[1, 100:200] = True
    tall = ecg(peak=3.0).replace(gaps=gaps)
    figure = figures.ecg_figure([("result", tall)])
    assert all(axes.get_ylim()[1] > 3.0 - 1.0 for axes in figure.axes)
    drawn = figure.axes[1].lines[-1].get_ydata()
    assert np.isnan(drawn[100:200]).all()
    assert np.isfinite(np.delete(drawn, slice(100, 200))).all()


@pytest.mark.parametrize("suffix", figures.SUFFIXES)
def test_sound_is_a_wave_over_a_spectrogram(suffix, tmp_path):
    figures.draw(None, audio(0.7), audio(), tmp_path / f"sound{suffix}")
    assert (tmp_path / f"sound{suffix}").stat().st_size > 5000
    figure = figures.audio_figure([("result", audio())])
    wave, picture = figure.axes
    assert wave.get_xlim() == (0.0, 1.0)
    level = picture.images[0].get_array()
    row = int(np.argmax(level.mean(axis=1)))
    assert row / level.shape[0] * 8000.0 == pytest.approx(1000.0, abs=40.0)
    assert level[row, level.shape[1] // 2] == pytest.approx(20 * np.log10(0.1), abs=1.0)


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(ConfigError, match=r"allowed: \.png, \.pdf, \.svg"):
        figures.draw(None, audio(), audio(), tmp_path / "sound.bmp")
    with pytest.raises(OutputError, match="make it first"):
        figures.draw(None, audio(), audio(), tmp_path / "none" / "sound.png")
    image = Sample(np.zeros((1, 4, 4), np.float32), "image", "full scale", Grid((1.0, 1.0), "px"))
    with pytest.raises(ConfigError, match="of kind image"):
        figures.draw(None, image, image, tmp_path / "image.png")
    short = audio(0.0005)
    figures.draw(short, short, short, tmp_path / "short.png")
    with pytest.raises(OutputError, match="exists already"):
        figures.draw(short, short, short, tmp_path / "short.png")
    figures.draw(short, short, short, tmp_path / "short.png", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["short.png"]
