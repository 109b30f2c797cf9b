"""Jobs of one batch that would be in each other's way; nothing is started, whichever of them are chosen."""

from pathlib import Path

import pytest
from batch_files import SMALL_IMAGE, look, results, run

IMAGE = "{{content: {}, style: in/img3.png, output: {}}}"
VOLUME = "{{content: {}, style: in/vol0.nii.gz, output: {}}}"
ECG = "{{content: {}, style: in/ecg3.csv, output: {}}}"


def batch(folder, *jobs, name="b.yaml"):
    """A batch file of these jobs, with a network that is small."""
    (folder / name).write_text(
        f"defaults:\n    iterations: 2{SMALL_IMAGE}jobs:\n" + "".join(f"  - {job}\n" for job in jobs)
    )


def refused(folder, word, *more):
    """Whether both a look and a run say so, and leave everything as it was."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for how in ((), ("--dry-run",), *(("--overwrite", *some) for some in ((), ("--part", "1/2"), ("--only", "*a*")))):
        ran = look(folder, "run", "b.yaml", *more, *how)
        assert ran.returncode == 2, (how, ran.stdout, ran.stderr)
        assert word in ran.stderr, how
        assert "Traceback" not in ran.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("kind", "first", "second", "names"),
    [
        (VOLUME, "in/vol0.nii.gz", "in/vol1.nii.gz", ("a.hdr", "a.img")),
        (ECG, "in/ecg0.csv", "in/ecg1.csv", ("a.hea", "a.dat")),
        (IMAGE, "in/img0.png", "in/img1.png", ("a.png", "a.png/b.png")),
        (IMAGE, "in/img0.png", "in/img1.png", ("x/a.png", "x/./a.png")),
    ],
)
def test_two_jobs_that_write_the_same_files(here, kind, first, second, names):
    batch(here, kind.format(first, names[0]), kind.format(second, names[1]))
    refused(here, "two jobs would write")
    batch(here, kind.format(second, names[1]), kind.format(first, names[0]))
    refused(here, "two jobs would write")


def test_two_names_of_one_folder(here):
    (here / "b" / "one").mkdir(parents=True)
    (here / "b" / "two").symlink_to("one")
    batch(here, IMAGE.format("in/img0.png", "one/a.png"), IMAGE.format("in/img1.png", "two/a.png"))
    refused(here, "two jobs would write")


@pytest.mark.parametrize("read", ["in/img1.png", "cfg/../in/img1.png", "./in/img1.png", "link/img1.png", "absolute"])
def test_an_output_that_another_job_reads(here, read):
    (here / "cfg").mkdir()
    (here / "link").symlink_to("in")
    read = str(here / "in" / "img1.png") if read == "absolute" else read
    batch(here, IMAGE.format("in/img0.png", "img1.png"), IMAGE.format(read, "a.png"))
    refused(here, "an input of a.png", "--out", "in")


def test_a_link_that_another_job_reads(here):
    (here / "in" / "link.png").symlink_to("img1.png")
    for name in ("link.png", "img1.png"):
        batch(here, IMAGE.format("in/img0.png", name), IMAGE.format("in/link.png", "a.png"))
        refused(here, "an input of a.png", "--out", "in")


def test_from_a_folder_of_configs_beside_that_of_the_data(here):
    (here / "cfg").mkdir()
    lines = IMAGE.format("../in/img0.png", "img1.png"), IMAGE.format("../in/img1.png", "a.png")
    batch(here, *(line.replace("style: in", "style: ../in") for line in lines), name="cfg/b.yaml")
    before = results(here / "in")
    for how in ("--overwrite", "--dry-run"):
        ran = run(here, "run", "cfg/b.yaml", "--out", "in", how)
        assert (ran.returncode, "an input of a.png" in ran.stderr) == (2, True)
    assert results(here / "in") == before


def test_into_a_folder_that_another_job_reads_as_a_series(here):
    (here / "in").rename(here / "series")
    batch(
        here,
        "{content: series/vol0.nii.gz, style: series/vol1.nii.gz, output: a.nii.gz}",
        "{content: series, style: series, output: x.dicom}",
    )
    refused(here, "an input of x.dicom", "--out", "series")


def test_neighbours_are_no_clash(here):
    names = ("x/a.png", "x/b.png", "a.png", "ax.png")
    batch(here, *(IMAGE.format(f"in/img{i}.png", name) for i, name in enumerate(names)))
    assert look(here, "run", "b.yaml", "--dry-run").returncode == 0
    assert run(here, "run", "b.yaml", "--quiet").returncode == 0
    assert set(results(here / "b")) == set(names)
    assert Path("b").is_dir()
