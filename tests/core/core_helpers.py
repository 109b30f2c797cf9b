"""What the core tests share: seeded signals, small networks, statistics in plain numpy."""

import numpy as np
import torch

from nst_nd import STATISTICS, random_network
from nst_nd.features.statistics import LOG_FLOOR

NDIMS = (1, 2, 3)
# those that any channels have
GENERAL = tuple(name for name in STATISTICS if name != "log_moments")
CHANNELS = (1, 2, 3, 12)
# odd sizes, different along every axis
SIZES = {1: (37,), 2: (19, 23), 3: (9, 11, 13)}
# the same for what is checked coordinate by coordinate
TINY = {1: (7,), 2: (3, 5), 3: (3, 2, 3)}


def signal(ndim, nc=2, *, seed=0, size=None, dtype=torch.float64, scale=1.0):
    """Gaussian noise [1, nc, *size]."""
    generator = torch.Generator().manual_seed(1000 * seed + 10 * nc + ndim)
    x = torch.randn(1, nc, *(size or SIZES[ndim]), generator=generator, dtype=torch.float64)
    return (scale * x).to(dtype)


def network(nc, ndim, dtype=torch.float64, **options):
    """Two small random stages with two kernel widths."""
    options = {"widths": (3, 5), "channels": (6, 8), **options}
    return random_network(nc, ndim, **options).to(torch.device("cpu"), dtype)


def table(x):
    """[1, C, *space] as a numpy array [C, N]."""
    return x[0].flatten(1).double().numpy()


def numpy_statistic(name, x):
    """The definition of each statistic, from numpy's own functions."""
    f = table(x)
    if name == "gram":
        return f @ f.T / f.shape[1]
    if name in ("mean_std", "levels"):
        return np.concatenate([f.mean(1), f.std(1)])
    if name == "log_std":
        return 0.5 * np.log(f.var(1) + LOG_FLOOR)
    return np.atleast_2d(np.cov(f, bias=True) if name == "covariance" else np.corrcoef(f))


def relative(a, b):
    """|| a - b || / || b ||."""
    a, b = torch.as_tensor(a).double(), torch.as_tensor(b).double()
    return float((a - b).norm() / b.norm())
