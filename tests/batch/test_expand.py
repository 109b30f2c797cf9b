"""Which jobs a batch file stands for, and what is wrong with one."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from nst_nd.batch.clashes import refuse_clashes
from nst_nd.batch.expand import expand
from nst_nd.batch.preflight import check_disk, preflight
from nst_nd.config import batch_schema
from nst_nd.draft import read_yaml
from nst_nd.errors import ConfigError, InputError, OutputError


def jobs_of(text, sets=(), **options):
    path = Path("b.yaml")
    path.write_text(text)
    found = expand(path, read_yaml(path), Path("out"), sets, options)
    refuse_clashes(found)
    return found


def test_defaults_matrix_globs_and_templates(here):
    found = jobs_of(
        "defaults: {iterations: 5, style: in/img3.png}\n"
        "matrix: {style_weight: [1, 2.5], seed: [0, 7]}\n"
        "jobs:\n"
        '  - {content: "in/img[01].png", output: "{content.stem}_{style.stem}_{style_weight}_{seed}.png"}\n'
        '  - {content: in/snd0.wav, style: "in/snd[12].wav", seed: 4, output: "w{style_weight}/{style.name}"}\n'
    )
    assert len(found) == 2 * 4 + 2 * 2
    assert found[0].name == "img0_img3_1_0.png"
    assert {one.name for one in found[:8]} == {
        f"img{i}_img3_{w}_{s}.png" for i in (0, 1) for w in ("1", "2.5") for s in (0, 7)
    }
    sounds = {one.name: one.job for one in found[8:]}
    assert set(sounds) == {f"w{w}/snd{i}.wav" for w in ("1", "2.5") for i in (1, 2)}
    assert {job.seed for job in sounds.values()} == {4}
    assert all(one.job.iterations == 5 for one in found)
    assert found[0].job.content == "in/img0.png"
    assert found[0].job.output == "out/img0_img3_1_0.png"


def test_the_command_line_is_over_everything(here):
    (one,) = jobs_of(
        "jobs: [{content: in/img0.png, style: in/img1.png, output: o.png, seed: 1}]", ["seed=9"], device="cpu"
    )
    assert (one.job.seed, one.job.device) == (9, "cpu")


def test_braces_are_written_twice_and_a_file_with_brackets_is_a_name(here):
    (here / "in" / "a[1].png").write_bytes((here / "in" / "img0.png").read_bytes())
    (one,) = jobs_of('jobs: [{content: "in/a[1].png", style: in/img1.png, output: "{{x}}_{content.stem}.png"}]')
    assert one.name == "{x}_a[1].png"


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("jobs: []", 1, "jobs"),
        ("jobs:\n  - {style: in/img0.png}", 2, "output: missing"),
        ("jobs:\n  - {style: s.png, output: o.png, itertions: 3}", 2, "did you mean iterations?"),
        ("defaults:\n  seeed: 3\njobs:\n  - {style: s.png, output: o.png}", 2, "did you mean seed?"),
        ("jobs:\n  - {content: 'no*.png', style: s.png, output: o.png}", 2, "no file fits 'no*.png'"),
        ("jobs:\n  - {style: s.png, output: '{nothing}.png'}", 2, "no field {nothing}"),
        ("jobs:\n  - {style: s.png, output: ../o.png}", 2, "a name under the folder"),
        ("jobs:\n  - {style: s.png, output: /o.png}", 2, "a name under the folder"),
        ("jobs:\n  - {style: s.png, output: 'a\\b.png'}", 2, "a name under the folder"),
        ("jobs:\n  - {style: s.png, output: .nst-nd/o.png}", 2, "own folder"),
        ("matrix: {seed: [1, 2]}\njobs:\n  - {style: s.png, output: o.png}", 3, "two jobs would write o.png"),
        ("matrix: {seed: []}\njobs:\n  - {style: s.png, output: o.png}", 1, "matrix.seed"),
        ("jobs:\n  - {style: [a.png, 'b*.png'], output: o.png}", 2, "in a list of styles"),
        ("jobs:\n  - 3", 2, "jobs.0"),
        ("job: 1\njobs:\n  - {style: s.png, output: o.png}", 1, "job"),
        ("jobs:\n  - {style: s.png, output: o.png, iterations: -1}", 2, "got -1"),
    ],
)
def test_errors_say_where_and_what(here, text, line, word):
    with pytest.raises(ConfigError, match=rf"^b\.yaml:{line}: ") as error:
        jobs_of(text)
    assert word in str(error.value)


def looked_at(text, **options):
    found = preflight(jobs_of(text), Path("out"), lambda name: False, **options)
    return {name: str(error) for name, error in found.errors.items()}, found


def test_what_headers_tell(here):
    (here / "in" / "short.nii.gz").write_bytes(b"\x1f\x8b nothing")
    (here / "in" / "text.wav").write_text("I am no sound")
    errors, found = looked_at(
        "jobs:\n"
        "  - {content: in/none.png, style: in/img1.png, output: a.png}\n"
        "  - {content: in/img0.png, style: in/snd1.wav, output: b.png}\n"
        "  - {content: in/text.wav, style: in/snd1.wav, output: c.wav}\n"
        "  - {content: in/short.nii.gz, style: in/vol1.nii.gz, output: d.nii.gz}\n"
        "  - {content: in/img0.png, style: in/img1.png, output: e.wav}\n"
        "  - {content: in/img0.png, style: in/img1.png, output: f.png}\n"
        "  - {content: in/img0.png, style: in/img1.png, output: g.png, style_layers: [relu9_9]}\n"
        "  - {content: in/img0.png, style: in/img1.png, output: h.png, rate: 5}\n"
        "  - {content: in/img0.png, style: in/img1.png, output: i.png, init: in/none.png}\n"
        "  - {content: in/img0.png, style: {path: in/img1.png, mask: in/none.png}, output: j.png}\n"
        "  - {content: in/img0.png, style: {path: in/img1.png, mask: in/snd0.wav}, output: k.png}\n",
        plans=True,
    )
    assert set(errors) == {"a.png", "b.png", "c.wav", "d.nii.gz", "e.wav", "g.png", "h.png", "i.png", "j.png", "k.png"}
    assert "no such file" in errors["a.png"]
    assert "kind" in errors["b.png"]
    assert "relu9_9" in errors["g.png"]
    assert "predicted" in found.plans["f.png"]
    assert found.size["f.png"] == 32 * 40 * 3 * 2


def test_channels_that_do_not_go_together(here):
    rows = [f"{k / 100:.2f},{k % 7}" for k in range(400)]
    (here / "in" / "one.csv").write_text("\n".join(["time,a", *rows]) + "\n")
    errors, _ = looked_at("jobs: [{content: in/ecg0.csv, style: in/one.csv, output: o.csv}]")
    assert "2 channels" in errors["o.csv"]


def test_links_that_lead_out_are_refused(here):
    (here / "out").mkdir()
    (here / "elsewhere").mkdir()
    (here / "out" / "sub").symlink_to(here / "elsewhere")
    errors, _ = looked_at("jobs: [{content: in/img0.png, style: in/img1.png, output: sub/o.png}]")
    assert "link leads out" in errors["sub/o.png"]


def test_a_disk_that_is_too_small(here):
    with pytest.raises(OutputError, match="are free"):
        check_disk(here / "none" / "yet", 1 << 60)
    check_disk(here, 1)


def test_the_schema_knows_a_batch():
    example = Path(__file__).parents[2] / "configs" / "batch.yaml"
    jsonschema.validate(yaml.safe_load(example.read_text()), batch_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"jobs": [{"sed": 3}]}, batch_schema())


def test_the_example_stands_for_eight_jobs():
    example = Path(__file__).parents[2] / "configs" / "batch.yaml"
    assert len(expand(example, read_yaml(example), Path("out"))) == 8


def test_a_file_that_is_not_there():
    with pytest.raises(InputError):
        read_yaml(Path("nowhere.yaml"))
