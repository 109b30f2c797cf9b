"""Faults that a reviewer found."""

import contextlib
import json
import os
import subprocess
import sys
import threading

import nibabel
import numpy as np
from batch_files import IMAGES, look, results, run
from PIL import Image

from nst_nd.batch import records
from nst_nd.batch.coordinator import sweep_output
from nst_nd.batch.lock import locked
from nst_nd.batch.manifest import opened
from nst_nd.batch.records import Record
from nst_nd.errors import OutputError
from nst_nd.io.atomic import publishing

SMALL = "extractor: {name: random, channels: [4]}, style_layers: [relu1], content_layers: [relu1], iterations: 1"


def summary(folder, *more):
    return json.loads(run(folder, "run", "b.yaml", "--json", *more).stdout)


def test_the_other_file_of_a_pair_is_part_of_what_is_asked_for(here):
    for name in ("c", "s"):
        volume = nibabel.load(here / "in" / "vol1.nii.gz")
        nibabel.save(nibabel.Nifti1Pair(volume.get_fdata(dtype=np.float32), np.eye(4)), here / "in" / f"{name}.hdr")
    (here / "b.yaml").write_text(
        f"jobs: [{{content: in/c.hdr, style: in/vol0.nii.gz, output: a.nii.gz, method: features, {SMALL}}}]\n"
    )
    assert summary(here)["done"] == 1
    before = results(here / "b")
    voxels = np.fromfile(here / "in" / "c.img", np.float32)
    (voxels[::-1] * 1.1).astype(np.float32).tofile(here / "in" / "c.img")
    assert summary(here)["done"] == 1
    assert results(here / "b") != before


def test_nothing_is_imported_from_the_folder_of_the_data(here):
    (here / "b.yaml").write_text(IMAGES)
    (here / "colorsys.py").write_text("open('PWNED', 'w').write('x')\n")
    (here / "queue.py").write_text("open('PWNED', 'w').write('x')\nraise SystemExit(9)\n")
    command = [sys.executable, "-P", "-m", "nst_nd", "run", "b.yaml", "--quiet"]
    assert subprocess.run(command, cwd=here, capture_output=True, timeout=120, check=False).returncode == 0
    assert not (here / "PWNED").exists()


def test_sweeping_one_output_leaves_another_that_is_being_written(tmp_path):
    for name, other in (("v.nii.gz", "v.nii"), ("p" * 62 + "_w30.nii.gz", "p" * 62 + "_w100.nii.gz")):
        with publishing(tmp_path / name, overwrite=False) as private:
            private.write_bytes(b"x")
            sweep_output(tmp_path / other)
        assert (tmp_path / name).read_bytes() == b"x"


def test_parts_and_whole_runs_do_not_mix(here):
    (here / "b.yaml").write_text(IMAGES)
    with locked(here / "b", "lock-parts", shared=True):
        assert look(here, "run", "b.yaml").returncode == 2
        with locked(here / "b", "lock-1-of-2"):
            assert look(here, "run", "b.yaml", "--part", "1/4").returncode == 2
        assert run(here, "run", "b.yaml", "--part", "1/1").returncode == 0


def test_a_newer_record_is_not_removed_with_an_older_one(tmp_path, monkeypatch):
    with opened_home(tmp_path) as manifest:
        records.leave(Record("a.png", "running"), tmp_path)
        write = manifest._write

        def late(query, rows):
            write(query, rows)
            records.leave(Record("a.png", "failed", error="why"), tmp_path)

        monkeypatch.setattr(manifest, "_write", late)
        manifest.take_in()
        monkeypatch.setattr(manifest, "_write", write)
        manifest.take_in()
        assert manifest.get("a.png").error == "why"
        assert not list((tmp_path / "jobs").iterdir())


def opened_home(folder):
    (folder / "jobs").mkdir(exist_ok=True)
    return opened(folder)


def test_records_that_are_nonsense_are_none(tmp_path):
    (tmp_path / "jobs").mkdir()
    for number, text in enumerate(("{}", "[]", "3", '{"state": "odd"}', "no")):
        (tmp_path / "jobs" / f"{number}.json").write_text(text)
    assert not list(records.left(tmp_path))
    assert not records.take(tmp_path)


def test_odd_names_and_files_fail_alone(here):
    os.mkfifo(here / "in" / "fifo.png")
    long = "n" * 245
    Image.open(here / "in" / "img0.png").save(here / "in" / f"{long}.png")
    (here / "b.yaml").write_text(
        IMAGES
        + f"  - {{content: in/fifo.png, output: f.png, {SMALL}}}\n"
        + f"  - {{content: {'x' * 300}.png, output: g.png, {SMALL}}}\n"
        + f"  - {{content: in/{long}.png, output: '{{content.stem}}_long_.png', {SMALL}}}\n"
    )
    ran = run(here, "run", "b.yaml", "--json")
    assert ran.returncode == 5, ran.stderr
    found = json.loads(ran.stdout)
    assert (found["done"], found["failed"]) == (3, 3)


def test_no_folder_of_a_patient_is_kept(here):
    inside = here / "in" / "SMITH_JOHN"
    inside.mkdir()
    (inside / "ecg.hea").write_text("ecg 1 250 1000\nnothing\n")
    (inside / "ecg.dat").write_bytes(bytes(100))
    (here / "b.yaml").write_text("jobs: [{content: in/SMITH_JOHN/ecg.dat, style: in/ecg0.csv, output: o.csv}]")
    assert run(here, "run", "b.yaml").returncode == 5
    for file in (here / "b" / ".nst-nd").rglob("*"):
        if file.is_file():
            assert b"SMITH" not in file.read_bytes(), file


def test_a_lost_manifest_and_a_changed_input(here):
    (here / "b.yaml").write_text(IMAGES)
    assert summary(here)["done"] == 3
    (here / "b" / ".nst-nd" / "manifest.sqlite").unlink()
    assert look(here, "run", "b.yaml", "--dry-run").returncode == 0
    Image.fromarray(np.full((32, 40, 3), 99, np.uint8)).save(here / "in" / "img0.png")
    assert summary(here) | {"seconds": 0} == {
        **{"folder": "b", "jobs": 3, "kept": 2, "done": 1, "failed": 0, "left": 0, "warned": 0, "seconds": 0}
    }


def test_a_job_that_failed_does_not_own_what_is_put_there_later(here):
    job = f"{{content: in/img0.png, style: in/img1.png, output: a.png, init: in/no.png, {SMALL}}}"
    (here / "b.yaml").write_text(f"jobs: [{job}]")
    assert run(here, "run", "b.yaml").returncode == 5
    (here / "b" / "a.png").write_bytes(b"mine")
    Image.open(here / "in" / "img2.png").save(here / "in" / "no.png")
    assert run(here, "run", "b.yaml").returncode == 5
    assert (here / "b" / "a.png").read_bytes() == b"mine"


def test_a_template_says_what_was_done(here):
    (here / "b.yaml").write_text(
        "matrix: {style_weight: [30, 100]}\n"
        f"jobs: [{{content: in/img0.png, style: in/img1.png, output: 'a_{{style_weight}}.png', {SMALL}}}]"
    )
    ran = run(here, "run", "b.yaml", "--set", "style_weight=5")
    assert ran.returncode == 2
    assert "two jobs would write a_5.png" in ran.stderr


def test_patterns_do_not_find_the_outputs(here):
    (here / "b.yaml").write_text(
        f"jobs: [{{content: '**/img[01].png', style: in/img3.png, output: '{{content.name}}', {SMALL}}}]"
    )
    assert summary(here)["done"] == 2
    assert summary(here)["kept"] == 2


def test_leaving_and_sweeping_at_once_do_not_crash(tmp_path):
    stop = threading.Event()
    errors = []

    def sweep():
        while not stop.is_set():
            try:
                records.sweep(tmp_path)
            except OSError as error:
                errors.append(error)

    (tmp_path / "jobs").mkdir()
    thread = threading.Thread(target=sweep)
    thread.start()
    for _ in range(200):
        with contextlib.suppress(OutputError):  # only runs that nobody else is beside sweep
            records.leave(Record("a.png", "done"), tmp_path)
    stop.set()
    thread.join()
    assert not errors
