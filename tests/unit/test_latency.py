"""The time of a pass is the sum of what bounds each of its operations."""

import math

from hypothesis import given
from hypothesis import strategies as st

from mstore.latency import MARGIN, Operation, Processor, Work, latency, seconds

PLAIN = Processor(
    hertz=2e9,
    flops={"matmul": 1e9, "convolution": 5e8},
    overhead={"": 1e-6, "matmul": 2e-6, "convolution": 4e-6},
    cached=1e9,
    memory=1e8,
)
operations = st.builds(
    Operation,
    st.sampled_from(["", "matmul", "convolution"]),
    st.integers(0, 1000),
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 40),
)
works = st.builds(Work, st.lists(operations, max_size=8).map(tuple), st.integers(0, 1 << 40))


def test_the_larger_of_arithmetic_and_traffic_counts() -> None:
    """An operation takes its overhead and what bounds it, as often as it is done."""
    work = Work((Operation("matmul", 3, 10**6, 1000), Operation("", 1, 0, 10**8)), 0)
    assert math.isclose(seconds(work, PLAIN), 3 * (2e-6 + 1e-3) + (1e-6 + 1.0))


@given(works)
def test_half_the_clock_takes_at_most_twice_as_long(work: Work) -> None:
    """At half the clock everything but memory is half as fast, so the bounds are one and two."""
    now, slow = latency(work, PLAIN), latency(work, PLAIN, 1e9)
    assert now.low <= now.seconds <= now.high
    assert slow.low <= slow.seconds * (1 + 1e-9)
    assert slow.seconds <= slow.high * (1 + 1e-9)
    assert now.seconds * (1 - 1e-9) <= slow.seconds <= 2 * now.seconds * (1 + 1e-9)


@given(works)
def test_the_same_clock_gives_the_same_time(work: Work) -> None:
    """Asking for the clock of the calibrated machine changes nothing but rounding."""
    assert math.isclose(latency(work, PLAIN, 2e9).seconds, seconds(work, PLAIN), rel_tol=1e-9)
    assert latency(work, PLAIN).high == seconds(work, PLAIN) * MARGIN


def test_totals_of_a_pass() -> None:
    """A pass adds up its operations."""
    work = Work((Operation("matmul", 3, 10, 7), Operation("", 2, 0, 5)), 0)
    assert (work.flops, work.bytes) == (30, 31)
