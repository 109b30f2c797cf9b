"""Some mutations of valid files, most in this process, some through command lines; `make fuzz` has thousands."""

import pytest
from fuzzing import cases


@pytest.mark.parametrize(("through", "count", "seed"), [("process", 400, 20261126), ("command", 6, 7)])
def test_mutations(through, count, seed, tmp_path):
    wrong = [
        f"{case.number} {case.seed.victim}: {case.wrong}: {case.said[:300]}"
        for case in cases(count, seed, tmp_path, through=through)
        if case.wrong
    ]
    assert not wrong
