"""What goes together and what does not: channels, rates, sizes, masks, textures, settings."""

import numpy as np
import pytest
from core_samples import MAKE, PRESETS, QUICK, audio, bits, ct, ecg, image, mask_of, volume

from nst_nd import Grid, Sample, Style, stylize
from nst_nd.domains.image import LUMA, ImageDomain
from nst_nd.domains.resolve import resolve
from nst_nd.errors import ConfigError, InputError, NstError

every_preset = pytest.mark.parametrize("preset", PRESETS)


def run(preset, content, style, **changes):
    return stylize(content, style, **{"preset": preset, **QUICK, "iterations": 2, **changes})


def test_a_gray_style_serves_a_colour_content():
    content, gray = image(3, seed=1), image(1, seed=2)
    result = run("image", content, gray)
    assert any("gray style" in note for note in result.notes)
    repeated = gray.replace(data=np.repeat(gray.data, 3, axis=0))
    assert bits(result.sample) == bits(run("image", content, repeated).sample)


def test_a_colour_style_serves_a_gray_content():
    content, colour = image(1, seed=1), image(3, seed=2)
    result = run("image", content, colour)
    assert result.sample.nc == 1
    assert any("luma" in note for note in result.notes)
    luma = colour.replace(data=np.tensordot(LUMA[None], colour.data, axes=1).astype(np.float32), channels=())
    np.testing.assert_allclose(result.sample.data, run("image", content, luma).sample.data, atol=1e-5)


MISMATCHED = (
    *(("image", image(a), image(b, seed=2)) for a, b in [(2, 3), (3, 4), (1, 2)]),
    *(("volume", volume(a), volume(b, seed=2)) for a, b in [(1, 2), (3, 1)]),
    ("ecg", ecg(2), ecg(3, seed=2)),
    ("ct", ct(1), ct(2, seed=2)),
)


@pytest.mark.parametrize(("preset", "content", "style"), MISMATCHED)
def test_other_numbers_of_channels_are_refused(preset, content, style):
    with pytest.raises(InputError, match=f"content has {content.nc} channels, the style {style.nc}"):
        run(preset, content, style)


@pytest.mark.parametrize("nc", [1, 2, 3, 12])
@every_preset
def test_any_number_of_channels_that_agrees(preset, nc):
    content, style = (MAKE[preset](nc, seed=seed) for seed in (1, 2))
    assert run(preset, content, style).sample.data.shape == content.data.shape


def test_audio_is_mixed_and_resampled_and_says_so():
    content, style = audio(1, seed=1), audio(2, 3000, seed=2, rate=6000.0)
    result = run("audio", content, style)
    assert any("mixed from 2 channels to the content's 1" in note for note in result.notes)
    assert any("6000 Hz" in note and "8000 Hz" in note for note in result.notes)
    assert result.sample.grid == content.grid
    assert run("audio", audio(2, seed=1), audio(1, seed=2)).sample.nc == 2
    assert not run("audio", content, audio(1, seed=2)).notes


def test_ecg_is_resampled_and_leads_are_matched_by_position_and_says_so():
    content, style = ecg(2, seed=1), ecg(2, seed=2, rate=250.0, names=("V1", "V2"))
    result = run("ecg", content, style)
    assert any("250 Hz" in note and "500 Hz" in note for note in result.notes)
    assert any("leads are matched by position" in note and "V1" in note for note in result.notes)
    assert result.sample.channels == ("I", "II")


def test_a_style_without_a_rate_is_refused():
    style = audio(seed=2)
    style = style.replace(grid=Grid(style.grid.spacing, "s"))
    with pytest.raises(InputError, match="rate"):
        run("audio", audio(seed=1), style)


def test_volumes_of_other_spacing_say_so():
    result = run("volume", volume(seed=1), volume(seed=2, spacing=(1.0, 1.0, 3.0)))
    assert any("spacing differs" in note for note in result.notes)


@every_preset
def test_a_constant_style_is_refused(preset):
    content = MAKE[preset](seed=1)
    with pytest.raises(InputError, match="constant"):
        run(preset, content, content.replace(data=np.full_like(content.data, 0.25)))


@every_preset
def test_other_kinds_are_refused(preset):
    other = "audio" if preset != "audio" else "image"
    with pytest.raises(InputError, match="kind"):
        run(preset, MAKE[preset](), MAKE[other]())
    with pytest.raises(InputError, match="kind"):
        run(preset, MAKE[other](), MAKE[preset]())


@pytest.mark.parametrize("which", ["content", "style"])
def test_too_small_for_the_layers(which):
    small, large = image(size=(3, 40)), image(seed=2)
    given = (small, large) if which == "content" else (large, small)
    options = {"extractor": {"name": "random", "channels": (6, 6, 6)}, "style_layers": ("pool3",), "style_scale": None}
    with pytest.raises(InputError, match="at least 8x8"):
        run("image", *given, **options)


# without what the CT preset keeps as it is
FREE = {"lock_mm": None, "protect": None, "region": None}


@every_preset
def test_the_content_itself_as_init_is_the_content(preset):
    content, style = MAKE[preset](seed=1), MAKE[preset](seed=2)
    assert bits(run(preset, content, style, init=content, iterations=0).sample) == bits(content)


@every_preset
def test_an_init_of_another_shape_is_refused_and_one_that_fits_is_where_it_starts(preset):
    content, style, start = (MAKE[preset](seed=seed) for seed in (1, 2, 3))
    result = run(preset, content, style, init=start, iterations=0, **FREE)
    spread = content.data.max() - content.data.min()
    np.testing.assert_allclose(result.sample.data, start.data, atol=1e-6 * spread)
    for wrong in (start.data[..., :-1], np.concatenate([start.data] * 2)):
        with pytest.raises(InputError, match="init has shape"):
            run(preset, content, style, init=start.replace(data=wrong))


def test_an_unknown_init_and_no_style_at_all_are_refused():
    with pytest.raises(ConfigError, match="init"):
        run("image", image(seed=1), image(seed=2), init="contnt")
    with pytest.raises(InputError, match="no style"):
        stylize(image(), [])


@every_preset
def test_masks_that_do_not_fit(preset):
    content, style = MAKE[preset](seed=1), MAKE[preset](seed=2)
    mask = mask_of(content)
    short = mask.replace(data=mask.data[..., :-1])
    for data in (short.data, mask.data * 0, mask.data * 1.5, mask.data - 0.5):
        with pytest.raises(InputError, match="mask"):
            run(preset, content, style, mask=mask.replace(data=data))
        with pytest.raises(InputError, match="mask"):
            run(preset, content, Style(style, mask=mask.replace(data=data)))
    with pytest.raises(InputError, match="mask"):
        stylize(None, style, mask=mask, preset=preset, **QUICK)


@pytest.mark.parametrize("which", ["content", "style"])
def test_a_mask_that_no_deep_position_sees_is_refused(which):
    # 33 columns: the last one is left out by the first pool, so nothing of the mask arrives behind it
    content, style = image(size=(32, 33), seed=1), image(size=(32, 33), seed=2)
    mask = mask_of(content, 32.5 / 33)
    assert mask.data.sum() == 32
    options = {"scales": (1.0,), "style_scale": None}
    given, options = (style, {**options, "mask": mask}) if which == "content" else (Style(style, mask=mask), options)
    with pytest.raises(InputError, match="mask"):
        run("image", content, given, **options)


@pytest.mark.parametrize("weights", [(0.0, 0.0), (-1.0, 2.0), (float("nan"), 1.0), (float("inf"), 1.0)])
def test_weights_of_styles_that_make_no_sense(weights):
    def transfer():
        return run("image", image(seed=9), [Style(image(seed=seed), w) for seed, w in enumerate(weights)])

    with pytest.raises(NstError, match="weight"):
        transfer()


SIZES = {"image": (20, 27), "audio": (1500,), "ecg": (900,), "volume": (10, 12, 14), "ct": (12, 13, 8)}


@pytest.mark.parametrize("init", ["content", "noise", "style"])
@every_preset
def test_textures_of_any_size(preset, init):
    style = MAKE[preset](seed=2)
    options = {**QUICK, "preset": preset, "init": init, "scales": (1.0,)}
    result = stylize(None, style, size=SIZES[preset], **options)
    assert result.sample.shape == SIZES[preset]
    assert (result.sample.nc, result.sample.kind, result.sample.units) == (style.nc, style.kind, style.units)
    assert result.sample.grid.spacing == style.grid.spacing
    assert result.sample.grid.rate == style.grid.rate
    assert result.history[-1].loss < result.history[0].loss
    assert not any(name.startswith("content") for name in result.history[0].terms)
    assert stylize(None, style, **{**options, "iterations": 1}).sample.shape == style.shape


@pytest.mark.parametrize("size", [(20,), (20, 20, 20), (20, 20, 20, 20), (0, 20), (-20, 20), (1, 20)])
def test_textures_of_impossible_sizes(size):
    with pytest.raises(NstError, match=r"size|axes|positions"):
        stylize(None, image(), size=size, preset="image", **QUICK)


BAD_SETTINGS = [
    ({"styel_weight": 3.0}, "styel_weight"),
    ({"style_weight": -1.0}, "style_weight"),
    ({"style_weight": float("nan")}, "style_weight"),
    ({"iterations": -1}, "iterations"),
    ({"iterations": 2.5}, "iterations"),
    ({"scales": (0.5, 0.7)}, "end with 1"),
    ({"scales": (1.0, 0.5)}, "end with 1"),
    ({"scales": ()}, "end with 1"),
    ({"scales": (0.0, 1.0)}, "scales"),
    ({"pooling": "median"}, "'max' or 'average'"),
    ({"padding": "mirror"}, "'reflect'"),
    ({"statistic": "skewness"}, "'covariance'"),
    ({"statistic": "log_moments"}, "layer powers, not for relu1"),
    ({"statistics": {"relu1": "log_moments"}}, "layer powers, not for relu1"),
    ({"statistics": {"relu7": "gram"}}, "no style layer relu7"),
    ({"style_normalisation": "textbook"}, "'johnson'"),
    ({"content_normalisation": "johnson"}, "'textbook'"),
    ({"optimizer": "sgd"}, "'lbfgs' or 'adam'"),
    ({"learning_rate": 0.0}, "learning_rate"),
    ({"style_layer_weights": (1.0,)}, r"1 values for 2 style_layers"),
    ({"content_layer_weights": (1.0, 1.0)}, r"2 values for 1 content_layers"),
    ({"style_layers": ("relu1", "relu1")}, "twice"),
    ({"style_layers": ("relu9",)}, r"no layer relu9(.|\n)*allowed: relu1, pool1, relu2"),
    ({"content_layers": ("conv4_2",)}, r"no layer conv4_2(.|\n)*allowed: relu1"),
    ({"content_weight": 0.0, "style_weight": 0.0}, "nothing to minimise"),
    ({"extractor": "resnet"}, "'vgg19'"),
    ({"extractor": ()}, "extractor"),
    ({"extractor": ("vgg19", "vgg19")}, "label"),
    ({"extractor": {"name": "random", "widths": (4,)}}, "odd"),
    ({"extractor": {"name": "module", "module": "os.system"}}, "monai"),
    ({"extractor": ({"name": "random"}, {"name": "random", "label": "b"})}, "network.layer"),
    ({"pool_kernel": (2,)}, "pool_kernel"),
    ({"pool_kernel": (0, 2)}, "pool_kernel"),
    ({"device": "tpu"}, "device"),
    ({"device": "cuda:x"}, "device"),
    ({"window": (3.0, 1.0)}, "lower first"),
    ({"window": (1.0, 3.0)}, "volume and ct only"),
    ({"region": (0.0, 1.0), "lock_mm": 2.0}, "lock_mm, region: works on volume and ct only"),
    ({"threads": 100_000}, "threads"),
    ({"extractor": {"name": "random", "channels": (100_000_000,)}}, "channels"),
    ({"preset": "audio"}, "kind audio"),
    ({"seed": -1}, "seed"),
    ({"preset": "picture"}, "allowed: image, audio"),
]


@pytest.mark.parametrize(("change", "message"), BAD_SETTINGS, ids=[str(change) for change, _ in BAD_SETTINGS])
def test_wrong_settings(change, message):
    with pytest.raises(ConfigError, match=message) as caught:
        stylize(image(seed=1), image(seed=2), **{**QUICK, "preset": "image", **change})
    assert len(str(caught.value).splitlines()) <= 3


def test_samples_that_cannot_be():
    grid, half = Grid((1.0,), "s", 10.0), np.zeros((1, 4), dtype=np.float16)
    for data in (np.array([[1.0, np.nan]]), np.array([[np.inf, 1.0]]), np.zeros((1, 0)), np.zeros(3), half):
        with pytest.raises(InputError):
            Sample(data, "audio", "full scale", grid)
    with pytest.raises(InputError, match="axes"):
        Sample(np.zeros((1, 4, 4)), "image", "full scale", grid)


def test_a_style_beside_a_strip_stays_within_bounds():
    content, style = image(size=(1200, 8)), image(size=(32, 24))
    settings = resolve({"preset": "image"}, "image")
    (seen,) = ImageDomain().prepare(content, [style], settings).styles
    assert 15 * 1200 * 8 <= seen[0, 0].numel() <= 17 * 1200 * 8
    # where shapes are alike, the longer sides are
    (seen,) = ImageDomain().prepare(image(size=(60, 40)), [style], settings).styles
    assert max(seen.shape) == 60
