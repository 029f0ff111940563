"""``estimate`` as people read it."""

from typing import Any

import mstore as library


def trace(path: str) -> None:
    """Note a pass on a made-up machine, as ``Store.trace`` does on a real one."""
    processor = {
        "hertz": 2e9,
        "flops": {"matmul": 1e9, "convolution": 1e9},
        "overhead": {"": 1e-6, "matmul": 1e-6, "convolution": 1e-6},
        "cached": 1e9,
        "memory": 1e9,
    }
    work = {"activations": 1 << 20, "operations": [["matmul", 1, 10**7, 100]]}
    metadata = {"work": work, "processor": processor}
    library.open(path).note("lenet@1", topic="estimate", metadata=metadata)


def test_what_is_known_is_said(stocked: Any) -> None:
    """Without a pass the weights are known, and what to do about the rest."""
    done = stocked("estimate", "lenet@1").stdout
    assert done.startswith("weights      9.2 KiB\n")
    assert "Store.trace" in done


def test_the_time_is_an_interval(stocked: Any) -> None:
    """The time is given with its bounds, its clock, how it was found, and whether it fits."""
    trace(".mstore")
    done = stocked("estimate", "lenet@1", "--cpu", "1GHz", "--deadline", "200 ms").stdout
    assert "arithmetic   10 MFLOP a pass" in done
    assert "memory       1.0 MiB (estimated: roofline" in done
    assert "time         20 ms [10 ms, 40 ms] at 1 GHz (estimated" in done
    assert done.endswith("deadline     200 ms: fits\n")
    assert stocked.json("estimate", "lenet@1", "--deadline", "15ms")["verdict"] == "uncertain"


def test_what_is_no_quantity_is_refused(stocked: Any) -> None:
    """A number without a unit, or with one of another kind, is a wrong command line."""
    for word in ("fast", "1", "1s", "-1GHz"):
        stocked("estimate", "lenet@1", f"--cpu={word}", code=2)
