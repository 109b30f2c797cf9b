"""The command: what it finds, what it refuses, and that its job file gives the same bytes again."""

import base64
import html
import io
import json
import re
import shutil
import tracemalloc

import numpy as np
import pytest
from conftest import QUICK
from PIL import Image
from report_files import HOSTILE, TEXTS, batch_of, finished, image_sample, scan, write_record

import nst_nd
from nst_nd.batch.manifest import opened
from nst_nd.batch.records import Record
from nst_nd.report.batch_report import batch_report
from nst_nd.report.inputs import find, same
from nst_nd.report.job_report import Sources, job_report, report_of
from nst_nd.report.record import read_sidecar
from nst_nd.sidecar import sidecar_of


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The folder of a result that is not to be changed."""
    return finished(tmp_path_factory.mktemp("image"), "image").parent


def copied(image, folder):
    """The result in a folder of its own."""
    shutil.copytree(image, folder / "copy")
    return folder / "copy" / "out.png"


def page_of(output, **options):
    """The text of its report."""
    written = job_report(output, report_of(output), overwrite=True, **options)
    return written.path.read_text(encoding="utf-8"), written


def rows_of(page):
    """What the table of a batch's report is made of."""
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1])


def test_the_job_file_of_a_report_gives_the_same_bytes(here, cli):
    masks = ["--mask", "mask.png", "--seed", "3", "--set", "init=noise"]
    assert cli("stylize", "c.png", "s.png", "-o", "out.png", *masks, *QUICK).status == 0
    ran = cli("report", "out.png", "--json")
    assert ran.status == 0
    assert ran.json == {"report": "out.png.report.html", "bytes": ran.json["bytes"], "notes": []}
    text = (here / "out.png.report.html").read_text()
    assert len(text.encode()) == ran.json["bytes"]
    job = re.search(r'href="data:text/yaml;base64,([^"]+)"', text)
    again = here / "again"
    again.mkdir()
    (again / "repeat.yaml").write_bytes(base64.b64decode(job[1]))
    for name in ("c.png", "s.png", "mask.png"):
        shutil.copy(name, again)
    ran = cli("run", again / "repeat.yaml")
    assert ran.status == 0, ran.err
    assert (again / "repeat" / "out.png").read_bytes() == (here / "out.png").read_bytes()
    first, second = (json.loads(sidecar_of(f / "out.png").read_text()) for f in (here, again / "repeat"))
    # the number of threads is named, since it decides about the last bits
    assert first["settings"] | {"threads": first["threads"]} == second["settings"]
    assert [file["sha256"] for file in first["inputs"]] == [file["sha256"] for file in second["inputs"]]


def test_a_texture_has_a_report_without_a_content(here, cli):
    assert cli("texture", "s.png", "--size", "24x16", "-o", "t.png", *QUICK).status == 0
    assert cli("report", "t.png").status == 0
    text = (here / "t.png.report.html").read_text()
    assert 'data-role="result"' in text
    assert 'data-role="style"' in text
    assert 'data-role="content"' not in text
    assert 'data-role="difference"' not in text


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["nothing.png"], 3, "nothing.png: no such file"),
        (["c.png"], 3, "c.png: has no sidecar c.png.json beside it"),
        (["empty"], 3, "neither the folder of a batch nor one with a result"),
        (["out.png", "-o", "out.pdf"], 2, "a report is a page; allowed: .html, .htm"),
        (["out.png", "-o", "no/out.html"], 2, "no is not a folder that exists"),
        (["out.png", "-o", "there.html"], 2, "there.html: exists already"),
        (["out.png", "--content", "gone.png"], 3, "gone.png: no such file"),
        (["out.png", "--inputs", "c.png"], 3, "--inputs names a folder"),
        (["b", "--rate", "3"], 2, "are for one result, and this is a batch"),
    ],
)
def test_what_cannot_be_is_said(here, cli, image, words, status, said):
    for file in image.iterdir():
        shutil.copy(file, here)
    (here / "there.html").touch()
    (here / "empty").mkdir()
    batch_of(here / "b", 1, pictures=False)
    ran = cli("report", *words)
    assert ran.status == status
    assert said in ran.err
    assert len(ran.err.splitlines()) <= 3


def test_the_folder_of_one_job_is_its_result(here, cli):
    assert cli("stylize", "c.png", "s.png", "-o", "first.png", *QUICK).status == 0
    assert cli("report", "first.png").status == 0
    job = re.search(r'href="data:text/yaml;base64,([^"]+)"', (here / "first.png.report.html").read_text())
    (here / "job").mkdir()
    (here / "job" / "one.yaml").write_bytes(base64.b64decode(job[1]))
    for name in ("c.png", "s.png"):
        shutil.copy(here / name, here / "job")
    assert cli("run", "job/one.yaml").status == 0
    (here / "first.png.report.html").unlink()
    for folder in ("job/one", "."):
        ran = cli("report", folder, "--json")
        assert (ran.status, ran.err) == (0, "")
        assert (here / folder / "first.png.report.html").is_file()


def test_of_a_folder_with_several_results_one_is_to_be_named(here, cli, image):
    for name in ("a", "b", "c", "d"):
        for suffix in (".png", ".png.json"):
            shutil.copy(image / f"out{suffix}", here / f"{name}{suffix}")
    ran = cli("report", ".")
    assert ran.status == 3
    assert "has 4 results with sidecars and no record of a batch: a.png, b.png, c.png, ...\ngive one of them" in ran.err


def test_a_broken_result_is_an_error_and_leaves_no_page(here, cli, image):
    output = copied(image, here)
    output.write_bytes(b"no image")
    ran = cli("report", output)
    assert ran.status == 3
    assert "out.png" in ran.err
    assert not report_of(output).exists()


def test_inputs_are_found_by_what_they_hold(tmp_path, image):
    output = copied(image, tmp_path)
    content, style = read_sidecar(output).inputs
    folders = [output.parent]
    assert find(content, folders).state == "found"
    (output.parent / "content.png").rename(output.parent / "renamed.png")
    assert find(content, folders).path == output.parent / "renamed.png"
    (output.parent / "style.png").write_bytes(b"another")
    assert find(style, folders).state == "changed"
    assert find(style, [tmp_path / "nowhere"]).state == "missing"
    assert find(content, [], output.parent / "style.png").state == "changed"
    assert same(output, read_sidecar(output).output)


def test_what_is_missing_or_changed_is_said_on_the_page_and_the_terminal(tmp_path, image, cli, monkeypatch):
    output = copied(image, tmp_path)
    monkeypatch.chdir(tmp_path)
    (output.parent / "content.png").unlink()
    (output.parent / "style.png").write_bytes(b"another")
    nst_nd.save(image_sample(7), output, overwrite=True)
    text, written = page_of(output)
    assert "Changed since." in text
    assert "content.png</bdi>: not found beside the result" in text
    assert "a file of this name is there, but its sha256 is another one" in text
    assert len(written.said) == 3
    assert 'data-role="difference"' not in text
    ran = cli("report", output, "--overwrite")
    assert ran.status == 0
    assert ran.err.count("note: ") == 3
    other = page_of(output, sources=Sources(folders=[image]))[0]
    assert 'data-role="difference"' in other


def test_no_folder_of_this_machine_is_on_a_page(tmp_path, image):
    output = copied(image, tmp_path)
    (output.parent / "content.png").write_bytes(b"broken")
    write_record(output, [output.parent / f"{n}.png" for n in ("content", "style")], "image", "image", (24, 32))
    text, written = page_of(output)
    assert str(tmp_path) not in text
    assert "content: cannot be shown: content.png" in html.unescape(text).lower()
    assert not any(str(tmp_path) in line for line in written.said)


@pytest.mark.parametrize(("channels", "said"), [(2, "channel 1 of 2"), (4, "channels 1 to 3 of 4")])
def test_a_second_or_fourth_channel_is_no_opacity(tmp_path, channels, said):
    files = [tmp_path / f"{name}.npy" for name in ("content", "style", "out")]
    for place, path in enumerate(files):
        data = np.full((channels, 6, 9), 0.4 + 0.1 * place, np.float32)
        data[-1] = 0.0
        np.save(path, data)
    write_record(files[2], files[:2], "image", "image", (6, 9))
    text, _ = page_of(files[2])
    assert f"result: shown: {said}" in text
    shown = re.search(r'data-role="result".*?src="data:image/png;base64,([^"]+)"', text, re.DOTALL)[1]
    picture = Image.open(io.BytesIO(base64.b64decode(shown)))
    assert picture.mode == ("L" if channels == 2 else "RGB")
    assert np.unique(np.asarray(picture)).tolist() == [153]


def test_hostile_texts_are_text_on_the_page(tmp_path):
    evil = TEXTS[0]
    changes = {
        "warnings": list(TEXTS),
        "notes": list(TEXTS),
        "device": evil,
        "networks": [evil],
        "metrics": {evil: 1.0},
        "versions": {evil: evil},
        "caution": evil,
        "request": evil,
    }
    output = finished(tmp_path / "o", "image", name=HOSTILE, **changes)
    text, _ = page_of(output)
    assert "<script>hacked" not in text
    assert "<img src=x" not in text
    assert "\u202e" not in text
    assert "\u2028" not in text
    assert "{{ 7 * 7 }}" in html.unescape(text)
    assert text.count("</script>") == text.count("<script")
    assert "… (100000 characters)" in text


def test_a_batch_lists_every_job_failures_first_and_marks_what_is_odd(tmp_path, cli):
    folder = batch_of(tmp_path / "b", 20, failed=[("bad.png", TEXTS[0])], odd=(4,))
    (folder / "job0003.png.report.html").touch()
    ran = cli("report", folder)
    assert ran.status == 0
    text, data = (folder / "report.html").read_text(), rows_of(folder / "report.html")
    rows = data["rows"]
    assert len(rows) == 21
    assert [row["name"] for row in rows[:2]] == ["bad.png", "job0004.png"]
    assert rows[0]["error"] == TEXTS[0]
    far = {data["columns"][int(i)]["name"] for i in rows[1]["far"]}
    assert far == {"change_rms"}
    assert not any(row["far"] for row in rows[2:])
    assert {row["link"] for row in rows} == {"", "./job0003.png.report.html"}
    assert all(row["picture"].startswith("data:image/webp;base64,") for row in rows[1:])
    assert str(tmp_path) not in text
    assert cli("report", folder).status == 2
    assert cli("report", folder, "--overwrite", "--no-thumbnails").status == 0
    assert "data:image/webp" not in (folder / "report.html").read_text()


def test_a_job_whose_record_cannot_be_read_is_said_and_the_others_go_on(tmp_path, cli):
    folder = batch_of(tmp_path / "b", 4)
    zeros = "1" + "0" * 400
    for place, (key, text) in enumerate([("seconds", "NaN"), ("settings", f'{{"limits": {{"x": {zeros}}}}}')]):
        path = folder / f"job000{place}.png.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: "HERE"}).replace('"HERE"', text))
        ran = cli("report", folder / f"job000{place}.png")
        assert ran.status == 3
        assert f"not a sidecar of nst-nd: {key}" in ran.err
    assert cli("report", folder).status == 0
    rows = {row["name"]: row for row in rows_of(folder / "report.html")["rows"]}
    lacking = [name for name, row in rows.items() if row["warnings"]]
    assert lacking == ["job0000.png", "job0001.png"]
    assert "its sidecar is missing or cannot be read" in rows["job0000.png"]["warnings"][0]
    assert [bool(rows[f"job000{i}.png"]["picture"]) for i in range(4)] == [False, False, True, True]


def test_pictures_of_a_batch_have_a_bound_and_the_page_says_so(tmp_path, cli, monkeypatch):
    monkeypatch.setattr("nst_nd.report.batch_report.THUMBNAIL_BYTES", 60_000)
    folder = batch_of(tmp_path / "b", 12, failed=[("bad.png", "x")], odd=(7,), noisy=True)
    ran = cli("report", folder, "--json")
    rows = rows_of(folder / "report.html")["rows"]
    pictures = [row["picture"] for row in rows[1:]]
    shown = sum(map(bool, pictures))
    assert 3 < shown < 12
    assert all(pictures[:shown]), "the first rows are the ones to have them"
    assert rows[1]["name"] == "job0007.png"
    assert 60_000 - len(pictures[0]) - 500 < sum(map(len, pictures)) <= 60_000
    said = f"only the first {shown} of 12 results have a picture: pictures together take 0.06 MB at most"
    assert ran.json["notes"] == [said]
    assert said[1:] in (folder / "report.html").read_text()


def test_a_batch_of_large_volumes_is_read_by_planes(tmp_path):
    folder = batch_of(tmp_path / "b", 0)
    files = [folder / f"{name}.nii.gz" for name in ("content", "style", "v0", "v1", "v2")]
    for seed, path in enumerate(files):
        nst_nd.save(scan(seed, (64, 64, 64)), path)
    for path in files[2:]:
        write_record(path, files[:2], "volume", "ct", (64, 64, 64))
    with opened(folder / ".nst-nd") as manifest:
        manifest.put([Record(path.name, "done") for path in files[2:]])
    batch_report(folder, folder / "report.html")  # imports
    tracemalloc.start()
    try:
        batch_report(folder, folder / "report.html", overwrite=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert all(row["picture"] for row in rows_of(folder / "report.html")["rows"])
    assert peak < 4 * 64**3, "a volume as float32 has been in memory"


def test_the_largest_numbers_of_a_manifest_are_shown(tmp_path, cli):
    folder = batch_of(tmp_path / "b", 0)
    found = [
        Record("a.png", "failed", started=0.0, ended=1.7976931348623157e308, metrics={"x": 1.7976931348623157e308}),
        Record("b.png", "failed", started=-1e308, ended=1e308, metrics={"x": 10**400}),
    ]
    with opened(folder / ".nst-nd") as manifest:
        manifest.put(found)
    assert cli("report", folder).status == 0
    assert [row["values"] for row in rows_of(folder / "report.html")["rows"]] == [["inf"], [None]]


def test_nothing_of_a_patient_is_on_the_page_of_a_series(here, cli):
    pytest.importorskip("pydicom")
    from dicom_series import SECRETS, datasets, integers, uid, write

    for name, seed in (("c", 1), (str(uid("folder")), 2)):
        write(here / name, datasets(integers((12, 12, 12), 0, 200, seed)), [f"{uid('file', k)}.dcm" for k in range(12)])
    assert cli("stylize", "c", str(uid("folder")), "-o", "out.dicom", *QUICK).status == 0
    ran = cli("report", "out.dicom", "--json")
    assert ran.status == 0
    assert ran.json["notes"] == []
    text = (here / "out.dicom.report.html").read_text()
    assert 'data-role="difference"' in text
    assert not any(secret in text + ran.out + ran.err for secret in SECRETS)


@pytest.mark.parametrize("shape", [(8, 9, 1), (1, 1, 1), (3, 40, 2)])
def test_volumes_of_few_slices_have_a_report(tmp_path, shape):
    output = finished(tmp_path / "o", "volume")
    files = [output.with_name(f"{name}.nii.gz") for name in ("content", "style", "out")]
    for seed, path in enumerate(files):
        nst_nd.save(scan(seed, shape), path, overwrite=True)
    write_record(output, files[:2], "volume", "volume", shape)
    text, written = page_of(output)
    assert written.said == ()
    assert text.count('id="slice"') == int(shape[2] > 1)


def test_names_of_a_manifest_lead_nowhere_else(tmp_path):
    from nst_nd.report.thumbnails import inside

    assert inside(tmp_path, "a/b.png") == tmp_path / "a" / "b.png"
    for name in ("../b.png", "a/../../b.png", "/etc/passwd", "a\0b"):
        assert inside(tmp_path, name) is None
