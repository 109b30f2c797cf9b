"""L-BFGS against the textbook's two loops on whole vectors; slabs, saved state, mapped histories and memory."""

import json
import math
import subprocess
import sys
import threading
from itertools import pairwise

import pytest
import torch
from core_helpers import NDIMS, signal

from nst_nd.engine import basis, flat
from nst_nd.engine.optimisers import LBFGS, LONGEST_STEP, Adam, Optimiser, _square
from nst_nd.errors import ConfigError, InputError

every_ndim = pytest.mark.parametrize("ndim", NDIMS)
every_history = pytest.mark.parametrize("history", [1, 3, 10])
OPTIMISERS = {
    "lbfgs": lambda **more: LBFGS(0.5, 4, **more),
    "bfloat16": lambda **more: LBFGS(0.5, 4, dtype=torch.bfloat16, **more),
    "adam": lambda **more: Adam(0.5),
}
every_optimiser = pytest.mark.parametrize("make", OPTIMISERS.values(), ids=OPTIMISERS.keys())


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Every iterate here takes several chunks, the last one shorter."""
    monkeypatch.setitem(flat.CHUNK, "cpu", 100)


class Textbook:
    """Nocedal & Wright, algorithm 7.4, on whole float64 vectors, with the step lengths of LBFGS."""

    def __init__(self, learning_rate=1.0, history=10):
        self.rate, self.history, self.pairs, self.last, self.gamma = learning_rate, history, [], None, None

    def step(self, z, grad):
        g = grad.reshape(-1)
        if self.last is None:
            self.gamma = 1.0 / g.square().mean().sqrt()
        else:
            s, y = self.last[0], g - self.last[1]
            useful = y @ s > 1e-10 * (y @ y)
            self.gamma = (s @ y) / (y @ y) if useful else self.gamma
            self.pairs = [*self.pairs, (s, y, useful)][-self.history :]
        q, alphas = g.clone(), []
        used = [(s, y) for s, y, useful in self.pairs if useful]
        for s, y in reversed(used):
            alphas.append((s @ q) / (y @ s))
            q -= alphas[-1] * y
        r = self.gamma * q
        for (s, y), alpha in zip(used, reversed(alphas), strict=True):
            r += s * (alpha - (y @ r) / (y @ s))
        r *= -self.rate
        r *= min(1.0, LONGEST_STEP / max(float(r.square().mean().sqrt()), 1e-30))
        z += r.view_as(z)
        self.last = (r, g.clone())


def quadratic(z, seed=1):
    curvature = signal(z.ndim - 2, z.shape[1], seed=seed, size=z.shape[2:]).abs() + 0.05
    return lambda x: curvature * (x - 3.0)


def valley(z):
    """The gradient of a chain of Rosenbrock's functions along the last axis."""

    def gradient(x):
        leaf = x.detach().clone().requires_grad_()
        a, b = leaf[..., :-1], leaf[..., 1:]
        (5.0 * (b - a**2) ** 2 + (1.0 - a) ** 2).sum().backward()
        return leaf.grad

    return gradient


def saddle(z):
    """Curvature that is negative in places: pairs without positive curvature come up."""
    return lambda x: 0.02 * x - torch.sin(x)


def trace(optimiser, z, gradient, steps):
    out = []
    for _ in range(steps):
        optimiser.step(z, gradient(z))
        out.append(z.clone())
    return out


def channels_last(x):
    order = [0, *range(2, x.ndim), 1]
    return x.permute(order).contiguous().permute(0, -1, *range(1, x.ndim - 1))


@pytest.mark.parametrize("function", [quadratic, valley, saddle])
@pytest.mark.parametrize("layout", [torch.clone, channels_last])
@every_history
@every_ndim
def test_lbfgs_is_the_textbook(ndim, history, layout, function):
    start = 0.5 * signal(ndim, 3)
    gradient = function(start)
    ours = trace(LBFGS(0.3, history), layout(start), gradient, 30)
    theirs = trace(Textbook(0.3, history), start.clone(), gradient, 30)
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        # a start changed by 1e-15 ends up to 5e-11 away
        assert float((a - b).abs().max()) < 1e-10, i


def test_a_saddle_has_pairs_without_curvature():
    optimiser, z = LBFGS(0.3, 3), 0.5 * signal(1, 3)
    flags = []
    for _ in range(30):
        optimiser.step(z, saddle(z)(z))
        flags += [bool(optimiser.basis.curvature(i)[2]) for i in range(optimiser.basis.filled)]
    assert {True, False} == set(flags)


def test_the_layout_of_the_gradient_does_not_matter():
    start, gradient = signal(2, 3), quadratic(signal(2, 3))
    for make in (LBFGS, Adam):
        plain = trace(make(), start.clone(), gradient, 5)[-1]
        for z, layout in ((start.clone(), channels_last), (channels_last(start), torch.clone)):
            other = trace(make(), z, lambda x, layout=layout: layout(gradient(x).contiguous()), 5)[-1]
            torch.testing.assert_close(other, plain, rtol=1e-12, atol=1e-12)
    ones = torch.ones(1, 1, 1).expand(1, 3, 7)
    z = torch.zeros(1, 3, 7)
    LBFGS(0.5).step(z, ones)
    torch.testing.assert_close(z, torch.full_like(z, -0.5))


def test_the_gradient_is_kept_and_not_copied():
    z, optimiser = channels_last(signal(3, 2)), LBFGS()
    grad = channels_last(signal(3, 2, seed=1))
    optimiser.step(z, grad)
    assert optimiser.gradient.data_ptr() == grad.data_ptr()
    assert optimiser.state()[0]["history"].data_ptr() == optimiser.basis.rows.data_ptr()


def test_memory_with_gaps_is_refused():
    with pytest.raises(ValueError, match="not dense"):
        LBFGS().step(torch.zeros(1, 1, 8)[..., ::2], torch.zeros(1, 1, 4))
    with pytest.raises(ValueError, match="a gradient"):
        LBFGS().step(torch.zeros(1, 1, 8), torch.zeros(1, 1, 4))
    with pytest.raises(ConfigError, match="float16"):
        LBFGS(dtype=torch.float16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@every_ndim
def test_the_clamp_knows_the_length_of_the_step(ndim, dtype):
    z = torch.zeros_like(signal(ndim, dtype=torch.float32))
    optimiser, generator = LBFGS(learning_rate=1e6, dtype=dtype), torch.Generator().manual_seed(3)
    curvature = torch.logspace(-6, 3, z.numel()).view_as(z)
    for i in range(25):
        before = z.double()
        optimiser.step(z, curvature * (z - 1e4) + 1e-3 * torch.randn(z.shape, generator=generator))
        assert torch.isfinite(z).all()
        assert float((z - before).square().mean().sqrt()) <= LONGEST_STEP * 1.01, i


@pytest.mark.parametrize("left", [1.0, 1e-3, 1e-6, 1e-9, 0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_length_from_products_is_never_too_short(dtype, left):
    """Long vectors that all but cancel in their sum."""
    generator = torch.Generator().manual_seed(3)
    common, *others = torch.randn(7, 5000, generator=generator, dtype=torch.float64)
    vectors = torch.stack([common + left * other for other in others]).to(dtype).double()
    q = torch.randn(6, generator=generator, dtype=torch.float64)
    q -= q.mean()
    length = float((q @ vectors).norm())
    longest = float(q.abs() @ vectors.norm(dim=1))
    known = float(_square(q, vectors @ vectors.T).sqrt())
    assert length <= known <= 1.0001 * length + 1e-7 * longest


@pytest.mark.parametrize("function", [quadratic, valley])
def test_a_bfloat16_history_converges(function):
    z = torch.zeros_like(signal(2, dtype=torch.float32))
    gradient = function(z)
    first = float(gradient(z).float().norm())
    optimiser = LBFGS(0.5, dtype=torch.bfloat16)
    norms = []
    for _ in range(80):
        grad = gradient(z).float()
        norms.append(float(grad.norm()))
        optimiser.step(z, grad)
    assert min(norms) < 1e-3 * first


def test_with_bfloat16_the_step_kept_is_the_step_taken():
    z, optimiser = torch.zeros(1, 1, 500), LBFGS(dtype=torch.bfloat16)
    for i in range(8):
        before = z.clone()
        optimiser.step(z, signal(1, 1, seed=i, size=(500,), dtype=torch.float32))
        kept = optimiser.basis.rows[2 * optimiser.basis.slot].float()
        torch.testing.assert_close(z.view(-1) - before.view(-1), kept, rtol=0.0, atol=4e-6)


class Team:
    """Two threads that each hold a half; `total` adds up what both bring, in the order of the ranks."""

    def __init__(self):
        self.barrier, self.brought, self.calls = threading.Barrier(2, timeout=20.0), [None, None], [0, 0]

    def total(self, rank):
        def add(tensor):
            self.calls[rank] += 1
            self.brought[rank] = tensor.clone()
            self.barrier.wait()
            out = self.brought[0] + self.brought[1]
            self.barrier.wait()
            return out

        return add

    def run(self, work):
        threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("function", [quadratic, saddle])
def test_two_slabs_take_the_steps_of_one(function):
    whole = signal(3, 1, size=(9, 6, 7))
    gradient = function(whole)
    want = trace(LBFGS(0.3, 3), whole.clone(), gradient, 20)
    halves, steps, coefficients = [whole[:, :, :4].clone(), whole[:, :, 4:].clone()], [[], []], [[], []]
    team = Team()
    both = torch.cat(halves, 2)

    def work(rank):
        optimiser, here = LBFGS(0.3, 3, total=team.total(rank)), halves[rank]
        places = slice(0, 4) if rank == 0 else slice(4, None)
        for _ in range(20):
            both[:, :, places] = here
            team.barrier.wait()
            grad = gradient(both)[:, :, places].clone()
            optimiser.step(here, grad)
            steps[rank].append(here.clone())
            coefficients[rank].append(optimiser.basis.products.clone())

    team.run(work)
    for i, expected in enumerate(want):
        assert torch.equal(coefficients[0][i], coefficients[1][i])
        torch.testing.assert_close(torch.cat([steps[0][i], steps[1][i]], 2), expected, rtol=1e-9, atol=1e-9)
    assert team.calls == [21, 21]  # one a step, and the number of elements


@every_optimiser
def test_state_goes_on_with_the_same_bytes_at_every_step(make):
    start = channels_last(signal(2, 3, dtype=torch.float32))
    gradient = lambda x: (quadratic(start)(x.double())).float()  # noqa: E731
    want = trace(make(), start.clone(), gradient, 12)
    for cut in range(12):
        z, first = start.clone(), make()
        trace(first, z, gradient, cut)
        tensors, numbers = first.state()
        saved = {name: tensor.clone() for name, tensor in tensors.items()}
        z, second = z.clone(), make()
        second.step(z.clone(), gradient(z))  # a load replaces whatever there was
        second.load(saved, json.loads(json.dumps(numbers)), z)
        for tensor in saved.values():
            tensor.zero_()  # it has its own copy
        for i, expected in enumerate(want[cut:]):
            second.step(z, gradient(z))
            assert torch.equal(z, expected), (cut, i)


@every_optimiser
def test_a_reset_survives_being_saved(make):
    z, first, second = signal(1, 2, dtype=torch.float32), make(), make()
    trace(first, z, lambda x: x + 1.0, 4)
    first.reset(0.1)
    second.load(*first.state(), z)
    a, b = z.clone(), z.clone()
    for one, x in ((first, a), (second, b)):
        trace(one, x, lambda x: x + 1.0, 6)
    assert torch.equal(a, b)


def test_state_of_a_run_with_other_settings_is_refused():
    z = signal(2, 3, dtype=torch.float32)
    first = LBFGS(0.5, 4)
    first.step(z, torch.ones_like(z))
    state = first.state()
    for other, target in (
        (LBFGS(0.5, 5), z),
        (LBFGS(0.5, 4, dtype=torch.bfloat16), z),
        (LBFGS(0.5, 4), channels_last(z)),
        (LBFGS(0.5, 4), z[:, :2].contiguous()),
    ):
        with pytest.raises(InputError, match="saved optimiser"):
            other.load(*state, target)


def test_a_reset_forgets_what_was_not_finite():
    z, optimiser = torch.zeros(1, 1, 300), LBFGS()
    for _ in range(3):
        optimiser.step(z, torch.full_like(z, float("nan")))
    z.zero_()
    optimiser.reset(0.1)
    trace(optimiser, z, lambda x: x - 1.0, 6)
    assert torch.isfinite(z).all()


def test_a_mapped_history_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(basis, "RELEASE_EVERY", 4096)
    released = []

    def empty(shape, dtype):
        size = math.prod(shape)
        return torch.from_file(str(tmp_path / "history"), shared=True, size=size, dtype=dtype).view(shape).fill_(-7)

    start = signal(2, 3, size=(20, 30), dtype=torch.float32)
    want = trace(LBFGS(0.5, 4), start.clone(), lambda x: x * 0.3 + 1.0, 12)
    mapped = LBFGS(0.5, 4, empty=empty, release=lambda rows: released.append(rows.shape))
    got = trace(mapped, start.clone(), lambda x: x * 0.3 + 1.0, 12)
    assert all(torch.equal(a, b) for a, b in zip(want, got, strict=True))
    assert set(released) == {(8, start.numel())}
    assert len(released) > 24
    assert (tmp_path / "history").stat().st_size == LBFGS.history_bytes(start.numel(), 4)


def test_bytes_are_counted():
    n = 1000
    assert LBFGS.history_bytes(n, 10) == 80_000
    assert LBFGS.bytes_for(n, 10) == 84_000
    assert LBFGS.bytes_for(n, 10, torch.bfloat16) == 44_000
    assert Adam.bytes_for(n) == 8_000
    for make, expected in ((lambda: LBFGS(history=3), LBFGS.bytes_for(n, 3)), (Adam, Adam.bytes_for(n))):
        optimiser, z = make(), torch.zeros(1, 1, n)
        trace(optimiser, z, lambda x: x + 1.0, 6)
        big = [tensor for tensor in optimiser.state()[0].values() if tensor.numel() >= n]
        assert sum(tensor.nbytes for tensor in big) == expected
    assert isinstance(LBFGS(), Optimiser)
    assert isinstance(Adam(), Optimiser)


MEASURE = """
import resource, sys, torch
from nst_nd.engine.optimisers import LBFGS, Adam
torch.set_num_threads(1)
n, kind = 20_000_000, sys.argv[1]
dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
make = Adam if kind == "adam" else lambda: LBFGS(history=2, dtype=dtype)
z, grad = torch.zeros(1, 1, n), torch.ones(1, 1, n)
make().step(torch.zeros(1, 1, 10), torch.ones(1, 1, 10))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
optimiser = make()
for i in range(4):
    optimiser.step(z, grad)
    grad = grad if kind == "adam" else torch.full_like(z, 1.0 / (i + 2))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / (4 * n))
"""


# in arrays of n float32: what is kept, and for L-BFGS the next gradient, which the caller makes
@pytest.mark.skipif(sys.platform != "linux", reason="counts resident kilobytes")
@pytest.mark.parametrize(("kind", "arrays"), [("lbfgs", 4 + 1), ("bfloat16", 2 + 1), ("adam", 2)])
def test_nothing_else_is_as_large_as_the_iterate(kind, arrays):
    told = subprocess.run([sys.executable, "-c", MEASURE, kind], capture_output=True, text=True, check=True).stdout
    assert float(told) < arrays + 0.4


def test_spans_cover_everything_once():
    for n in (0, 1, 99, 100, 101):
        pieces = list(flat.spans(n, 25))
        assert sum(p.stop - p.start for p in pieces) == n
        assert all(a.stop == b.start for a, b in pairwise(pieces))
