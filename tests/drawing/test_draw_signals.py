"""ECG on paper and sounds: scales, parts of recordings, gaps, and signals of one sample."""

import numpy as np
import pytest
from drawing_helpers import audio, ecg, inches

from nst_nd import drawing
from nst_nd.drawing.picture import MM_PER_INCH
from nst_nd.errors import ConfigError
from nst_nd.sample import Grid, Sample


def leads_of(figure):
    return [axes for axes in figure.axes if axes.lines]


@pytest.mark.parametrize("peak", [1.0, 3.0, 6.0])
def test_paper_is_to_scale(peak):
    sample = ecg(peak=peak)
    figure = drawing.comparison(sample, [sample], sample)
    assert len(figure.axes) == 3 * sample.nc
    for axes in figure.axes:
        _, _, width, height = (value * MM_PER_INCH for value in inches(figure, axes))
        assert width / np.diff(axes.get_xlim())[0] == pytest.approx(25.0)
        assert height / np.diff(axes.get_ylim())[0] == pytest.approx(10.0)
        shown = axes.lines[-1].get_ydata()
        assert axes.get_ylim()[0] < shown.min()
        assert shown.max() < axes.get_ylim()[1]
    assert "25 mm/s, 10 mm/mV   0 to 5 s" in [text.get_text() for text in figure.texts]


def test_squares_are_of_one_and_five_millimetres():
    figure = ecg().plot()
    vertical = [c for c in figure.axes[0].collections if c.get_segments()[0][0][0] == c.get_segments()[0][1][0]]
    steps = [np.diff([s[0][0] for s in c.get_segments()]) for c in vertical]
    assert steps[0] == pytest.approx(0.04)
    assert steps[1] == pytest.approx(0.2)


def test_gaps_are_not_drawn():
    gaps = np.zeros((2, 1500), bool)
    gaps[1, 100:200] = True
    figure = ecg(peak=3.0).replace(gaps=gaps).plot()
    drawn = figure.axes[1].lines[-1].get_ydata()
    assert np.isnan(drawn[100:200]).all()
    assert np.isfinite(np.delete(drawn, slice(100, 200))).all()
    assert ecg().replace(gaps=np.ones((2, 1500), bool)).plot().png(dpi=30)


def test_twelve_leads_stand_in_two_columns():
    figure = ecg(leads=12).plot()
    lefts = [round(inches(figure, axes)[0], 3) for axes in figure.axes]
    assert lefts == [lefts[0]] * 6 + [lefts[6]] * 6
    assert lefts[0] != lefts[6]
    assert figure.axes[11].texts[0].get_text() == "lead 12"


def test_part_of_a_recording():
    sample = ecg(seconds=20.0)
    axes = sample.plot(start=7.0, seconds=2.0).axes[0]
    assert axes.get_xlim() == (7.0, 9.0)
    np.testing.assert_array_equal(axes.lines[-1].get_ydata(), sample.data[0, 1750:2250])
    for plot in (sample.plot, audio().plot):
        with pytest.raises(ConfigError, match="start: got 30 s; allowed: less than the"):
            plot(start=30.0)
        for start, seconds in ((-1.0, None), (float("nan"), None), (0.0, 0.0), (0.0, float("inf"))):
            with pytest.raises(ConfigError, match="allowed: "):
                plot(start=start, seconds=seconds)
    with pytest.raises(ConfigError, match="allowed on paper: up to 30"):
        sample.plot(seconds=31.0)


def test_a_fast_recording_keeps_its_peaks():
    data = np.zeros((1, 1_000_000), np.float32)
    data[0, 123_456] = 2.0
    drawn = Sample(data, "ecg", "mV", Grid((5e-6,), "s", 200_000.0)).plot().axes[0].lines[-1]
    assert drawn.get_ydata().size < 10_000
    assert drawn.get_xdata()[np.argmax(drawn.get_ydata())] == pytest.approx(123_456 / 200_000, abs=0.003)


@pytest.mark.parametrize("amplitude", [0.2, 1.0])
def test_sound_is_a_wave_over_a_spectrogram(amplitude):
    figure = audio(amplitude=amplitude).plot()
    wave, picture, scale = figure.axes
    assert wave.get_xlim() == picture.get_xlim() == (0.0, 1.0)
    assert picture.get_ylim() == (0.0, 8.0)
    assert (picture.get_xlabel(), picture.get_ylabel()) == ("time (s)", "frequency (kHz)")
    assert (wave.get_ylabel(), scale.get_ylabel()) == ("of full scale", "dB of full scale")
    level = picture.images[0].get_array()
    left, right, bottom, top = picture.images[0].get_extent()
    assert (left, right, bottom, top) == (0.0, 1.0, 0.0, 8.0)
    row = int(np.argmax(level.mean(axis=1)))
    assert (row + 0.5) / level.shape[0] * top == pytest.approx(1.0, abs=0.04)
    assert level[row, level.shape[1] // 2] == pytest.approx(20 * np.log10(amplitude), abs=0.5)


def test_where_a_click_is_in_a_sound():
    data = np.zeros((1, 16000), np.float32)
    data[0, 4000] = 1.0
    picture = Sample(data, "audio", "full scale", Grid((1 / 16000,), "s", 16000.0)).plot().axes[1].images[0]
    loud = np.flatnonzero(picture.get_array().max(axis=0) > -80)
    assert (loud.mean() + 0.5) / picture.get_array().shape[1] == pytest.approx(0.25, abs=0.01)


def test_opposite_channels_do_not_cancel():
    sample = audio(nc=2)
    sample = sample.replace(data=sample.data * np.float32([[1.0], [-1.0]]))
    figure, mono = sample.plot(), audio().plot()
    np.testing.assert_allclose(figure.axes[1].images[0].get_array(), mono.axes[1].images[0].get_array(), atol=1e-3)


def test_all_sounds_have_the_same_scales():
    figure = drawing.comparison(audio(amplitude=0.1), [audio(rate=8000.0)], audio(0.5, amplitude=0.5))
    waves, pictures = figure.axes[:3], figure.axes[3:6]
    assert {axes.get_ylim() for axes in waves} == {(-0.525, 0.525)}
    assert {axes.get_ylim() for axes in pictures} == {(0.0, 4.0)}
    assert [axes.get_xlim()[1] for axes in pictures] == [1.0, 1.0, 0.5]


def test_a_start_behind_the_end_of_one_of_them():
    figure = drawing.drawn([("a", audio(0.5)), ("b", audio(2.0))], drawing.View(start=1.0))
    assert figure.axes[0].texts[0].get_text() == "ends before 1 s"
    assert figure.png(dpi=30)


def test_long_sounds_are_read_in_windows():
    data = np.broadcast_to(np.float32(0.1), (1, 48_000 * 600))
    sample = Sample(data, "audio", "full scale", Grid((1 / 48_000,), "s", 48_000.0))
    assert sample.plot().axes[1].images[0].get_array().shape[1] <= 1600


@pytest.mark.parametrize("samples", [1, 2, 7])
def test_signals_of_few_samples(samples):
    for kind, units in (("audio", "full scale"), ("ecg", "mV")):
        for rate in (100.0, None):
            sample = Sample(np.ones((1, samples), np.float32), kind, units, Grid((0.01,), "s", rate))
            assert sample.plot().png(dpi=30)[:4] == b"\x89PNG"


def test_silence_and_what_became_nan():
    assert audio(amplitude=0.0).plot().png(dpi=30)
    for sample in (audio(), ecg()):
        sample.data[0, 50:60] = np.nan
        assert sample.plot().png(dpi=30)


def test_a_part_of_a_sound_is_heard_with_what_is_around_it():
    """A steady tone has the same level at the ends of the part that is shown."""
    level = audio(2.0).plot(start=0.5, seconds=0.1).axes[1].images[0].get_array()
    loudest = level.max(axis=0)
    assert len(loudest) >= 40
    assert np.ptp(loudest) < 0.5
    lines = audio(2.0, nc=2).plot(start=0.5, seconds=0.1).axes[0].lines
    assert len(lines) == 2
    assert lines[0].get_xdata()[0] == pytest.approx(0.5, abs=1e-3)
