"""Images: proportions, bars, differences, and what does not fit a screen."""

import numpy as np
import pytest
from drawing_helpers import bars, image, inches, words

from nst_nd import drawing
from nst_nd.drawing.scale import MOST_POSITIONS, nice_length, reduced
from nst_nd.errors import ConfigError, InputError


@pytest.mark.parametrize(
    ("most", "nice"), [(1.0, 1.0), (0.999, 0.5), (7.3, 5.0), (23.0, 20.0), (10.0, 10.0), (0.03, 0.02), (4e5, 2e5)]
)
def test_lengths_of_bars_are_round_and_fit(most, nice):
    assert nice_length(most) == nice


@pytest.mark.parametrize("unit", ["px", "mm"])
def test_a_bar_is_as_long_as_it_says(unit):
    sample = image(1, 40, 60, spacing=(0.5, 0.25) if unit == "mm" else (1.0, 1.0), unit=unit)
    figure = sample.plot()
    (length, number, said), (_, _, width, height) = bars(figure)[0], inches(figure, figure.axes[0])
    across, down = (60 * 0.25, 40 * 0.5) if unit == "mm" else (60.0, 40.0)
    assert said == unit
    assert length / width == pytest.approx(number / across)
    assert width / height == pytest.approx(across / down)
    assert "60 x 40 px" + (", 0.25 x 0.5 mm" if unit == "mm" else "") in words(figure)


def test_pixels_are_shown_as_they_are():
    sample = image(3, 5, 4)
    shown = sample.plot().axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, sample.data.transpose(1, 2, 0), atol=1e-7)
    wider = sample.plot(window=(-1.0, 3.0)).axes[0].images[0].get_array()
    np.testing.assert_allclose(wider, (sample.data.transpose(1, 2, 0) + 1.0) / 4.0, atol=1e-7)


def test_the_difference_is_signed_and_has_a_scale_in_the_unit():
    content = image(3, 20, 30)
    result = content.replace(data=content.data + np.float32(0.25))
    figure = drawing.comparison(content, [image(1, 9, 40)], result)
    panels = [axes for axes in figure.axes if axes.images]
    assert [text for text in words(figure) if "content" in text or "style" in text or "result" in text] == [
        "content",
        "style",
        "result",
        "result less content",
    ]
    difference = panels[3].images[0]
    np.testing.assert_allclose(difference.get_array(), 0.25, atol=1e-6)
    assert difference.get_clim() == pytest.approx((-0.25, 0.25), abs=1e-6)
    assert {"-0.25", "0", "+0.25", "full scale (mean of channels)"} <= set(words(figure))
    assert len(bars(figure)) == 3


def test_nothing_changed_is_a_picture_too():
    figure = drawing.comparison(image(), [image()], image())
    assert figure.axes[3].images[0].get_clim() == (-1.0, 1.0)
    assert not figure.axes[3].images[0].get_array().any()


@pytest.mark.parametrize(
    ("nc", "said"), [(2, "channel 1 of 2"), (4, "channels 1 to 3 of 4"), (7, "channels 1 to 3 of 7")]
)
def test_channels_that_are_left_out_are_told(nc, said):
    figure = image(nc, 6, 5).plot()
    assert said in words(figure)
    assert figure.axes[0].images[0].get_array().shape == ((6, 5) if nc == 2 else (6, 5, 3))


def test_values_beyond_the_window_are_told():
    sample = image(1, 6, 5)
    assert "clipped for display" in words(sample.replace(data=sample.data * 3).plot())
    assert "clipped for display" not in words(sample.plot())


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 500), (1, 500, 1)])
def test_thin_and_constant_images(shape):
    figure = image(*shape).replace(data=np.full(shape, 0.5, np.float32)).plot()
    assert figure.png(dpi=30)[:4] == b"\x89PNG"


def test_large_images_are_averaged_and_it_is_said():
    data = np.zeros((1, 30, 2 * MOST_POSITIONS + 1), np.float32)
    data[:, :, ::2] = 1.0
    figure = image().replace(data=data).plot()
    shown = figure.axes[0].images[0].get_array()
    assert shown.shape == (10, 683)
    assert "shown at 1/3" in words(figure)
    assert shown.mean() == pytest.approx(0.5, abs=1e-3)


def test_reduction_is_the_mean_of_squares():
    plane = np.random.default_rng(0).random((2, 7, 2 * MOST_POSITIONS))
    small, side = reduced(plane)
    assert side == 2
    np.testing.assert_allclose(small[1, 2, 5], plane[1, 4:6, 10:12].mean())


def test_options_of_others_and_shapes_that_do_not_fit():
    with pytest.raises(ConfigError, match="at: is for volume, this is of kind image"):
        image().plot(at=(1, 2, 3))
    with pytest.raises(ConfigError, match="seconds: is for audio and ecg"):
        image().plot(seconds=2.0)
    for window in ("liver", (1.0, 1.0), (0.0, float("nan")), (0.0, 1.0, 2.0)):
        with pytest.raises(ConfigError, match=r"window: got .*soft tissue, lung, bone, brain"):
            image().plot(window=window)
    with pytest.raises(InputError, match=r"not drawn as image; allowed: \[channel, row, column\]"):
        image(1, 4, 4, 4, spacing=(1.0, 1.0, 1.0)).plot()
    with pytest.raises(InputError, match="allowed: finite, above 0"):
        image(1, 4, 4, spacing=(0.0, 1.0)).plot()
    with pytest.raises(InputError, match="at least one"):
        drawing.drawn([])
    with pytest.raises(InputError, match="up to 6"):
        drawing.drawn([("a", image())] * 7)


def test_of_many_styles_the_first_are_shown():
    figure = drawing.comparison(image(), [image()] * 5, image())
    assert [w for w in words(figure) if w.startswith("style")] == ["style 1", "style 2", "style 3 of 5"]


def test_what_became_nan_behind_the_back_of_a_sample():
    sample = image(1, 5, 6)
    sample.data[0, 2, 3] = np.nan
    assert sample.plot().axes[0].images[0].get_array()[2, 3] == 0.0
    assert drawing.comparison(image(1, 5, 6), [image()], sample).png(dpi=30)
