"""The search with a network of which everything is known."""

import pytest
from patch_helpers import detector

from nst_nd.domains.networks import Network
from nst_nd.patches import network


@pytest.fixture
def detecting(monkeypatch):
    """The search watches the detector, whatever the settings say."""

    def build(settings, nc, ndim, kernel, *, with_content, rates):
        (layer,) = settings.style_layers
        return [Network("", detector(nc, ndim).until([layer]), {}, {layer: 1.0})]

    monkeypatch.setattr(network, "build_networks", build)
