"""Audio: the style's envelopes and modulations on the content's events, within full scale, at any rate and width."""

import numpy as np
import pytest
import soundfile
from scipy.signal import butter, sosfilt

from nst_nd import Style, stylize
from nst_nd.domains.metrics.signals import audio_metrics, texture_metrics
from nst_nd.errors import InputError
from nst_nd.io import load, save
from nst_nd.sample import Grid, Sample

RATE = 16000.0


def sound(data, rate=RATE):
    return Sample(np.atleast_2d(data).astype(np.float32), "audio", "full scale", Grid((1.0 / rate,), "s", rate))


def tapping(seconds=4.0, rate=RATE, seed=0, nc=1):
    """Decaying notes at uneven times: events that must stay."""
    draw = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    out = np.zeros((nc, time.size))
    starts = np.arange(0.1, seconds - 0.2, 0.31)
    for start in starts + 0.1 * draw.random(starts.size):
        after = np.maximum(time - start, 0.0)
        tone = np.sin(2 * np.pi * draw.choice([220.0, 330.0, 440.0, 660.0]) * after)
        out += 0.3 * draw.random((nc, 1)) * tone * np.exp(-after / 0.12) * (time >= start)
    return sound(out + 1e-4 * draw.standard_normal(out.shape), rate)


def surf(seconds=4.0, rate=RATE, seed=1, nc=1):
    """Noise of low frequencies that swells three times a second."""
    draw = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    noise = sosfilt(
        butter(2, [100.0, 1500.0], "bandpass", fs=rate, output="sos"), draw.standard_normal((nc, time.size))
    )
    return sound(0.1 * noise / noise.std() * (1.0 + 0.7 * np.sin(2 * np.pi * 3.0 * time)), rate)


def test_the_styles_envelopes_on_the_contents_events():
    content, style = tapping(), surf()
    found = {}
    for method in ("spectral", "both"):
        result = stylize(content, style, method=method, iterations=30)
        found[method] = audio_metrics(content, style, result.sample)
        assert result.sample.grid == content.grid
        assert np.abs(result.sample.data).max() < 1.0
    assert found["both"]["envelope_distance_after"] < 0.6 * found["both"]["envelope_distance_before"]
    # what a filter cannot do
    assert found["both"]["envelope_distance_after"] < 0.6 * found["spectral"]["envelope_distance_after"]
    assert found["both"]["onset_correlation"] > 0.5
    assert found["both"]["style_correlation"] < 0.4
    assert found["spectral"]["spectrum_distance_after"] < 0.6 * found["spectral"]["spectrum_distance_before"]


def test_a_texture_is_the_styles_and_no_copy():
    style = surf(3.0)
    result = stylize(None, style, size=(round(5 * RATE),), iterations=30).sample
    found = texture_metrics(style, result)
    assert found["log_spectral_distance_after"] < 3.0
    assert found["style_correlation"] < 0.5
    assert np.abs(result.data).max() < 1.0


@pytest.mark.parametrize(
    ("ours", "theirs", "nc", "said"),
    [
        (8000.0, 96000.0, (1, 1), "resampled from 96000 Hz"),
        (48000.0, 8000.0, (1, 1), "above 3800 Hz the style has nothing"),
        (RATE, RATE, (1, 6), "mixed from 6 channels"),
        (RATE, RATE, (6, 1), "mixed from 1 channels to the content's 6"),
    ],
)
def test_rates_and_channels_may_differ_and_it_says_so(ours, theirs, nc, said):
    content, style = tapping(0.9, ours, nc=nc[0]), surf(1.1, theirs, nc=nc[1])
    result = stylize(content, style, iterations=2)
    assert any(said in note for note in result.notes)
    assert result.sample.data.shape == content.data.shape
    assert result.sample.grid.rate == ours


def test_what_the_style_was_not_sampled_for_stays():
    content, style = tapping(1.0, 48000.0), surf(1.0, 8000.0)
    change = stylize(content, style, iterations=4).sample.data[0] - content.data[0]
    power = np.abs(np.fft.rfft(change)) ** 2
    f = np.fft.rfftfreq(change.size, 1 / 48000.0)
    assert power[f > 4200].max() < 1e-4 * power[f < 3500].max()


def test_a_clipped_recording_is_named_and_not_made_worse():
    loud = tapping(1.0)
    clipped = loud.replace(data=np.clip(loud.data * 20.0, -1.0, 1.0).astype(np.float32))
    result = stylize(clipped, surf(1.0), iterations=2)
    assert any("the content has" in note and "at full scale" in note for note in result.notes)
    assert audio_metrics(clipped, surf(1.0), result.sample)["clipped"] == 0.0


def test_a_mask_keeps_what_it_covers():
    content, style = tapping(1.0), surf(1.0)
    keep = np.ones((1, content.shape[0]), np.float32)
    keep[:, 5000:9000] = 0.0
    mask = content.replace(data=keep, channels=())
    for method in ("spectral", "both", "features"):
        result = stylize(content, style, mask=mask, method=method, iterations=2).sample.data
        np.testing.assert_array_equal(result[:, 5000:9000], content.data[:, 5000:9000])
        assert not np.array_equal(result, content.data)


def test_a_start_from_elsewhere_is_kept_where_nothing_is_done():
    content, style, other = tapping(1.0), surf(1.0), surf(1.0, seed=9)
    result = stylize(content, style, init=other, iterations=0, method="both").sample
    assert np.corrcoef(result.data[0], other.data[0])[0, 1] > 0.99


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_silent_or_constant_style_is_refused(value):
    with pytest.raises(InputError, match="constant"):
        stylize(tapping(0.5), sound(np.full(4000, value)))


def test_channels_that_cancel_are_named():
    wave = surf().data[:1]
    both = np.concatenate([wave, -wave])
    with pytest.raises(InputError, match="cancel when they are mixed"):
        stylize(tapping(), sound(both, RATE), iterations=1)


@pytest.mark.parametrize("method", ["spectral", "both"])
def test_no_step_changes_nothing_by_any_method(method):
    content = tapping()
    assert (stylize(content, surf(), iterations=0, method=method).sample.data == content.data).all()


def test_one_sample_is_refused():
    with pytest.raises(InputError, match="need at least"):
        stylize(sound(np.array([0.1])), surf(0.5))


def test_a_sound_that_is_cut_off_gets_no_click():
    time = np.arange(round(2 * RATE)) / RATE
    content = sound(
        0.3 * np.sin(2 * np.pi * 217.3 * time + 1.0) + 1e-4 * np.random.default_rng(0).standard_normal(time.size)
    )
    bright = sound(0.1 * np.random.default_rng(1).standard_normal(time.size))
    result = stylize(content, bright, method="spectral").sample.data[0]
    fast = np.abs(np.diff(result, 2))
    assert max(fast[:200].max(), fast[-200:].max()) < 1.5 * fast[2000:-2000].max()


@pytest.mark.parametrize("hertz", [217.3, 440.0])
def test_a_tone_up_to_both_ends_is_not_turned_down_for_a_click(hertz):
    time = np.arange(round(2 * RATE)) / RATE
    content = sound(0.3 * np.sin(2 * np.pi * hertz * time))
    noise = sound(0.1 * np.random.default_rng(1).standard_normal(time.size))
    result = stylize(content, noise, method="spectral").sample.data[0]
    # at the ends it is the content
    assert np.abs(result).max() < 0.5


def test_a_style_mask_counts_for_the_equaliser():
    time = np.arange(round(2 * RATE)) / RATE
    hiss = np.random.default_rng(0).standard_normal(time.size)
    low = sosfilt(butter(4, 500.0, fs=RATE, output="sos"), hiss)
    style = sound(np.concatenate([0.2 * low, 0.1 * hiss]))
    weight = np.zeros((1, style.shape[0]), np.float32)
    weight[:, : time.size] = 1.0
    masked = Style(style, mask=style.replace(data=weight, channels=()))
    share = []
    for one in (style, masked, sound(0.2 * low)):
        result = stylize(tapping(2.0), one, method="spectral").sample.data[0]
        power = np.abs(np.fft.rfft(result)) ** 2
        share.append(power[power.size // 4 :].sum() / power.sum())
    # a window may reach a little beyond the mask
    assert share[2] < share[1] < 0.02 * share[0]


def test_nothing_new_at_full_scale_in_8_bits(tmp_path):
    loud = tapping(1.0)
    loud = loud.replace(data=np.clip(loud.data * 20.0, -1.0, 1.0).astype(np.float32))
    result = stylize(loud, surf(1.0), iterations=3).sample
    soundfile.write(tmp_path / "in.wav", loud.data.T, int(RATE), "PCM_U8")
    content = load(tmp_path / "in.wav")
    save(content.replace(data=result.data), tmp_path / "out.wav")
    stored = [load(tmp_path / name).data for name in ("in.wav", "out.wav")]
    full = [(np.round(x * 128) >= 127) | (np.round(x * 128) <= -128) for x in stored]
    assert not (full[1] & ~full[0]).any()
