"""Somebody who looks at a result while it comes changes nothing of it, and sees what stopping there would give."""

import pytest
from core_samples import MAKE, PRESETS, QUICK, bits

from nst_nd.domains.stylize import transfer


class Eye:
    """Looks after every step but the first."""

    def __init__(self):
        self.asked, self.seen = 0, []

    def due(self):
        self.asked += 1
        return self.asked > 1

    def show(self, make):
        self.seen.append(make())


@pytest.mark.parametrize("preset", PRESETS)
def test_a_look_changes_nothing_and_shows_what_stopping_gives(preset):
    content, style = MAKE[preset](seed=1), MAKE[preset](seed=2)
    settings = {"preset": preset, **QUICK}
    eye = Eye()
    seen = transfer(content, style, settings=settings, viewer=eye)
    assert bits(seen.sample) == bits(transfer(content, style, settings=settings).sample)
    assert (eye.asked, len(eye.seen)) == (4, 3)  # on both scales
    assert all(sample.data.shape == content.data.shape for sample in eye.seen)
    steps = []
    stopped = transfer(content, style, settings=settings, on_step=steps.append, should_stop=lambda: len(steps) == 3)
    assert bits(stopped.sample) == bits(eye.seen[1])
