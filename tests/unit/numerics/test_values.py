"""The numbers of tensors, held against those that torch and NumPy read."""

import numpy as np
import pytest
import torch

from mstore.errors import UnsupportedError
from mstore.numerics.values import error_bounds, is_numeric, leading_values, values

SMALL = {
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
}
PLAIN = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}


@pytest.mark.parametrize("dtype", SMALL)
def test_every_float_of_a_byte(dtype: str) -> None:
    """Each of the 256 bytes is the number that torch makes of it, NaN and infinity included."""
    every = bytes(range(256))
    tensor = torch.frombuffer(bytearray(every), dtype=torch.uint8).view(SMALL[dtype])
    np.testing.assert_array_equal(values(dtype, every), tensor.to(torch.float32).double().numpy())


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_every_float_of_two_bytes(dtype: str) -> None:
    """Each of the 65536 patterns is the number that torch makes of it."""
    every = np.arange(1 << 16, dtype="<u2").tobytes()
    tensor = torch.frombuffer(bytearray(every), dtype=PLAIN[dtype])
    np.testing.assert_array_equal(values(dtype, every), tensor.double().numpy())


@pytest.mark.parametrize("dtype", PLAIN)
def test_a_tensor(dtype: str) -> None:
    """A tensor of any dtype has the numbers that torch says it has."""
    torch.manual_seed(0)
    tensor = (torch.randn(300) * 50).to(PLAIN[dtype])
    content = tensor.view(torch.uint8).numpy().tobytes()
    np.testing.assert_array_equal(values(dtype, content), tensor.double().numpy())


def test_complex_numbers_are_their_parts() -> None:
    """The real and the imaginary part of each number stand one after another."""
    numbers = np.array([1 + 2j, -3 - 4j], np.complex64)
    assert values("C64", numbers.tobytes()).tolist() == [1, 2, -3, -4]


@pytest.mark.parametrize("dtype", ["F4", "F6_E2M3", "F6_E3M2"])
def test_what_is_no_number(dtype: str) -> None:
    """Elements narrower than a byte are refused by name."""
    assert not is_numeric(dtype)
    with pytest.raises(UnsupportedError, match=dtype):
        values(dtype, b"\0" * 3)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32", "F64"])
def test_leading_bits_are_nearly_the_number(dtype: str) -> None:
    """Of the leading 16 bits of a float comes what lies within a 1/16 of it."""
    numbers = np.random.default_rng(0).standard_normal(500)
    tensor = torch.tensor(numbers).to(PLAIN[dtype])
    width = tensor.element_size()
    content = tensor.view(torch.uint8).numpy().reshape(-1, width)[:, -2:].tobytes()
    np.testing.assert_allclose(leading_values(dtype, content), tensor.double().numpy(), rtol=1 / 16)


@pytest.mark.parametrize("bits", [8, 12, 16, 20])
def test_error_bounds_hold(bits: int) -> None:
    """No finite number is further from the middle of its leading bits than its bound."""
    rng = np.random.default_rng(1)
    patterns = rng.integers(0, 1 << 32, 4096, dtype=np.uint32)
    below = 32 - bits
    middle = (patterns >> np.uint32(below) << np.uint32(below)) | np.uint32(1 << (below - 1))
    exact = values("F32", patterns.tobytes())
    found = values("F32", middle.tobytes())
    finite = np.isfinite(exact) & np.isfinite(found)
    away = np.abs(exact - found)[finite]
    assert finite.sum() > 3000
    assert (away <= error_bounds("F32", middle, bits)[finite]).all()
