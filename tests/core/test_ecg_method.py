"""ECG: beats stay as they are, and the rest becomes the style's."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

import nst_nd
from nst_nd import Grid, Sample
from nst_nd.domains.beats import beats_of, median_beat, r_peaks, synchronous
from nst_nd.domains.metrics.ecg import ecg_metrics, intervals
from nst_nd.errors import InputError

RATE = 360.0
NAMES = ("I", "II", "III", "aVR", "aVL", "aVF", "V2")
# how large P, Q, R, S and T are: mV, places and widths in s about R
WAVES = ((0.12, -0.17, 0.02), (-0.1, -0.035, 0.01), (1.0, 0.0, 0.011), (-0.2, 0.035, 0.011), (0.3, 0.26, 0.045))


def beat(time, scale=1.0, wide=1.0):
    return scale * sum(a * np.exp(-0.5 * ((time - t * wide) / (s * wide)) ** 2) for a, t, s in WAVES)


def limbs(one, two):
    return np.stack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2])


def recording(seed, noise=0.01, slope=1.0, seconds=24.0, rate=RATE, ectopic=(), rr=0.82):
    """mV, seven leads that follow Einthoven's law; noise: sd of the rest, with a power that falls with frequency."""
    draw = np.random.default_rng(seed)
    n = round(seconds * rate)
    time = np.arange(n) / rate
    places = np.cumsum(rr + 0.03 * draw.standard_normal(round(seconds / rr) + 2)) - 0.3
    places = places[(places > 0.1) & (places < seconds - 0.1)]
    base = sum(
        beat(time - t, -0.9 if i in ectopic else 1.0, 2.2 if i in ectopic else 1.0) for i, t in enumerate(places)
    )
    f = np.fft.rfftfreq(n, 1 / rate)
    shape = np.where((f > 0.3) & (f < 60), np.maximum(f, 0.3) ** (-slope), 0.0)
    rest = np.fft.irfft(np.fft.rfft(draw.standard_normal((3, n))) * shape, n)
    rest *= noise / rest.std()
    data = np.concatenate([limbs(0.7 * base + rest[0], base + rest[1]), (-0.6 * base + rest[2])[None]])
    grid = Grid((1 / rate,), "s", rate)
    return Sample(data.astype(np.float32), "ecg", "mV", grid, NAMES), np.round(places * rate).astype(int)


@pytest.mark.parametrize("rate", [250.0, 360.0, 1000.0])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_r_peaks_are_where_they_were_put(rate, noise):
    sample, places = recording(0, noise, rate=rate)
    found = r_peaks(sample)
    inner = places[(places > 0.2 * rate) & (places < sample.shape[0] - 0.2 * rate)]
    assert len(found) >= len(inner)
    assert max(np.abs(found - p).min() for p in inner) <= 0.008 * rate


def test_a_detector_that_wavers_between_waves_is_made_to_agree():
    sample, places = recording(0, 0.02)
    deep = sample.replace(data=sample.data * np.array([1, 1, 1, 1, 1, 1, 2.2], np.float32)[:, None])
    apart = [found - places[np.abs(places - found).argmin()] for found in r_peaks(deep)]
    assert np.ptp(apart) <= 3


def test_ectopic_beats_are_like_no_other():
    sample, places = recording(0, 0.02, ectopic=(5, 11, 12))
    beats = beats_of(sample)
    odd = beats.peaks[~beats.alike]
    assert len(odd) == 3
    assert all(np.abs(odd - places[i]).min() < 0.12 * RATE for i in (5, 11, 12))


def test_what_is_drawn_is_the_beat_and_what_is_synchronous_is_found():
    sample, _ = recording(0, 0.0)
    beats = beats_of(sample)
    rest = sample.data - beats.drawn(sample.shape[0])
    assert rest[:, 200:-200].std() < 0.05 * sample.data.std()
    added = replace(beats, median=0.1 * beats.median).drawn(sample.shape[0])
    noise = gaussian_filter1d(np.random.default_rng(0).standard_normal(added.shape), 2.0, axis=1) * 0.01
    left = added + noise - synchronous(added + noise, beats)
    assert np.abs(median_beat(left, beats)).max() < 0.01 < 0.05 < np.abs(added).max()


def test_beats_of_one_lead_are_aligned_in_noise_as_without_it():
    clean, _ = recording(0, 0.0, rate=1000.0)
    one = clean.replace(data=clean.data[1:2], channels=("II",))
    white = np.random.default_rng(4).standard_normal(one.data.shape)
    noise = 0.02 * white / white.std()
    noisy = one.replace(data=(one.data + noise).astype(np.float32))
    left = noisy.data - beats_of(noisy).drawn(noisy.shape[0])

    def qrs(data):
        waves = np.abs(np.fft.rfft(data[0] * np.hanning(data.shape[1]))) ** 2
        f = np.fft.rfftfreq(data.shape[1], 1e-3)
        return float(waves[(f > 8) & (f < 30)].mean())

    # what badly aligned beats leave lies there
    assert qrs(left) < 1.2 * qrs(noise)


@pytest.mark.parametrize("method", ["spectral", "both"])
@pytest.mark.parametrize(
    ("own", "goal"),
    [((0.01, 1.0, RATE), (0.06, 0.3, 1000.0)), ((0.06, 0.3, 1000.0), (0.01, 1.0, RATE))],
    ids=["noisier", "cleaner"],
)
def test_the_rest_becomes_the_styles_and_beats_stay(method, own, goal):
    (content, _), (style, _) = (
        recording(i, noise, slope, rate=rate, rr=0.82 - 0.1 * i) for i, (noise, slope, rate) in enumerate((own, goal))
    )
    result = nst_nd.stylize(content, style, method=method, iterations=12)
    found = ecg_metrics(content, style, result.sample)
    assert found["residual_distance_after"] < 0.3 * found["residual_distance_before"]
    assert found["r_peaks_lost"] < 0.01
    assert found["r_shift_ms"] <= 8
    assert found["beat_correlation"] > 0.98
    assert found["beat_gain"] == pytest.approx(1.0, abs=0.05)
    assert found["qrs_change_ms"] <= 10
    assert found["qt_change_ms"] <= 20
    assert found["st_change_mv"] <= 0.05
    assert found["limb_law_mv"] < 1e-4
    steps = np.abs(np.diff(result.sample.data - content.data, axis=1))
    assert max(steps[:, :3].max(), steps[:, -3:].max()) < 1.5 * np.percentile(steps, 99.9)  # no spike at the ends
    limb = result.sample.data[:6].astype(np.float64)
    assert np.abs(limb - limbs(limb[0], limb[1])).max() < 1e-3


def test_bursts_of_the_style_come_in_bursts():
    (content, _), (style, _) = recording(0, 0.005), recording(1, 0.05, 0.2)
    time = np.arange(style.shape[0]) / RATE
    loud = np.where(time % 6.0 < 2.0, 1.7, 0.15)
    beats = beats_of(style)
    drawn = beats.drawn(style.shape[0])
    style = style.replace(data=(drawn + (style.data - drawn) * loud).astype(np.float32))
    change = nst_nd.stylize(content, style, method="spectral").sample.data - content.data

    def unevenness(x):
        power = gaussian_filter1d(np.mean(x.astype(np.float64) ** 2, axis=0), 0.4 * RATE)
        return power.std() / power.mean()

    assert unevenness(change) > 0.5 > 2 * 0.2 > unevenness(np.random.default_rng(0).standard_normal(change.shape))


def test_ectopic_beats_a_mask_and_seeds():
    content, _ = recording(0, 0.05, ectopic=(6,))
    style, _ = recording(1, 0.005)
    first, again, other = (nst_nd.stylize(content, style, method="spectral", seed=s).sample for s in (0, 0, 1))
    assert first.data.tobytes() == again.data.tobytes() != other.data.tobytes()
    beats = beats_of(content)
    (odd,) = beats.peaks[~beats.alike]
    near = slice(odd - 20, odd + 60)
    both = nst_nd.stylize(content, style, iterations=3).sample
    for found in (first, both):
        assert np.abs(found.data[:, near] - content.data[:, near]).max() < 2e-3
        assert found.data.std() < content.data.std()
    mask = Sample(np.ones((1, *content.shape), np.float32), "ecg", "share", content.grid)
    mask.data[:, :3000] = 0.0
    masked = nst_nd.stylize(content, style, method="spectral", mask=mask).sample
    assert np.array_equal(masked.data[:, :3000], content.data[:, :3000])
    assert not np.array_equal(masked.data[:, 3000:], content.data[:, 3000:])


def test_a_recording_without_beats_is_refused_or_left_to_features():
    grid = Grid((1 / RATE,), "s", RATE)
    noise = Sample(np.random.default_rng(0).standard_normal((2, 600)).astype(np.float32), "ecg", "mV", grid)
    style, _ = recording(1)
    style = style.replace(data=style.data[:2], channels=())
    with pytest.raises(InputError, match="beats alike in the content"):
        nst_nd.stylize(noise, style, method="spectral")
    result = nst_nd.stylize(noise, style, iterations=1)
    assert any("features alone" in note for note in result.notes)


def test_metrics_of_known_changes():
    content, _ = recording(0, 0.01)
    same = ecg_metrics(content, content, content)
    assert same["r_peaks_lost"] == same["r_shift_ms"] == same["st_change_mv"] == same["residual_distance_after"] == 0.0
    assert same["beat_gain"] == pytest.approx(1.0)
    louder = ecg_metrics(content, content, content.replace(data=content.data * np.float32(1.2)))
    assert louder["beat_gain"] == pytest.approx(1.2, rel=1e-3)
    assert louder["beat_correlation"] == pytest.approx(1.0, abs=1e-4)
    late = content.replace(data=np.roll(content.data, 6, axis=1))
    assert ecg_metrics(content, content, late)["r_shift_ms"] == pytest.approx(1000 * 6 / RATE, abs=1.0)
    assert ecg_metrics(content, content, late)["rr_rmse_ms"] == pytest.approx(0.0, abs=1.5)
    lawless = content.replace(data=content.data.copy())
    lawless.data[2, 500] += 0.3
    assert ecg_metrics(content, content, lawless)["limb_law_mv"] == pytest.approx(0.3, abs=1e-3)
    half = content.replace(data=content.data.copy())
    half.data[:, half.shape[0] // 2 :] = 0.0
    assert ecg_metrics(content, content, half)["r_peaks_lost"] == pytest.approx(1 / 3, abs=0.06)


@pytest.mark.parametrize("rate", [360.0, 500.0, 1000.0])
def test_intervals_of_a_known_beat(rate):
    time = np.arange(round(0.75 * rate)) / rate - 0.27

    def of(scale, stretch=1.0):
        shape = beat(time, scale, stretch)[None] * np.array([[1.0], [0.5]])
        return intervals(shape, round(0.27 * rate), rate)

    plain, small, wide = of(1.0), of(0.3), of(1.0, 1.3)
    # from Q to S, with about two widths of each
    assert 90 < plain.qrs_ms < 125
    # a Gaussian's steepest tangent meets 0 two widths after its top
    assert plain.qt_ms == pytest.approx(plain.qrs_ms / 2 + 1000 * (0.26 + 2 * 0.045), abs=20)
    assert small.qrs_ms == pytest.approx(plain.qrs_ms, abs=1000 / rate)
    assert wide.qrs_ms == pytest.approx(1.3 * plain.qrs_ms, rel=0.2)
    assert wide.qt_ms == pytest.approx(1.3 * plain.qt_ms, rel=0.05)


def test_gaps_stay_and_nothing_is_made_of_them():
    content, _ = recording(1, 0.01)
    style, _ = recording(2, 0.08)
    whole = nst_nd.stylize(content, style, method="spectral").sample
    gaps = np.zeros(content.data.shape, bool)
    gaps[0, 3000:3700] = gaps[1, 3600:3900] = True
    broken = content.data.copy()
    broken[gaps] = 0.0
    holed = content.replace(data=broken, gaps=gaps)
    # a quarter of the style is gone: its noise must not pass for less
    theirs = np.zeros(style.data.shape, bool)
    theirs[:, 1000:3000] = True
    flat = style.replace(data=np.where(theirs, np.float32(0), style.data), gaps=theirs)
    for method in ("spectral", "both"):
        result = nst_nd.stylize(holed, flat, method=method, iterations=2).sample
        assert result.gaps is gaps
        np.testing.assert_array_equal(result.data[:, 3000:3900], broken[:, 3000:3900])
        changed = (result.data - broken)[:, :2800].std() / (whole.data - content.data)[:, :2800].std()
        assert 0.8 < changed < 1.25
    nothing = content.replace(
        gaps=np.eye(7, dtype=bool).repeat(content.shape[0] // 7 + 1, axis=1)[:, : content.shape[0]]
    )
    with pytest.raises(InputError, match="leave no sample"):
        nst_nd.stylize(nothing, style, method="spectral")


def test_beats_in_loud_noise_are_still_beats():
    content, places = recording(1, 0.08, slope=0.3)
    beats = beats_of(content)
    assert beats.alike.all()
    style, _ = recording(2, 0.015, slope=1.5)
    found = ecg_metrics(content, style, nst_nd.stylize(content, style, method="spectral").sample)
    assert found["residual_distance_after"] < 0.3 * found["residual_distance_before"]
    ectopic = beats_of(recording(1, 0.08, slope=0.3, ectopic=(5, 11))[0])
    unlike = ectopic.peaks[~ectopic.alike]
    assert len(unlike) == 2
    assert np.abs(unlike - places[[5, 11]]).max() < 0.2 * RATE


@pytest.mark.parametrize("where", ["content middle", "content ends", "style middle", "style ends"])
def test_a_gap_does_not_change_how_much_noise_there_is(where):
    content, style = recording(1, 0.002)[0], recording(2, 0.08)[0]
    n = content.shape[0]
    gap = np.zeros(content.data.shape, bool)
    for piece in [slice(n // 3, 2 * n // 3)] if "middle" in where else [slice(0, n // 6), slice(-n // 6, None)]:
        gap[:, piece] = True
    ours = content.replace(gaps=gap) if "content" in where else content
    theirs = style.replace(gaps=gap) if "style" in where else style
    change = nst_nd.stylize(ours, theirs, method="spectral").sample.data - content.data
    whole = nst_nd.stylize(content, style, method="spectral").sample.data - content.data
    seen = ~gap if "content" in where else np.ones_like(gap)
    assert change[seen].std() == pytest.approx(whole.std(), rel=0.25)  # slow waves are few
    # and no quiet stretch where the style has its gap
    pieces = [
        c[s].std() for c, s in zip(np.array_split(change, 8, 1), np.array_split(seen, 8, 1), strict=True) if s.any()
    ]
    assert min(pieces) > 0.4 * max(pieces)


def test_a_constant_part_stays_whatever_it_is():
    content, style = recording(1, 0.01)[0], recording(2, 0.08)[0]
    raised = content.replace(data=content.data + np.float32(20.0))
    mask = content.replace(data=np.ones((1, content.shape[0]), np.float32), channels=())
    mask.data[:, 3000:4000] = 0.0
    for method in ("spectral", "both"):
        result = nst_nd.stylize(raised, style, method=method, mask=mask, iterations=5).sample.data
        change = result - raised.data
        assert np.abs(np.median(change, axis=1)).max() < 0.1
        assert np.abs(change).max() < 1.0


def test_the_rest_is_measured_where_it_was_recorded():
    content, style = recording(1, 0.01)[0], recording(2, 0.08)[0]
    whole = ecg_metrics(content, style, content)["residual_distance_before"]
    gap = np.zeros(content.data.shape, bool)
    gap[:, 2000:5000] = True
    bridged = style.data.copy()
    bridged[:, 2000:5000] = 0.0
    holed = ecg_metrics(content, style.replace(data=bridged, gaps=gap), content)["residual_distance_before"]
    assert holed == pytest.approx(whole, abs=1.0)
