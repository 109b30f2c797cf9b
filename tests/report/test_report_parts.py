"""What a report is made of, without a browser."""

import base64
import gzip
import io
import json
import math

import nibabel
import numpy as np
import pytest
import soundfile
from PIL import Image
from report_files import finished, scan, sound

from nst_nd.domains import PRESETS
from nst_nd.domains.metrics import names
from nst_nd.errors import DecodeError, InputError
from nst_nd.report import page
from nst_nd.report.convergence import HIGH, TOP, charts
from nst_nd.report.job_report import job_report
from nst_nd.report.judgement import base_of, explanations, judged
from nst_nd.report.outliers import MOST, far, robust_z
from nst_nd.report.pictures import diverging, image_of, largest_change, stored
from nst_nd.report.record import Sidecar, Steps, read_sidecar
from nst_nd.report.repeat import command, job_of
from nst_nd.report.sounds import MOST_SECONDS, player
from nst_nd.report.text import visible, visible_in, visible_lines
from nst_nd.report.volumes import block_means, factors_for, preview, slices_of
from nst_nd.sample import Grid, Sample
from nst_nd.sidecar import sidecar_of


def picture(uri):
    """What a data URI holds, as numbers."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(int)


def record(**changes):
    """A sidecar of nothing but what must be there."""
    given = {
        "status": "done",
        "kind": "volume",
        "inputs": [],
        "output": {"name": "o", "sha256": "", "bytes": 0},
        "shape": [1],
        "settings": {},
        "seed": 0,
        "steps": {},
    }
    return Sidecar.model_validate({**given, **changes})


def test_hidden_characters_are_seen_and_long_texts_end():
    assert visible("a\nb\u202e\x00é漢\udcff") == "a\\nb\\u202e\\u0000é漢\\udcff"
    assert visible("x" * 1000) == "x" * 400 + "… (1000 characters)"
    assert visible_lines("a\nb\u200e\tc") == "a\nb\\u200e\\tc"
    assert len(visible_lines("y\n" * 100_000)) < 10_000
    assert visible_in({"k\r": ["\u2028", 1, None]}) == {"k\\r": ["\\u2028", 1, None]}


def test_text_in_a_script_block_cannot_end_it():
    data = str(page._data({"a": "</script><!--&\u2028"}))
    assert not set("<>&\u2028") & set(data)
    assert page._ours("data:image/png;base64,AA+/=") == "data:image/png;base64,AA+/="
    with pytest.raises(ValueError, match="not one of our own"):
        page._ours('x" onload="hacked()')


def test_the_policy_names_scripts_by_their_digest_and_lets_no_request_out():
    found = page.policy(["s{}"], ["one()", "two()"])
    assert found.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in found
    assert "connect-src" not in found
    assert "http" not in found


def test_robust_scores_by_hand():
    values = {str(i): float(v) for i, v in enumerate([1, 2, 3, 4, 5, 6, 7, 8, 1000])}
    # median 5, absolute deviations 4 3 2 1 0 1 2 3 995: median 2
    assert robust_z(values)["7"] == pytest.approx(3 / (1.4826 * 2))
    assert far(values) == {"8": pytest.approx(995 / (1.4826 * 2))}
    assert robust_z({str(i): 1.0 for i in range(20)}) == {}
    assert robust_z({str(i): float(i) for i in range(7)}) == {}
    half = {**{str(i): 0.0 for i in range(9)}, "odd": 10.0, "none": math.nan, "inf": math.inf}
    assert far(half) == {"odd": pytest.approx(10 / 1.2533), "inf": MOST}


def test_charts_have_every_term_and_scale_on_a_logarithmic_axis():
    rows = [[1, 0, 100.0, 0.0], [2, 0, 10.0, 0.0], [3, 1, 1.0, 0.0]]
    every, falls, nothing = charts(Steps(columns=("iteration", "scale", "a", "b"), rows=rows))
    assert (every.title, falls.title) == ("all terms together", "a")
    assert nothing.empty == "0 at every step"
    first, second = falls.curves
    assert (first.steps, first.first, first.last, second.first) == (2, 100.0, 10.0, 1.0)
    heights = [float(point.split(",")[1]) for curve in falls.curves for point in curve.points.split()]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.11)
    assert min(heights) > TOP
    assert max(heights) < HIGH
    assert len(falls.borders) == 1
    assert [tick.words for tick in falls.up] == ["1", "10", "100"]
    assert charts(Steps()) == []


def test_long_runs_are_thinned_out_and_keep_their_end():
    rows = [[i, 0, 1.0 / i] for i in range(1, 5001)]
    (chart,) = charts(Steps(columns=("iteration", "scale", "a"), rows=rows))
    assert len(chart.curves[0].points.split()) <= 402
    assert (chart.curves[0].steps, chart.curves[0].last) == (5000, 1.0 / 5000)


def test_every_metric_is_explained():
    known = {base_of(name) for preset in PRESETS for name in names(preset)}
    assert known == set(explanations())
    for name, entry in explanations().items():
        assert entry["means"].endswith("."), name
        assert ("advice" in entry) == (entry["better"] != "fact"), name


def test_verdicts():
    metrics = {
        "hu_drift": -1.5,
        "false_edges": 1.0,
        "nps_distance_before": 10.0,
        "nps_distance_after": 2.0,
        "noise_gram_distance_before": 1.0,
        "noise_gram_distance_after": 1.5,
        "noise_sd_before": 10.0,
        "noise_sd_after": 18.0,
        "noise_sd_style": 30.0,
        "ssim": 0.5,
        "psnr": "inf",
        "hu_bias_fat": None,
        "unheard_of": 3.0,
    }
    settings = {"preset": "ct", "limits": {"hu_drift": 1.0, "false_edges": 1.2}}
    found = {one.name: one for one in judged(record(metrics=metrics, settings=settings))}
    assert {name: one.verdict for name, one in found.items()} == {
        "hu_drift": "bad",
        "noise_gram_distance": "bad",
        "noise_sd": "fair",
        "false_edges": "good",
        "nps_distance": "good",
        "ssim": "fact",
        "psnr": "fact",
        "unheard_of": "fact",
        "hu_bias_fat": "unmeasured",
    }
    assert "at most 1" in found["hu_drift"].why
    assert found["hu_drift"].advice
    assert not found["false_edges"].advice
    assert found["psnr"].value == math.inf


def test_block_means_and_their_factors():
    values = np.arange(7 * 5 * 4, dtype=np.float32).reshape(7, 5, 4)
    found = block_means(values, (3, 2, 4))
    assert found.shape == (3, 3, 1)
    assert found[0, 0, 0] == pytest.approx(values[:3, :2].mean())
    assert found[2, 2, 0] == pytest.approx(values[6:, 4:].mean())
    shape = (512, 512, 300)
    factors = factors_for(shape, (0.7, 0.7, 1.0), 1_000_000)
    assert math.prod(-(-n // f) for n, f in zip(shape, factors, strict=True)) <= 1_000_000
    assert factors_for((10, 10, 10), (1.0, 1.0, 1.0)) == (1, 1, 1)


def test_the_preview_is_a_nifti_with_the_geometry_and_nothing_else(tmp_path):
    volume = scan(0)
    named = nibabel.Nifti1Image(volume.data[0], volume.grid.affine)
    named.header["descrip"] = b"Jane Doe"
    nibabel.save(named, tmp_path / "v.nii")
    from nst_nd import load

    text, shape = preview(load(tmp_path / "v.nii"))
    raw = gzip.decompress(base64.b64decode(text))
    assert b"Jane" not in raw
    image = nibabel.Nifti1Image.from_bytes(raw)
    assert image.shape == shape == volume.shape
    np.testing.assert_array_equal(image.get_fdata(), volume.data[0])
    np.testing.assert_allclose(image.affine, volume.grid.affine)


def test_a_downsampled_preview_lies_where_the_volume_lies(monkeypatch):
    monkeypatch.setattr("nst_nd.report.volumes.factors_for", lambda *_: (2, 3, 1))
    volume = scan(0)
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(preview(volume)[0])))
    # the middle of its first voxel is that of the first 2 x 3 x 1 voxels
    middle = volume.grid.affine @ [0.5, 1.0, 0.0, 1.0]
    np.testing.assert_allclose(image.affine[:3, 3], middle[:3], rtol=1e-6)
    assert image.get_fdata()[0, 0, 0] == pytest.approx(volume.data[0, :2, :3, 0].mean(), abs=0.51)


def test_small_ranges_keep_their_steps_in_a_preview():
    volume = scan(0).replace(data=scan(0).data / 10_000.0)
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(preview(volume)[0])))
    span = float(np.ptp(volume.data))
    np.testing.assert_allclose(image.get_fdata(), volume.data[0], atol=span / 4000)


def test_slices_stand_as_radiologists_look_at_them():
    data = np.zeros((1, 8, 6, 3), np.float32)
    data[0, 0, 0, :] = 1.0  # the first voxel of both axes
    left = Grid((1.0, 1.0, 1.0), "mm", affine=np.diag([-1.0, -1.0, 1.0, 1.0]))  # axes to L and P
    right = Grid((1.0, 1.0, 1.0), "mm", affine=np.diag([1.0, 1.0, 1.0, 1.0]))  # to R and A
    for grid, place in ((left, (0, 0)), (right, (-1, -1))):
        found = slices_of(None, None, Sample(data, "volume", "", grid), (0.0, 1.0))
        assert found.edges == ("R", "L", "A", "P")
        assert found.places == (0, 1, 2)
        plane = picture(found.panels[0].pictures[1])[..., 0]
        assert plane.shape == (6, 8)
        assert plane[place] == 255
        assert plane.sum() == 255


def test_a_change_away_from_the_middle_is_seen():
    grid = Grid((1.0, 1.0, 1.0), "mm", affine=np.eye(4))
    before = np.zeros((1, 6, 5, 3), np.float32)
    after = before.copy()
    after[..., 0] = 50.0
    found = slices_of(Sample(before, "volume", "", grid), None, Sample(after, "volume", "", grid), (0.0, 100.0))
    assert found.largest == 50.0
    first, middle, _ = (picture(uri) for uri in found.panels[-1].pictures)
    assert (first[..., 0] > first[..., 2] + 100).all()
    assert (middle > 240).all()


@pytest.mark.parametrize("last", [(1e308, 1e308), ("inf", "-inf")])
def test_terms_without_a_sum_are_no_failure(last):
    steps = Steps(columns=("iteration", "scale", "a", "b"), rows=((1, 0, 1.0, 2.0), (2, 0, *last)))
    assert math.isnan(steps.loss)
    assert charts(steps)[0].title == "all terms together"


def test_differences_are_blue_below_and_red_above_and_white_where_nothing_changed():
    change = np.array([[-2.0, 0.0, 2.0]])
    shown = np.asarray(diverging(change, largest_change(change)).convert("RGB")).astype(int)[0]
    assert shown[0][2] > shown[0][0] + 100
    assert shown[2][0] > shown[2][2] + 100
    assert min(shown[1]) > 240
    assert largest_change(np.zeros((2, 2))) == 0.0


def test_pictures_of_any_channels_and_size():
    for channels, mode in ((1, "L"), (2, "L"), (3, "RGB"), (4, "RGB"), (7, "RGB")):
        data = np.full((channels, 5, 9), 0.5, np.float32)
        data[-1] = 0.1
        shown = image_of(Sample(data, "image", "", Grid((1.0, 1.0), "px")))
        assert (shown.size, shown.mode) == ((9, 5), mode)
    uri, said = stored(Image.new("RGB", (4000, 1000)))
    assert picture(uri).shape == (400, 1600, 3)
    assert said == "shown at 1600 × 400 of 4000 × 1000 pixels"


def test_players_are_of_bounded_length_and_say_so():
    uri, said = player(sound(0, seconds=30))
    data, rate = soundfile.read(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert rate == 8000
    assert len(data) == MOST_SECONDS * rate
    assert "the first 20 s of 30.0 s" in said
    np.testing.assert_allclose(data, sound(0, seconds=30).data[0, : len(data)], atol=1e-4)
    slow = sound(0, rate=100)
    assert player(slow) == ("", "no player: browsers do not play 100 Hz")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "{}", '{"status": "done", "steps": 3}', "[" * 100_000, '{"a": NaN}', "\x00"],
    ids=["empty", "list", "cut", "nothing", "types", "deep", "nan", "nul"],
)
def test_what_is_no_sidecar_is_refused(tmp_path, text):
    (tmp_path / "o.png.json").write_text(text)
    with pytest.raises(DecodeError, match=r"o\.png\.json: not a sidecar"):
        read_sidecar(tmp_path / "o.png")


ZEROS = "1" + "0" * 400


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("seconds", "NaN"),
        ("seconds", "Infinity"),
        ("seconds", "1e999"),
        ("seconds", "-1"),
        ("peak_memory_bytes", ZEROS),
        ("shape", f"[{ZEROS}]"),
        ("metrics", f'{{"ssim": {ZEROS}}}'),
        ("metrics", '{"ssim": NaN}'),
        ("steps", '{"columns": ["iteration", "scale", "a"], "rows": [[1, 0, Infinity]]}'),
        ("settings", f'{{"limits": {{"x": {ZEROS}}}}}'),
        ("settings", f'{{"window": [0, {ZEROS}]}}'),
        ("settings", '{"window": [0, -Infinity]}'),
        ("settings", '{"deep": ' + "[" * 300 + "]" * 300 + "}"),
    ],
)
def test_numbers_that_nothing_can_be_made_of_are_refused(tmp_path, key, text):
    marked = json.dumps({**record().model_dump(), key: "HERE"}).replace('"HERE"', text)
    (tmp_path / "o.png.json").write_text(marked)
    with pytest.raises(DecodeError, match=rf"o\.png\.json: not a sidecar of nst-nd: {key}"):
        read_sidecar(tmp_path / "o.png")


def test_numbers_at_the_bounds_are_shown(tmp_path):
    most = 2**64
    output = finished(
        tmp_path / "o",
        "image",
        seconds=float(most),
        peak_memory_bytes=most,
        seed=most,
        metrics={"ssim": 1.7976931348623157e308, "psnr": "inf"},
    )
    settings = json.loads(sidecar_of(output).read_text())["settings"] | {"limits": {"ssim": most}}
    record = json.loads(sidecar_of(output).read_text()) | {"settings": settings}
    sidecar_of(output).write_text(json.dumps(record))
    assert "seed 18446744073709551616" in job_report(output, tmp_path / "page.html").path.read_text()


def test_rows_that_do_not_fit_their_columns_are_refused():
    with pytest.raises(ValueError, match="a row that has not"):
        Steps(columns=("iteration", "scale", "a"), rows=[[1, 0]])


def test_a_result_without_a_sidecar_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no sidecar"):
        read_sidecar(tmp_path / "o.png")


@pytest.mark.parametrize(("count", "start"), [(1, "nst-nd run"), (2, "torchrun --nproc-per-node 2 -m nst_nd run")])
def test_what_several_processes_did_is_asked_of_as_many(count, start):
    made = record(memory={"processes": count, "anything": "else"})
    assert command(made) == f"{start} repeat.yaml"
    assert job_of(made).get("processes", 1) == count
    assert job_of(record()).get("processes", 1) == 1
