"""A unit's activation from its patch alone, layer by layer with torch's own functions."""

import torch
import torch.nn.functional as F

from nst_nd.features.convolution import Convolution, MultiWidth
from nst_nd.features.layer import Pool

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def alone(extractor, patch, box, size, position):
    """[C]: patch [1, nc, *box] cut out of a signal of `size`, at a position of the last layer.

    Convolutions run without padding; only where the field reaches beyond the signal is its border put there.
    """
    layers = [layer for stage in extractor.stages for layer in stage.layers]
    sizes = [tuple(size)]
    for layer in layers:
        sizes.append(_output(layer, sizes[-1]))
    want = [(p, p + 1) for p in position]
    wants = []
    for layer in reversed(layers):
        wants.insert(0, want)
        want = [_seen(layer, axis, span) for axis, span in enumerate(want)]
        want = [(max(0, a), min(b, n)) for (a, b), n in zip(want, sizes[layers.index(layer)], strict=True)]
    assert [tuple(span) for span in want] == [tuple(span) for span in box]
    x, have = patch, want
    for layer, want, n in zip(layers, wants, sizes, strict=False):
        need = [_seen(layer, axis, span) for axis, span in enumerate(want)]
        amounts = [(h[0] - a, b - h[1]) for (a, b), h in zip(need, have, strict=True)]
        assert all(low >= 0 and high >= 0 for low, high in amounts)
        del n
        x = _run(layer, x, amounts)
        have = want
    assert x.shape[2:] == (1,) * (x.dim() - 2)
    return x.flatten()


def _branches(layer):
    return layer.branches if isinstance(layer, MultiWidth) else (layer,)


def _reach(layer):
    """Halo, extent and stride per axis, from the weights."""
    if isinstance(layer, Pool):
        return [(0, k, k) for k in layer.kernel]
    if not isinstance(layer, Convolution | MultiWidth):
        return None
    widest = max((b.weight.shape[2:] for b in _branches(layer)), key=max)
    return [((k - 1) // 2, k, s) for k, s in zip(widest, _branches(layer)[0].stride, strict=True)]


def _seen(layer, axis, span):
    reach = _reach(layer)
    if reach is None:
        return span
    halo, extent, stride = reach[axis]
    return span[0] * stride - halo, (span[1] - 1) * stride - halo + extent


def _output(layer, size):
    reach = _reach(layer)
    if reach is None:
        return size
    return tuple((n + 2 * h - e) // s + 1 for n, (h, e, s) in zip(size, reach, strict=True))


def _run(layer, x, amounts):
    ndim = x.dim() - 2
    if isinstance(layer, Pool):
        assert layer.mode == "average"
        return POOL[ndim](x, layer.kernel)
    if not isinstance(layer, Convolution | MultiWidth):
        return layer(x)
    both = [n for pair in reversed(amounts) for n in pair]
    padding = _branches(layer)[0].padding
    if any(both):
        x = F.pad(x, both, mode="constant" if padding == "zeros" else padding)
    outs = []
    for branch in _branches(layer):
        spare = [(a - b) // 2 for a, b in zip(_widest(layer), branch.weight.shape[2:], strict=True)]
        inner = x[(slice(None), slice(None), *(slice(s, n - s) for s, n in zip(spare, x.shape[2:], strict=True)))]
        out = CONV[ndim](inner, branch.weight, branch.bias, branch.stride)
        outs.append(out.relu() if branch.rectify else out)
    return torch.cat(outs, 1)


def _widest(layer):
    return max((b.weight.shape[2:] for b in _branches(layer)), key=max)
