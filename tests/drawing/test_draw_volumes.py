"""Volumes: the right slice the right way round, letters of the body, proportions in mm, windows."""

from itertools import permutations, product

import nibabel
import numpy as np
import pytest
from drawing_helpers import bars, inches, volume, words

from nst_nd import drawing
from nst_nd.drawing.anatomy import planes_of, tilt_of
from nst_nd.errors import ConfigError, InputError

# axis of RAS, and the direction on it, that is to the right of and below each plane as radiologists look at it
RIGHT = {"axial": (0, "L"), "coronal": (0, "L"), "sagittal": (1, "P")}
DOWN = {"axial": (1, "P"), "coronal": (2, "I"), "sagittal": (2, "I")}
NORMAL = {"axial": "IS", "coronal": "AP", "sagittal": "LR"}
OPPOSITE = dict(zip("LRPAIS", "RLAPSI", strict=True))


def panels(figure, name="volume"):
    named = ((str(axes.get_gid()).partition(": "), axes) for axes in figure.axes)
    return {plane: axes for (of, _, plane), axes in named if of == name}


def every_orientation():
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = np.eye(3)[:, list(order)] * signs * np.array([0.7, 1.5, 4.0])
        affine[:3, 3] = (3.0, -8.0, 20.0)
        yield affine


@pytest.mark.parametrize("affine", list(every_orientation()), ids=lambda a: "".join(nibabel.aff2axcodes(a)))
def test_flipped_volumes_are_shown_the_same_way_round(affine):
    """Where a voxel lies in the body says where it must be in the picture; nibabel says where it lies."""
    sample = volume((5, 6, 7), affine=affine)
    at = (1, 2, 3)
    figure = sample.plot(at=at)
    codes = nibabel.aff2axcodes(affine)
    for name, axes in panels(figure).items():
        shown = axes.images[0].get_array()
        rows, columns = shown.shape
        # of the four corners, and the middle, the value stands for a voxel
        for row, column in product((0, rows - 1), (0, columns - 1)):
            voxel = np.unravel_index(int(shown[row, column]), sample.shape)
            world = (affine @ [*voxel, 1.0])[:3]
            other = np.unravel_index(int(shown[rows - 1 - row, columns - 1 - column]), sample.shape)
            there = (affine @ [*other, 1.0])[:3]
            # what is left in the picture is the patient's right, or front
            assert (world[RIGHT[name][0]] > there[RIGHT[name][0]]) == (column == 0)
            assert (world[DOWN[name][0]] > there[DOWN[name][0]]) == (row == 0)
            normal = next(v for v, code in enumerate(codes) if code in NORMAL[name])
            assert voxel[normal] == at[normal]
    for plane in planes_of(affine):
        right, down = RIGHT[plane.name][1], DOWN[plane.name][1]
        assert (plane.left, plane.right) == (OPPOSITE[right], right)
        assert (plane.top, plane.bottom) == (OPPOSITE[down], down)


def letters(figure, axes):
    """What is written at the edges of a panel: left, right, top, bottom."""
    wide, high = figure.get_size_inches()
    left, bottom, width, height = inches(figure, axes)
    found = {}
    for text in figure.texts:
        x, y = text.get_position()[0] * wide, text.get_position()[1] * high
        if abs(y - bottom - height / 2) < 1e-6 and left - 0.3 < x < left + width + 0.3:
            found["left" if x < left else "right"] = text.get_text()
        if (
            abs(x - left - width / 2) < 1e-6
            and text.get_fontweight() == "bold"
            and bottom - 0.3 < y < bottom + height + 0.3
        ):
            found["bottom" if y < bottom else "top"] = text.get_text()
    return found


def test_letters_stand_at_the_edges():
    figure = volume(affine=np.diag([-1.0, 1.0, 1.0, 1.0])).plot()
    shown = panels(figure)
    assert letters(figure, shown["axial"]) == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    assert letters(figure, shown["coronal"]) == {"left": "R", "right": "L", "top": "S", "bottom": "I"}
    assert letters(figure, shown["sagittal"]) == {"left": "A", "right": "P", "top": "S", "bottom": "I"}


def turned(degrees):
    """Voxel axes turned about the long axis of the body."""
    angle, affine = np.radians(degrees), np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return affine


@pytest.mark.parametrize(
    ("degrees", "right", "bottom"), [(0, "L", "P"), (10, "L", "P"), (30, "LP", "PR"), (-30, "LA", "PL")]
)
def test_oblique_volumes_have_letters_of_both_axes(degrees, right, bottom):
    affine = turned(degrees)
    axial = planes_of(affine)[0]
    assert (axial.right, axial.bottom) == (right, bottom)
    assert axial.left == "".join(OPPOSITE[c] for c in right)
    assert tilt_of(affine) == pytest.approx(abs(degrees))
    told = any("oblique" in text for text in words(volume(affine=affine).plot()))
    assert told == (degrees != 0)


def test_each_voxel_axis_is_used_once_however_oblique():
    rng = np.random.default_rng(0)
    for _ in range(50):
        affine = np.eye(4)
        affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.uniform(0.3, 5.0, 3)
        assert sorted(plane.normal for plane in planes_of(affine)) == [0, 1, 2]


def test_without_an_affine_there_are_no_letters_of_a_body():
    figure = volume().plot()
    assert not {"R", "L", "A", "P", "S", "I"} & set(words(figure))
    shown = panels(figure)["along i"].images[0].get_array()
    # the last one: along i, j to the right, k up
    assert shown.shape == (8, 16)
    assert shown[7, 0] == volume().data[0, 6, 0, 0]
    assert shown[0, 15] == volume().data[0, 6, 15, 7]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 5.0), (3.0, 0.5, 1.25)])
def test_anisotropic_voxels_have_their_true_proportions(spacing):
    sample = volume((12, 16, 8), spacing, np.diag([*spacing, 1.0]))
    figure = sample.plot()
    size = np.array(sample.shape) * spacing
    scales = []
    for name, (across, down) in {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}.items():
        _, _, width, height = inches(figure, panels(figure)[name])
        assert width / height == pytest.approx(size[across] / size[down])
        scales.append(width / size[across])
    assert scales == pytest.approx([scales[0]] * 3)
    found = bars(figure)
    assert len(found) == 3
    for length, number, unit in found:
        assert unit == "mm"
        assert length == pytest.approx(number * scales[0])


def test_each_volume_has_bars_of_its_own_scale():
    small, large = volume(spacing=(0.1, 0.1, 0.1)), volume((20, 30, 10), (2.0, 2.0, 2.0))
    figure = drawing.comparison(small, [large], small)
    for name, sample in (("content", small), ("style", large), ("result", small)):
        per_mm = inches(figure, panels(figure, name)["along k"])[2] / (sample.shape[0] * sample.grid.spacing[0])
        mine = [b for b in bars(figure) if b[0] == pytest.approx(b[1] * per_mm)]
        assert len(mine) >= 3


def test_windows():
    data = np.linspace(-1000.0, 2000.0, 12 * 16 * 8, dtype=np.float32).reshape(1, 12, 16, 8)
    hu = volume(data=data, units="HU")
    for window, limits, said in (
        (None, (-160.0, 240.0), "window -160 to 240 HU (soft tissue)"),
        ("lung", (-1350.0, 150.0), "window -1350 to 150 HU (lung)"),
        ((0.0, 33.0), (0.0, 33.0), "window 0 to 33 HU"),
    ):
        figure = hu.plot(window=window)
        assert {axes.images[0].get_clim() for axes in figure.axes} == {limits}
        assert said in words(figure)
    plain = volume(data=data)
    low, high = plain.plot().axes[0].images[0].get_clim()
    assert -1000.0 <= low < high <= 2000.0
    figure = drawing.comparison(plain, [plain], plain, hounsfield=True)
    assert words(figure).count("window -160 to 240 HU (soft tissue)") == 3
    assert "HU" in words(figure)


def test_content_and_result_share_a_window_that_the_style_does_not():
    content, style = volume(), volume(data=np.random.default_rng(0).random((1, 6, 6, 6), np.float32))
    result = content.replace(data=content.data * np.float32(2.0))
    figure = drawing.comparison(content, [style], result)
    limits = {name: panels(figure, name)["along k"].images[0].get_clim() for name in ("content", "style", "result")}
    assert limits["content"] == limits["result"]
    assert limits["content"][1] > content.data.max()
    assert limits["style"][1] < 1.0
    (difference,) = {axes.images[0].get_clim() for axes in panels(figure, "result less content").values()}
    assert difference[0] == -difference[1] < 0


def test_the_voxel_where_planes_meet():
    sample = volume(affine=np.eye(4))
    for at in ((0, 0, 0), (11, 15, 7)):
        for axes in panels(sample.plot(at=at)).values():
            assert sample.data[0][at] in axes.images[0].get_array()
    for at in ((12, 0, 0), (-1, 0, 0), (1, 2), (1, 2, 3, 4)):
        with pytest.raises(ConfigError, match=r"at: got .*\(0, 0, 0\) to \(11, 15, 7\)"):
            sample.plot(at=at)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 30), (300, 1, 1)])
def test_thin_and_constant_volumes(shape):
    figure = volume(data=np.full((1, *shape), 7.0, np.float32), affine=np.eye(4)).plot()
    low, high = figure.axes[0].images[0].get_clim()
    assert low < 7.0 < high
    assert figure.png(dpi=30)[:4] == b"\x89PNG"


def test_affines_that_are_none():
    for affine in (np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(3)):
        with pytest.raises(InputError, match="affine"):
            volume(affine=affine).plot()


def test_a_huge_volume_is_drawn_from_three_slices():
    """A terabyte that takes no memory: one value, broadcast. Only slices are ever read."""
    huge = np.broadcast_to(np.float32(3.0), (1, 8000, 6000, 5000))
    figure = volume(data=huge, spacing=(0.1, 0.1, 0.1)).plot()
    assert max(max(axes.images[0].get_array().shape) for axes in figure.axes) <= 1024
    assert any("shown at 1/8" in text for text in words(figure))


def test_more_channels_and_options_of_others():
    assert any("channel 1 of 3" in text for text in words(volume(nc=3).plot()))
    with pytest.raises(ConfigError, match="start: is for audio and ecg, this is of kind volume"):
        volume().plot(start=1.0)
