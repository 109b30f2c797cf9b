"""Samples and results as notebooks show them: text stays text, pyplot is left alone, nothing is fetched."""

import base64
import io
import re
import subprocess
import sys
from html.parser import HTMLParser

import matplotlib.style
import numpy as np
import pytest
from drawing_helpers import audio, ecg, image, volume
from PIL import Image

import nst_nd
from nst_nd.drawing import notebook
from nst_nd.errors import InputError
from nst_nd.sample import Grid, Sample

QUICK = {
    "extractor": [{"name": "random", "channels": [4, 4]}],
    "content_layers": ["relu2"],
    "style_layers": ["relu1", "relu2"],
    "iterations": 3,
}
HOSTILE = (
    "<script>alert(1)</script>",
    "' onload=\"x\" '",
    "$\\frac{1}{0$",
    "\u202egnp.exe",
    "two\nlines\x00",
    "\u65e5\u672c\U0001f600",
    "x" * 500,
)


class Page(HTMLParser):
    """Tags, attributes and text of a piece of HTML."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.said, self.open = [], [], "", []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said += f"{data}\n"

    def pictures(self):
        return [value for name, value in self.attributes if name == "src"]


@pytest.fixture(scope="module")
def result():
    return nst_nd.stylize(image(3, 24, 32), image(3, 24, 32, seed=1), scales=[0.5, 1], **QUICK)


@pytest.mark.parametrize("sample", [image(), volume(affine=np.eye(4)), audio(0.2), ecg(1.0)], ids=lambda s: s.kind)
def test_what_a_notebook_shows_of_a_sample(sample):
    page = Page(sample._repr_html_())
    assert sample.kind in page.said
    assert " x ".join(str(n) for n in (sample.shape[::-1] if sample.kind == "image" else sample.shape)) in page.said
    (source,) = page.pictures()
    head, _, data = source.partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert min(picture.size) > 100
    assert sample._repr_png_()[:8] == b"\x89PNG\r\n\x1a\n"
    assert sample.plot()._repr_png_()[:8] == b"\x89PNG\r\n\x1a\n"


def test_what_a_notebook_shows_of_a_result(result):
    page = Page(result._repr_html_())
    assert len(page.pictures()) == 2
    assert {"content, style and result", "convergence"} <= {v for k, v in page.attributes if k == "alt"}
    assert "3" in page.said.split("steps")[1].split()[0]
    assert result._repr_png_()[:4] == b"\x89PNG"


def test_a_result_has_what_it_was_made_of(result):
    assert result.content.shape == (24, 32)
    assert [style.shape for style in result.styles] == [(24, 32)]
    texts = [text.get_text() for text in result.plot().texts]
    assert {"content", "style", "result", "result less content"} <= set(texts)
    labels = [line.get_label() for line in result.plot_convergence().axes[0].lines]
    assert {"content/relu2", "style/relu1", "style/relu2", "sum"} <= {label.removesuffix(" (0)") for label in labels}
    total = next(line for line in result.plot_convergence().axes[0].lines if line.get_label() == "sum")
    losses = [step.loss for step in result.history]
    np.testing.assert_allclose(total.get_ydata()[np.isfinite(total.get_ydata())], losses)
    assert result.plot_convergence().axes[0].get_xlabel().endswith("(scale 1: 12 x 16, 2: 24 x 32)")


def test_a_texture_has_no_content():
    made = nst_nd.stylize(None, image(3, 24, 32), **{**QUICK, "content_layers": [], "iterations": 1})
    texts = [text.get_text() for text in made.plot().texts]
    assert "content" not in texts
    assert not any("less" in text for text in texts)


def test_a_run_without_steps_says_so():
    made = nst_nd.stylize(image(3, 24, 32), image(3, 24, 32, seed=1), **{**QUICK, "iterations": 0})
    with pytest.raises(InputError, match="no steps"):
        made.plot_convergence()
    assert "no steps to draw" in Page(made._repr_html_()).said


@pytest.mark.parametrize("name", HOSTILE, ids=[repr(n)[:12] for n in HOSTILE])
def test_hostile_names_are_text(name):
    sample = Sample(np.zeros((1, 500), np.float32), "ecg", name, Grid((0.01,), "s", 100.0), (name,), notes=(name,))
    html = sample._repr_html_()
    page = Page(html)
    assert "script" not in page.tags
    assert {key for key, _ in page.attributes} <= {"style", "alt", "width", "src"}
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00]", html)
    assert len(page.said) < 3000
    if name.startswith("<"):
        assert page.said.count("<script>") == 3
    (drawn,) = (text.get_text() for text in sample.plot().axes[0].texts)
    assert "\n" not in drawn
    assert len(drawn) <= 32


def test_many_notes_are_counted():
    page = Page(notebook.page({}, {}, [f"note {n}" for n in range(20)]))
    assert "note 7" in page.said
    assert "note 8" not in page.said
    assert "12 notes more" in page.said


def test_what_cannot_be_drawn_still_has_its_facts():
    odd = image(1, 4, 4, 4, spacing=(1.0, 1.0, 1.0))
    page = Page(odd._repr_html_())
    assert "not drawn as image" in page.said
    assert "4 x 4 x 4" in page.said


def test_pyplot_and_its_settings_are_left_alone(result):
    from matplotlib import pyplot

    before, settings = pyplot.get_fignums(), dict(matplotlib.rcParams)
    for drawn in (result, image(), volume(), audio(0.1), ecg(1.0)):
        drawn._repr_html_()
        drawn.plot()
    assert pyplot.get_fignums() == before
    assert dict(matplotlib.rcParams) == settings


def test_dark_styles_stay_dark():
    with matplotlib.style.context("dark_background"):
        figure = volume(affine=np.eye(4)).plot()
        assert figure.get_facecolor()[:3] == (0.0, 0.0, 0.0)
        assert {text.get_color() for text in figure.texts} == {"white"}
        assert {bar.get_color() for bar in figure.artists} == {"white"}
        paper = ecg(1.0).plot().axes[0]
        assert paper.get_facecolor()[:3] == (1.0, 1.0, 1.0)
        assert figure.png(dpi=30)


def test_neither_pyplot_nor_a_display_is_needed():
    code = (
        "import sys, numpy; from nst_nd import Grid, Sample; assert 'matplotlib' not in sys.modules\n"
        "s = Sample(numpy.zeros((1, 4, 4), 'f4'), 'image', 'full scale', Grid((1.0, 1.0), 'px'))\n"
        "assert 'matplotlib' not in sys.modules; s._repr_html_(); s._repr_png_()\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env={"MPLBACKEND": "TkAgg"})
