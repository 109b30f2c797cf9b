"""A job from a file, --set and options: who wins, where errors point, what is refused."""

from pathlib import Path

import pytest

from nst_nd.config import Job, StyleFile, job_schema
from nst_nd.domains.resolve import resolve
from nst_nd.domains.settings import ExtractorSettings
from nst_nd.draft import Draft
from nst_nd.errors import ConfigError, InputError

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("[!b]*.yaml"))  # batch.yaml is tests/batch's
BASE = "content: c.png\nstyle: s.png\noutput: o.png\n"


@pytest.fixture
def draft(tmp_path):
    def make(text):
        file = tmp_path / "job.yaml"
        file.write_text(text)
        return Draft.of_file(file)

    return make


def test_inputs_are_seen_from_the_file(draft, tmp_path):
    job = draft(
        "content: c.png\nstyle: [a.png, {path: /b.png, weight: 2, mask: m.png}]\noutput: o.png\ninit: i.png\n"
        "extractor: [{name: module, weights: w.safetensors}]\n"
    ).job()
    assert job.content == str(tmp_path / "c.png")
    assert job.style == (
        StyleFile(path=str(tmp_path / "a.png")),
        StyleFile(path="/b.png", weight=2, mask=str(tmp_path / "m.png")),
    )
    assert job.init == str(tmp_path / "i.png")
    assert job.extractor[0].weights == str(tmp_path / "w.safetensors")
    assert job.output == "o.png"


def test_preset_then_file_then_set_then_option(draft):
    made = draft(f"{BASE}preset: volume\nstyle_weight: 1\niterations: 1\nseed: 1\n")
    made.assign("iterations=2")
    made.assign("seed=2")
    made.put("--seed", seed=3)
    job = made.job()
    settings = resolve(job.settings_given(), "volume")
    assert (settings.style_weight, settings.iterations, settings.seed) == (1, 2, 3)
    assert settings.padding == "replicate"  # the preset's
    assert "padding" not in job.settings_given()


def test_set_reaches_into_defaults_and_bare_words(draft):
    made = draft(f"{BASE}preset: audio\n")
    made.assign("extractor.1.seed=7")
    made.assign("style.0.weight=0.5")
    made.assign("tv_weight=1e-3")
    job = made.job()
    assert job.extractor[1].seed == 7
    assert job.extractor[1].prefix == resolve({}, "audio").extractor[1].prefix
    assert job.style[0].weight == 0.5
    assert job.tv_weight == 0.001


def test_size_in_words_and_numbers(draft):
    for text in ("40x30", "[40, 30]"):
        assert draft(f"style: s.png\noutput: o.png\nsize: {text}\n").job().size == (40, 30)
    assert draft("style: s.png\noutput: o.png\nsize: 7\n").job().size == (7,)


@pytest.mark.parametrize(
    ("more", "line", "words"),
    [
        ("iteration: 3", 4, ["iteration: unknown key", "did you mean iterations?"]),
        ("iterations: -3", 4, ["got -3", "greater than or equal to 0"]),
        ("preset: imgae", 4, ["got 'imgae'", "did you mean image?"]),
        ("seed: 1\npreset: volume\nstyle_layer_weights: [1, 1]", 6, ["2 values for 6 style_layers"]),
        ("iterations: yes", 4, ["got true"]),
        ("extractor: [random,\n {name: random, label: b, sed: 1}]", 5, ["sed: unknown key", "did you mean seed?"]),
        ("scales: [1, 0.5]", 4, ["must rise and end with 1"]),
        ("size: 8x8", 4, ["textures"]),
        ("window: [3, 1]", 4, ["the lower first"]),
        ("style_weight: .nan", 4, ["finite"]),
        ("seed: 1\nmask: !!python/name:os.system", 5, ["!!python/name:os.system"]),
        ("jobs: []", 4, ["batch"]),
        ("matrix: {seed: [1, 2]}", 4, ["batch"]),
    ],
)
def test_errors_say_where_and_what(draft, more, line, words):
    with pytest.raises(ConfigError, match=rf"job\.yaml:{line}: ") as error:
        draft(f"{BASE}{more}\n").job()
    message = str(error.value)
    assert all(word in message for word in words)
    assert len(message.splitlines()) <= 3


@pytest.mark.parametrize("text", ["", "- 1\n", "word\n", "style: s.png\n", "style: []\noutput: o.png\n"])
def test_what_is_no_job(draft, text):
    with pytest.raises(ConfigError, match=r"job\.yaml:1: "):
        draft(text).job()


@pytest.mark.parametrize(
    ("assignment", "word"),
    [
        ("seed", "allowed is key=value"),
        ("sed=1", "did you mean seed?"),
        ("style.3.weight=1", "0 to 0"),
        ("style.0.wight=1", "did you mean weight?"),
        ("seed.0=1", "has no parts"),
        ("extractor.0.seed.0=1", "has no part"),
        ("seed=!!python/object:x {}", "tag"),
        ("seed=[1", "not valid YAML"),
        ("seed=x", "got 'x'"),
    ],
)
def test_bad_sets_name_themselves(draft, assignment, word):
    made = draft(f"{BASE}preset: image\nextractor: [{{name: random, seed: 1}}]\nseed: 4\n")

    def apply():
        made.assign(assignment)
        made.job()

    with pytest.raises(ConfigError) as error:
        apply()
    assert str(error.value).startswith(f"--set {assignment}: ")
    assert word in str(error.value)


def test_a_part_of_a_default_needs_a_preset(draft, tmp_path):
    np_file = tmp_path / "c.npy"
    np_file.write_bytes(b"\x93NUMPY\x01\x00" + bytes(100))
    made = draft(f"content: {np_file}\nstyle: {np_file}\noutput: o.npy\n")
    with pytest.raises(ConfigError, match="name the preset too"):
        made.assign("extractor.0.seed=1")


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Draft.of_file(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"content: \xe9\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        Draft.of_file(tmp_path / "latin.yaml")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_configs_are_jobs_on_shipped_samples(path):
    draft = Draft.of_file(path)
    job = draft.job()
    assert all(Path(file).is_file() for file in (job.content, *(s.path for s in job.style)))
    resolve(job.settings_given(), "image")
    assert set(draft.values) <= set(job_schema()["properties"])


def test_there_is_a_config_for_every_domain():
    assert {"image", "audio", "ecg", "volume", "ct", "gatys_classic"} <= {path.stem for path in CONFIGS}


def test_schema_knows_every_key_and_the_short_forms():
    schema = job_schema()
    assert set(schema["properties"]) == set(Job.model_fields)
    assert schema["required"] == ["style", "output"]
    assert schema["additionalProperties"] is False
    assert set(schema["$defs"]["ExtractorSettings"]["properties"]) == set(ExtractorSettings.model_fields)
    for key in ("style", "extractor"):
        assert {"type": "string"} in schema["properties"][key]["anyOf"]
    assert all("description" in entry for entry in schema["properties"].values())
