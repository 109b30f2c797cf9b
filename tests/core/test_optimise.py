"""The optimisers and the loop around them."""

import json
from dataclasses import dataclass

import pytest
import torch
from core_helpers import NDIMS, SIZES, signal

from nst_nd import Objective, SignalTerm
from nst_nd.engine.optimise import PATIENCE, PLATEAU_STEPS, Loop, Progress, optimise
from nst_nd.engine.optimisers import LBFGS, LONGEST_STEP, Adam
from nst_nd.engine.stream import Engine
from nst_nd.errors import ComputationError
from nst_nd.features.iterate import Iterate

every_ndim = pytest.mark.parametrize("ndim", NDIMS)
every_optimiser = pytest.mark.parametrize("optimiser", [LBFGS, Adam])


def rms(x):
    return float(x.square().mean().sqrt())


def run(cost, z, optimiser, steps):
    """z is moved in place; returns the progress, the values of all steps and the best z."""
    objective = Objective((), (SignalTerm("cost", 1.0, cost),))
    progress = Progress(steps, 1)
    seen = list(optimise(Engine(objective, z.shape[2:]), Iterate(torch.zeros_like(z)), z, optimiser, steps, progress))
    return progress, [step.loss for step, _ in seen], seen[-1][1]


def curvatures(x, condition=100.0):
    return torch.logspace(0, torch.tensor(condition).log10(), x.numel(), dtype=x.dtype).view_as(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@every_ndim
def test_lbfgs_minimises_a_quadratic(ndim, scale, dtype):
    target = signal(ndim, dtype=dtype)
    z = torch.zeros_like(target)
    _, values, _ = run(lambda x: scale * (curvatures(x) * (x - target) ** 2).sum(), z, LBFGS(), 60)
    assert values[-1] < 1e-6 * values[0]


def test_lbfgs_goes_down_a_curved_valley():
    def rosenbrock(x):
        a, b = x[..., :-1], x[..., 1:]
        return (100.0 * (b - a**2) ** 2 + (1.0 - a) ** 2).sum()

    z = torch.zeros(1, 1, 6, dtype=torch.float64)
    _, values, _ = run(rosenbrock, z, LBFGS(learning_rate=0.1), 400)
    assert min(values) < 0.1 * values[0]


@pytest.mark.parametrize("magnitude", [1e-12, 1.0, 1e12])
@every_ndim
def test_the_first_step_is_as_long_as_the_learning_rate(ndim, magnitude):
    z = torch.zeros_like(signal(ndim, dtype=torch.float32))
    LBFGS(learning_rate=0.25).step(z, signal(ndim, dtype=torch.float32, scale=magnitude))
    assert rms(z) == pytest.approx(0.25, rel=1e-5)


def test_no_step_is_longer_than_the_longest():
    z, optimiser = torch.zeros(1, 1, 9), LBFGS(learning_rate=1e6)
    optimiser.step(z, signal(1, 1, size=(9,), dtype=torch.float32))
    assert rms(z) == pytest.approx(LONGEST_STEP, rel=1e-5)
    before = z.clone()
    # almost no curvature along the step: the quasi-Newton step would be enormous
    optimiser.step(z, signal(1, 1, size=(9,), dtype=torch.float32) + 1e-3 * before)
    assert rms(z - before) <= LONGEST_STEP * 1.0001


@every_optimiser
def test_a_gradient_of_zero_moves_nothing_and_is_survived(optimiser):
    z, mover = signal(2, dtype=torch.float32), optimiser()
    before, none = z.clone(), torch.zeros_like(z)
    for _ in range(3):
        mover.step(z, none.clone())
    assert torch.equal(z, before)
    mover.step(z, torch.ones_like(z))
    mover.step(z, none.clone())
    assert torch.isfinite(z).all()


def test_negative_curvature_is_survived():
    z, optimiser = signal(1, dtype=torch.float64), LBFGS()
    for _ in range(30):
        optimiser.step(z, -z.sign() * (1.0 + z.abs()))
        assert torch.isfinite(z).all()


def test_adam_is_the_algorithm():
    z, optimiser = torch.zeros(1, 1, 7, dtype=torch.float64), Adam(0.3)
    want, m, v = z.clone(), 0.0, 0.0
    for t in range(1, 8):
        grad = signal(1, 1, size=(7,), seed=t)
        optimiser.step(z, grad.clone())
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        want = want - 0.3 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    torch.testing.assert_close(z, want, rtol=1e-12, atol=1e-12)
    assert z.grad is None


@every_optimiser
def test_reset_forgets(optimiser):
    grads = [signal(1, seed=i) for i in range(4)]
    fresh, used = optimiser(), optimiser()
    z = torch.zeros_like(grads[0])
    for grad in grads:
        used.step(z, grad.clone())
    used.reset()
    a, b = torch.zeros_like(z), torch.zeros_like(z)
    for grad in grads[::-1]:
        fresh.step(a, grad.clone())
        used.step(b, grad.clone())
    assert torch.equal(a, b)


@dataclass
class Fake:
    """A quadratic that gives `value` times itself on these evaluations."""

    value: float
    when: range
    calls: int = -1

    def __call__(self, x):
        self.calls += 1
        cost = quadratic(x)
        return cost * self.value if self.calls in self.when else cost


def quadratic(x):
    return (curvatures(x, 3.0) * (x - 30.0) ** 2).sum()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
@every_ndim
def test_one_bad_value_restarts_from_the_best(ndim, value):
    z = torch.zeros(1, 1, *SIZES[ndim], dtype=torch.float64)
    progress, values, _ = run(Fake(value, range(2, 3)), z, LBFGS(), 20)
    assert progress.restarts == 1
    assert all(v <= values[0] for v in values)
    assert values[-1] < 1e-6 * values[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_run_that_has_converged_is_no_failure(dtype):
    # what is left is rounding, and rounding changes by more than any factor
    z = torch.zeros(1, 1, 9, dtype=dtype)
    _, values, best = run(quadratic, z, LBFGS(), 200)
    assert min(values) < 1e-9 * values[0]
    assert float(quadratic(best)) == pytest.approx(min(values), rel=1e-5, abs=1e-9)


def test_one_bad_value_close_to_the_optimum_is_no_failure():
    # after the restart the first step is again one model unit long, which is far from here
    z = torch.zeros(1, 1, 9, dtype=torch.float64)
    _, values, best = run(Fake(float("nan"), range(20, 21)), z, LBFGS(), 60)
    assert min(values) < 1e-9 * values[0]
    assert float(quadratic(best)) == pytest.approx(min(values), rel=1e-9)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_first_value_that_is_not_finite_is_an_error(value):
    with pytest.raises(ComputationError, match=r"not finite in cost(.|\n)*learning_rate"):
        run(Fake(value, range(1)), torch.zeros(1, 1, 5), LBFGS(), 3)


def test_what_never_recovers_is_an_error_after_some_patience():
    fake = Fake(float("nan"), range(3, 10**6))
    with pytest.raises(ComputationError, match="not finite"):
        run(fake, torch.zeros(1, 1, 5), LBFGS(), 50)
    assert fake.calls > PATIENCE


def test_a_start_without_curvature_still_moves():
    # concave where it starts: the first pair is no use, and steps keep the length of the first one
    z = torch.full((1, 1, 5), 1.0, dtype=torch.float64)
    _, values, best = run(lambda x: 1e-6 * torch.cos(x / 20.0).sum(), z, LBFGS(), 60)
    assert float(best.min()) > 40.0
    assert values[-1] < -0.9 * 5e-6


def test_a_runaway_is_caught():
    z = torch.full((1, 1, 5), 0.1, dtype=torch.float64)
    progress, values, best = run(lambda x: (x**4).sum(), z, LBFGS(learning_rate=19.0), 4)
    assert progress.restarts > 0
    assert max(values) < 10.0 * values[0]
    assert float((best**4).sum()) <= values[0]


@every_optimiser
@every_ndim
def test_a_start_at_the_optimum_stays_there(ndim, optimiser):
    target = signal(ndim, dtype=torch.float32)
    z = target.clone()
    _, values, best = run(lambda x: ((x - target) ** 2).sum(), z, optimiser(), 12)
    assert values == [0.0] * 12
    assert torch.equal(z, target)
    assert torch.equal(best, target)


@every_optimiser
def test_a_start_beside_the_optimum_is_no_failure(optimiser):
    # the first step is one model unit whatever the gradient, so the second value is far above the first
    target = signal(1, dtype=torch.float32)
    _, values, best = run(lambda x: ((x - target) ** 2).sum(), target + 1e-6, optimiser(), 12)
    assert rms(best - target) < 2e-6
    assert values[0] < 1e-9


@every_ndim
def test_the_best_is_what_was_best(ndim):
    cost = Fake(50.0, range(4, 5))
    z = torch.zeros(1, 1, *SIZES[ndim], dtype=torch.float64)
    objective = Objective((), (SignalTerm("cost", 1.0, cost),))
    seen = []
    for step, best in optimise(
        Engine(objective, z.shape[2:]), Iterate(torch.zeros_like(z)), z, LBFGS(), 10, Progress(10, 1)
    ):
        seen.append(step.loss)
        assert float(quadratic(best)) == pytest.approx(min(seen), rel=1e-9)
    assert [len(seen), step.iteration, step.total, step.size] == [10, 10, 10, SIZES[ndim]]


def falling(steps, plateau, loop=None, stop=None):
    """Steps of Adam on a cost that falls from 101 towards 100, fewer where it is a plateau; the loop."""
    z = torch.full((1, 1, 4), 1.0, dtype=torch.float64) if loop is None else loop.best.clone()
    objective = Objective((), (SignalTerm("cost", 1.0, lambda x: 100.0 + x.square().mean()),))
    loop = loop or Loop(z.clone())
    engine, iterate = Engine(objective, z.shape[2:]), Iterate(torch.zeros_like(z))
    seen = []
    for step, _ in optimise(engine, iterate, z, Adam(0.02), steps, Progress(steps, 1), loop, plateau):
        seen.append(step.loss)
        if len(seen) == stop:
            break
    return seen, loop


def test_a_plateau_ends_a_scale():
    assert len(falling(200, 0.0)[0]) == 200
    seen, loop = falling(200, 1e-3)
    assert PLATEAU_STEPS < len(seen) < 200
    assert loop.flat
    lowered = [1.0 - min(seen[: i + 1]) / min(seen[: i + 1 - PLATEAU_STEPS]) for i in range(PLATEAU_STEPS, len(seen))]
    assert lowered[-1] < 1e-3
    assert min(lowered[:-1]) >= 1e-3
    assert len(falling(PLATEAU_STEPS, 0.9)[0]) == PLATEAU_STEPS  # too few steps to tell


def test_a_plateau_is_the_same_after_a_checkpoint():
    whole, _ = falling(200, 1e-3)
    _, stopped = falling(200, 1e-3, stop=len(whole))
    resumed = Loop(stopped.best.clone())
    resumed.take(json.loads(json.dumps(stopped.numbers())))
    assert falling(200, 1e-3, loop=resumed)[0] == []  # it had ended there
    _, stopped = falling(200, 1e-3, stop=10)
    resumed = Loop(stopped.best.clone())
    resumed.take(json.loads(json.dumps(stopped.numbers())))
    assert resumed.recent == stopped.recent
    assert len(resumed.recent) == 10
