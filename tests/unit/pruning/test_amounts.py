"""Schedules of density: exact at both ends, never rising, and equal to their definitions in exact arithmetic."""

import itertools
import math
import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunebench.errors import InputError
from prunebench.pruning import cubic_density, round_density
from prunebench.pruning.masks import survivors

ENDS = st.tuples(st.floats(1e-6, 1), st.floats(1e-6, 1)).map(lambda pair: (max(pair), min(pair)))
SHARE = st.floats(0, 1)
TOTAL = st.integers(1, 25_000_000)


@given(ENDS, SHARE)
def test_the_cubic_ramp_equals_zhu_and_guptas_sparsity_in_exact_arithmetic(ends, share):
    start, end, done = (Fraction(number) for number in (*ends, share))
    first, last = 1 - start, 1 - end
    sparsity = last + (first - last) * (1 - done) ** 3
    assert cubic_density(*ends, share) == pytest.approx(float(1 - sparsity), rel=1e-12)


@given(ENDS, SHARE, SHARE, TOTAL)
def test_the_cubic_ramp_runs_from_start_to_end_and_never_asks_for_a_dead_weight(ends, one, other, total):
    start, end = ends
    earlier, later = sorted((one, other))
    assert cubic_density(start, end, 0) == start
    assert cubic_density(start, end, 1) == end
    assert start >= cubic_density(start, end, earlier) >= cubic_density(start, end, later) >= end
    counts = [survivors(total, cubic_density(start, end, share)) for share in (0, earlier, later, 1)]
    assert counts == sorted(counts, reverse=True)


def test_the_cubic_ramp_is_the_start_to_the_bit_where_rounding_would_move_it():
    start, end = 0.9, 0.2
    ends = [(start - i * math.ulp(start), end + j * math.ulp(end)) for i in range(20) for j in range(20)]
    assert any(end + (start - end) != start for start, end in ends)
    for start, end in ends:
        assert cubic_density(start, end, 0) == start
        assert cubic_density(start, end, 1e-300) <= start


def test_the_cubic_ramp_prunes_fast_at_first():
    assert cubic_density(1, 0.2, 0.5) == pytest.approx(0.3)
    assert cubic_density(0.8, 0.05, 0.2) == pytest.approx(0.05 + 0.75 * 0.512)


@given(ENDS, st.integers(1, 40), TOTAL)
def test_every_round_keeps_the_same_share_of_the_survivors(ends, rounds, total):
    start, end = ends
    densities = [round_density(start, end, done, rounds) for done in range(rounds + 1)]
    assert (densities[0], densities[-1]) == (start, end)
    for before, after in itertools.pairwise(densities):
        assert (after / before) ** rounds == pytest.approx(end / start, rel=1e-12)
    counts = [survivors(total, density) for density in densities]
    assert counts == sorted(counts, reverse=True)


def test_rounds_of_a_fifth_each():
    assert [round_density(1, 0.8**3, done, 3) for done in range(4)] == pytest.approx([1, 0.8, 0.64, 0.512])
    assert round_density(0.5, 0.1, 1, 1) == 0.1


BAD = [
    (lambda: cubic_density(0.2, 0.8, 0.5), "density goes from 0.2 to 0.8; allowed: 0 < end <= start <= 1"),
    (lambda: cubic_density(1.2, 0.8, 0.5), "density goes from 1.2 to 0.8"),
    (lambda: cubic_density(1, 0, 0.5), "density goes from 1 to 0"),
    (lambda: round_density(1, math.nan, 1, 2), "density goes from 1 to nan"),
    (lambda: cubic_density(1, 0.5, 1.01), "share of the pruning ramp is 1.01; allowed: >= 0 and <= 1"),
    (lambda: cubic_density(1, 0.5, -0.5), "share of the pruning ramp is -0.5"),
    (lambda: cubic_density(1, 0.5, math.nan), "share of the pruning ramp is nan"),
    (lambda: round_density(1, 0.5, 4, 3), "pruning round is 4; allowed: >= 0 and <= 3"),
    (lambda: round_density(1, 0.5, -1, 3), "pruning round is -1"),
    (lambda: round_density(1, 0.5, 0, 0), "number of pruning rounds is 0; allowed: >= 1"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message for _, message in BAD])
def test_a_bad_input_gives_one_clear_line(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_package_does_not_import_torch():
    code = "import sys, prunebench.pruning; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
