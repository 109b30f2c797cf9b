"""What jobs of one process share is what each would have made."""

import numpy as np
import pytest
import torch
from core_samples import image

import nst_nd
from nst_nd.domains import networks, shared, targets

SMALL = {"extractor": {"name": "random", "channels": (4, 4)}, "style_layers": ("relu1",), "content_layers": ("relu2",)}


@pytest.fixture
def sharing():
    shared.share()
    yield shared.shared()
    shared._shared = None


def run(content, style, **more):
    extractor = [more.pop("extractor", SMALL["extractor"])]
    rest = {k: v for k, v in SMALL.items() if k != "extractor"}
    return nst_nd.stylize(content, style, iterations=2, extractor=extractor, **rest, **more).sample.data


def test_the_same_bits_and_each_thing_made_once(monkeypatch):
    contents, styles = [image(seed=i) for i in (1, 2)], [image(seed=i) for i in (3, 4)]
    jobs = [(c, s, w) for c in contents for s in styles for w in (1.0, 50.0)]
    alone = [run(c, s, style_weight=w) for c, s, w in jobs]
    scales = len(nst_nd.stylize(contents[0], styles[0], iterations=0).settings.scales)
    made = {"networks": 0, "targets": 0}

    def counted(what, function):
        def call(*words):
            made[what] += 1
            return function(*words)

        return call

    monkeypatch.setattr(networks, "_build", counted("networks", networks._build))
    monkeypatch.setattr(targets, "_found_moments", counted("targets", targets._found_moments))
    shared.share()
    try:
        together = [run(c, s, style_weight=w) for c, s, w in jobs]
    finally:
        shared._shared = None
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)
    assert made["networks"] == 1
    assert made["targets"] <= len(styles) * scales


def test_what_differs_is_made_anew(sharing):
    content, style = image(seed=1), image(seed=3)
    first = run(content, style)
    other = run(content, style, extractor={"name": "random", "channels": (4, 4), "seed": 5})
    assert (first != other).any()
    changed = style.replace(data=style.data[:, ::-1].copy())
    assert (run(content, changed) != first).any()
    np.testing.assert_array_equal(run(content, style), first)
    assert len(sharing.built) == 2


def test_only_the_latest_are_kept(sharing):
    for i in range(shared.MOST_NETWORKS + 5):
        sharing.network(str(i), lambda: nst_nd.random_network(1, 1, channels=(2,), widths=(3,)))
    assert len(sharing.built) == shared.MOST_NETWORKS
    assert "0" not in sharing.built
    here = sharing.network("x", lambda: nst_nd.random_network(1, 1, channels=(2,), widths=(3,)))
    cpu = torch.device("cpu")
    assert sharing.on(here, cpu, "float32", fast=False) is sharing.on(here, cpu, "float32", fast=False)
    assert sharing.on(here, cpu, "bfloat16", fast=False) is not sharing.on(here, cpu, "float32", fast=False)
