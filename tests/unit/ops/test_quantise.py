"""Versions in fewer bits: how far numbers move, what is stored, and what stays as it is."""

import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from safetensors.numpy import load_file, save_file

import mstore
from mstore.errors import CorruptError, InvalidInputError, NotFoundError
from mstore.numerics.rounding import Numbers, Rounded, make_table, round_numbers
from mstore.numerics.schemes import (
    CODEBOOKS,
    ROUNDINGS,
    Codebook,
    Rounding,
    Scheme,
    make_scheme,
    members,
)
from mstore.ops import rounder
from mstore.store import Store

Array = np.ndarray[Any, np.dtype[Any]]

DTYPES = {"<f2": "F16", "<f4": "F32", "<f8": "F64"}
EVERY_SCHEME: list[tuple[str, dict[str, Any]]] = [
    ("fp16", {}),
    ("bf16", {"rounding": "random"}),
    ("fixed9", {}),
    ("fixed16", {"rounding": "random"}),
    ("int8", {}),
    ("int8", {"per_channel": True, "rounding": "random"}),
    ("int8", {"codebook": "random"}),
    ("int4", {}),
    ("int4", {"per_channel": True, "codebook": "uniform"}),
    ("int4", {"codebook": "random", "rounding": "random"}),
]

SHAPES = arrays_of.array_shapes(min_dims=1, max_dims=3, max_side=7)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
WEIGHTS = st.one_of(st.floats(-2, 2, width=32), st.floats(-(2.0**-10), 2.0**-10, width=32))
MATRICES = arrays_of.arrays(np.float32, SHAPES, elements=WEIGHTS)


def numbers(array: Array) -> Numbers:
    """An array as the verb sees a tensor."""
    return Numbers(DTYPES[array.dtype.newbyteorder("<").str], array.shape, array.tobytes())


def bf16(array: Array) -> Numbers:
    """The upper halves of float32 numbers, which are bfloat16 numbers."""
    bits = array.astype("<f4").view("<u4") >> np.uint32(16)
    return Numbers("BF16", array.shape, bits.astype("<u2").tobytes())


def floats(rounded: Rounded, dtype: str, shape: tuple[int, ...]) -> Array:
    """The numbers that a float scheme made, as float64."""
    content = rounded.contents[""]
    if dtype == "BF16":
        halves = np.frombuffer(content, "<u2").astype("<u4") << np.uint32(16)
        return halves.view("<f4").astype(np.float64).reshape(shape)
    code = next(code for code, name in DTYPES.items() if name == dtype)
    return np.frombuffer(content, code).astype(np.float64).reshape(shape)


def restored(array: Array, scheme: Scheme, rounded: Rounded) -> Array:
    """What ``dequantise`` makes of what a table scheme made."""
    codes = {"F32": "<f4", "I8": "i1", "U8": "u1", "I64": "<i8"}
    # As of a tensor large enough to be worth it.
    wide = members(scheme, "F64", (*array.shape, 1 << 20))
    assert wide
    state = {
        f"w{member.suffix}": np.frombuffer(
            rounded.contents[member.suffix], codes[member.dtype]
        ).reshape(shape_of(member.suffix, array, scheme))
        for member in wide
    }
    result: Array = mstore.dequantise(state)["w"]
    return result


def shape_of(suffix: str, array: Array, scheme: Scheme) -> tuple[int, ...]:
    """The shape of one of the tensors that a tensor becomes, however small it is."""
    each = (array.shape[0],) if scheme.per_channel and array.ndim > 1 else ()
    if suffix == ".shape":
        return (array.ndim,)
    if suffix == ".codebook":
        return (*each, scheme.levels)
    if suffix:
        return each
    if scheme.bits == 8:
        return array.shape
    row = array[0].size if array.ndim > 1 else array.size
    return (array.shape[0], -(-row // 2)) if array.ndim > 1 else (-(-row // 2),)


def float_step(array: Array, precision: int, least: int) -> Array:
    """How far apart numbers of a float dtype are about each number."""
    with np.errstate(divide="ignore"):
        exponent = np.floor(np.log2(np.abs(array.astype(np.float64))))
    power = np.maximum(np.nan_to_num(exponent, neginf=least) - precision + 1, least)
    return np.exp2(power)


@settings(deadline=None)
@given(arrays_of.arrays(np.float32, SHAPES, elements=FINITE))
def test_fp16_rounds_as_ieee_says(array: Array) -> None:
    """The nearest fp16 number is the one that NumPy's own conversion gives."""
    clipped = array.clip(-65504, 65504)
    rounded = round_numbers(numbers(clipped), make_scheme("fp16"), 0)
    assert bytes(rounded.contents[""]) == clipped.astype("<f2").tobytes()


@settings(deadline=None)
@given(arrays_of.arrays(np.float32, SHAPES, elements=st.floats(-(2.0**126), 2.0**126, width=32)))
def test_bf16_rounds_as_ieee_says(array: Array) -> None:
    """The nearest bf16 number is the upper half, one more where the lower half says so."""
    bits = array.view(np.uint32).astype(np.uint64)
    expected = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    rounded = round_numbers(numbers(array), make_scheme("bf16"), 0)
    assert bytes(rounded.contents[""]) == expected.astype("<u2").tobytes()


def test_float64_is_rounded_once() -> None:
    """A float64 just above the middle of two bf16 numbers is not first rounded to the middle."""
    array = np.array([1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-8])
    rounded = round_numbers(numbers(array), make_scheme("bf16"), 0)
    assert floats(rounded, "BF16", (2,)).tolist() == [1 + 2.0**-7, 1.0]


@pytest.mark.parametrize(
    ("to", "dtype", "steps"), [("fp16", "F16", (11, -24)), ("bf16", "BF16", (8, -133))]
)
@settings(deadline=None)
@given(array=MATRICES, rounding=st.sampled_from(ROUNDINGS))
def test_float_errors_are_bounded(
    to: str, dtype: str, steps: tuple[int, int], array: Array, rounding: Rounding
) -> None:
    """A number moves by half a step at most, by chance by less than one; the error is told."""
    rounded = round_numbers(numbers(array), make_scheme(to, rounding=rounding), 5)
    away = np.abs(floats(rounded, dtype, array.shape) - array)
    step = float_step(array, *steps)
    assert (away <= step / 2).all() if rounding == "nearest" else (away < step).all()
    assert rounded.error == away.max()
    assert rounded.magnitude == np.abs(array).max()


@settings(deadline=None)
@given(
    array=MATRICES,
    bits=st.integers(4, 24),
    rounding=st.sampled_from(ROUNDINGS),
    form=st.sampled_from([*DTYPES, "bf16"]),
)
def test_fixed_point_is_one_grid(array: Array, bits: int, rounding: Rounding, form: str) -> None:
    """All numbers are multiples of one power of two, few enough for the bits, and near."""
    given_numbers = bf16(array) if form == "bf16" else numbers(array.astype(form))
    dtype = given_numbers.dtype
    exact = floats(Rounded({"": memoryview(given_numbers.content)}, 0, 0), dtype, array.shape)
    rounded = round_numbers(given_numbers, make_scheme(f"fixed{bits}", rounding=rounding), 5)
    found = floats(rounded, dtype, array.shape)
    largest, limit = np.abs(exact).max(), 2 ** (bits - 1) - 1
    if not largest:
        assert not found.any()
        return
    step = 2.0 ** np.ceil(np.log2(largest / limit))
    whole = found / step
    assert (whole == np.rint(whole)).all()
    assert np.abs(whole).max() <= limit
    away = np.abs(found - exact)
    assert (away <= step / 2).all() if rounding == "nearest" else (away < step).all()
    assert rounded.error == away.max()


@settings(deadline=None)
@given(array=MATRICES, rounding=st.sampled_from(ROUNDINGS), per_channel=st.booleans())
@pytest.mark.parametrize("to", ["int8", "int4"])
def test_evenly_spaced_errors_are_bounded(
    to: str, array: Array, rounding: Rounding, *, per_channel: bool
) -> None:
    """What is read back is half a scale away at most, by chance one; zero is zero."""
    scheme = make_scheme(to, rounding=rounding, per_channel=per_channel)
    rounded = round_numbers(numbers(array), scheme, 5)
    found = restored(array, scheme, rounded)
    scale = np.frombuffer(rounded.contents[".scale"], "<f4").astype(np.float64)
    scale = scale.reshape(-1, *[1] * (array.ndim - 1))
    away = np.abs(found.astype(np.float64) - array)
    slack = 1e-6 * np.abs(array).max()
    assert (away <= scale * (0.5 if rounding == "nearest" else 1) + slack).all()
    assert (found[array == 0] == 0).all()
    assert rounded.error == away.max()


@settings(deadline=None)
@given(array=MATRICES, rounding=st.sampled_from(ROUNDINGS), per_channel=st.booleans())
@pytest.mark.parametrize("to", ["int8", "int4"])
@pytest.mark.parametrize("codebook", CODEBOOKS)
def test_listed_errors_are_bounded(
    to: str, codebook: Codebook, array: Array, rounding: Rounding, *, per_channel: bool
) -> None:
    """What is read back is in the list, and no further away than the widest gap in it, or half."""
    scheme = make_scheme(to, codebook=codebook, rounding=rounding, per_channel=per_channel)
    rounded = round_numbers(numbers(array), scheme, 5)
    found = restored(array, scheme, rounded)
    codebooks = np.frombuffer(rounded.contents[".codebook"], "<f4").reshape(-1, scheme.levels)
    gap = np.diff(codebooks.astype(np.float64)).max(axis=1).reshape(-1, *[1] * (array.ndim - 1))
    away = np.abs(found.astype(np.float64) - array)
    assert np.isin(found, codebooks).all()
    slack = 1e-6 * np.abs(array).max()
    assert (away <= gap * (0.5 if rounding == "nearest" else 1) + slack).all()
    assert rounded.error == away.max()


@settings(deadline=None)
@given(array=arrays_of.arrays(np.float32, (5, 6), elements=WEIGHTS))
@pytest.mark.parametrize("to", ["int8", "int4"])
def test_a_scale_per_channel_is_never_coarser(to: str, array: Array) -> None:
    """No row's steps are wider than with one scale for all, and its errors keep to its own."""
    whole = make_table(numbers(array), make_scheme(to), 0).scale
    scheme = make_scheme(to, per_channel=True)
    each = make_table(numbers(array), scheme, 0).scale
    assert whole is not None
    assert each is not None
    # A row of zeros has a scale of one, which nothing is multiplied by.
    assert (each <= whole).all(where=array.any(axis=1))
    away = restored(array, scheme, round_numbers(numbers(array), scheme, 0)) - array
    assert (np.abs(away).max(axis=1) <= 0.5 * whole[0] * (1 + 1e-5)).all(where=array.any(axis=1))


def test_chance_is_right_on_the_average() -> None:
    """Of many equal numbers a third of the way up, a third goes up."""
    array = np.full(30_000, 1 + 2.0**-7 / 3, np.float32)
    rounded = round_numbers(numbers(array), make_scheme("bf16", rounding="random"), 1)
    found = floats(rounded, "BF16", array.shape)
    assert set(found) == {1.0, 1 + 2.0**-7}
    assert (found > 1).mean() == pytest.approx(1 / 3, abs=0.01)


def test_a_seed_gives_the_same_bytes_everywhere() -> None:
    """What chance decides is a part of what a seed means: these numbers never change."""
    array = np.linspace(-1, 1, 12, dtype=np.float32)
    scheme = make_scheme("int4", rounding="random")
    assert bytes(round_numbers(numbers(array), scheme, 7).contents[""]).hex() == "00426598cafd"
    assert bytes(round_numbers(numbers(array), scheme, 8).contents[""]).hex() != "00426598cafd"


@settings(deadline=None)
@given(array=MATRICES, rounding=st.sampled_from(ROUNDINGS))
@pytest.mark.parametrize("to", ["fp16", "bf16", "fixed5", "fixed16"])
def test_floats_twice_are_floats_once(to: str, array: Array, rounding: Rounding) -> None:
    """What was rounded stays as it is when it is rounded again, by chance or not."""
    scheme = make_scheme(to, rounding=rounding)
    first = floats(round_numbers(numbers(array), scheme, 1), scheme.dtype or "F32", array.shape)
    twice = round_numbers(numbers(first), scheme, 2)
    assert (floats(twice, scheme.dtype or "F64", array.shape) == first).all()
    assert twice.error == 0


@settings(deadline=None)
@given(array=MATRICES, per_channel=st.booleans())
@pytest.mark.parametrize("to", ["int8", "int4"])
@pytest.mark.parametrize("codebook", [None, "uniform"])
def test_tables_twice_are_tables_once(
    to: str, codebook: Codebook | None, array: Array, *, per_channel: bool
) -> None:
    """What was read back gets the same places again, in a table that is as good as the same.

    But where zero is half way between two of evenly spaced places: [-1, 1] goes to 15 of 16 of
    them, so that what is read back has a narrower range.
    """
    scheme = make_scheme(to, codebook=codebook, per_channel=per_channel)
    scale = make_table(numbers(array), scheme, 1).scale
    if scale is not None:
        below = -array.reshape(len(scale), -1).min(axis=1, initial=0) / scale.astype(np.float64)
        assume((np.abs(below % 1 - 0.5) > 1e-3).all())
    once = round_numbers(numbers(array), scheme, 1)
    first = restored(array, scheme, once)
    again = restored(array, scheme, round_numbers(numbers(first), scheme, 2))
    assert np.allclose(again, first, rtol=1e-5, atol=1e-6 * once.magnitude)


@pytest.mark.parametrize("to", ["fp16", "bf16", "fixed12"])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_floats_keep_what_is_not_finite(to: str, rounding: Rounding) -> None:
    """NaN stays NaN, infinity infinity, minus zero minus zero; they have no error."""
    array = np.array([np.nan, np.inf, -np.inf, -0.0, 1.0], np.float32)
    scheme = make_scheme(to, rounding=rounding)
    rounded = round_numbers(numbers(array), scheme, 0)
    found = floats(rounded, scheme.dtype or "F32", array.shape)
    assert np.array_equal(found, array, equal_nan=True)
    assert np.signbit(found[3])
    assert (rounded.error, rounded.magnitude) == (0.0, 1.0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("codebook", [None, *CODEBOOKS])
def test_tables_refuse_what_is_not_finite(wrong: float, codebook: Codebook | None) -> None:
    """No place in a table stands for NaN or infinity."""
    array = np.array([1.0, wrong], np.float32)
    with pytest.raises(InvalidInputError, match="NaN or infinity"):
        round_numbers(numbers(array), make_scheme("int8", codebook=codebook), 0)


@pytest.mark.parametrize("to", ["int8", "int4"])
def test_the_ends_of_the_range(to: str) -> None:
    """Numbers of every size are near what they were, or are refused."""
    for size in (1e-45, 1e-38, 1e38):
        array = np.array([[0.0, size, -size / 3, size / 2]], np.float32)
        scheme = make_scheme(to)
        rounded = round_numbers(numbers(array), scheme, 0)
        assert rounded.error <= 0.05 * np.abs(array).max()
        assert np.abs(restored(array, scheme, rounded) - array).max() <= 0.05 * size + 1e-45
    with pytest.raises(InvalidInputError, match="too large"):
        round_numbers(numbers(np.array([1e300, -1e300])), make_scheme(to), 0)


def test_the_greatest_number_of_fixed_point() -> None:
    """A number that would round up beyond its dtype is rounded down instead."""
    array = np.array([np.finfo(np.float32).max, 1.0], np.float32)
    found = floats(round_numbers(numbers(array), make_scheme("fixed8"), 0), "F32", (2,))
    assert found[0] == 63 * 2.0**122
    assert found[1] == 0


@pytest.mark.parametrize(
    ("to", "options"),
    [
        ("fp8", {}),
        ("fixed3", {}),
        ("fixed25", {}),
        ("int2", {}),
        ("", {}),
        ("fp16", {"codebook": "uniform"}),
        ("fixed8", {"per_channel": True}),
        ("int8", {"clamp": True}),
        ("int8", {"codebook": "best"}),
        ("int8", {"rounding": "up"}),
        ("int8", {"seed": -1}),
    ],
)
def test_schemes_that_are_none(to: str, options: dict[str, Any]) -> None:
    """A name that is no scheme, and an option that a scheme has no use for, are refused."""
    with pytest.raises(InvalidInputError):
        make_scheme(to, **options)


@pytest.fixture
def model(store: Store, weights: dict[str, Array]) -> Store:
    """A store with one model: float32, integers, an empty tensor and an odd number of columns."""
    rng = np.random.default_rng(4)
    weights["odd.weight"] = rng.standard_normal((9, 31), dtype=np.float32)
    store.put(weights, "lenet", params={"lr": 0.1}, task="digits")
    return store


@pytest.mark.parametrize(("to", "options"), EVERY_SCHEME)
def test_what_is_told_holds(
    model: Store, weights: dict[str, Array], to: str, options: dict[str, Any]
) -> None:
    """Every number that is read back is within the error that was told of its tensor."""
    report = model.quantise("lenet", to, **options)
    back = mstore.dequantise(model.load(report.name, framework="torch"))
    errors = {tensor.name: tensor.error for tensor in report.tensors}
    assert back.keys() == weights.keys()
    for name, array in weights.items():
        found = back[name].double().numpy()
        assert found.shape == array.shape
        assert np.abs(found - array).max(initial=0) == errors.get(name, 0)
    assert report.max_error == max(errors.values()) == errors[report.max_error_in]
    assert model.fsck(full=True).findings == []


@pytest.mark.parametrize(("to", "options"), EVERY_SCHEME)
def test_a_dry_run_tells_the_same(model: Store, to: str, options: dict[str, Any]) -> None:
    """A dry run stores nothing, and foresees every error and size."""
    before = model.parts.odb.packs()
    plan = model.quantise("lenet", to, dry_run=True, **options)
    assert model.parts.odb.packs() == before
    assert [row.name for row in model.models()] == ["lenet"]
    done = model.quantise("lenet", to, **options)
    assert (plan.tensors, plan.bytes_after) == (done.tensors, done.bytes_after)
    assert (plan.version, plan.dry_run, done.dry_run) == (None, True, False)
    assert done.bytes_after == model.show(done.name).version.size


@pytest.mark.parametrize(("to", "options"), EVERY_SCHEME)
def test_the_same_again_is_the_same(model: Store, to: str, options: dict[str, Any]) -> None:
    """The same seed makes no new version; a seed matters where something is left to chance."""
    first = model.quantise("lenet", to, **options)
    assert model.quantise("lenet", to, **options).unchanged
    other = model.quantise("lenet", to, name="other", seed=1, **options)
    assert other.version is not None
    hashes = [model.show(name).version.model_hash for name in (first.name, "other")]
    assert (hashes[0] != hashes[1]) == (other.seed is not None)


def test_the_lineage_says_from_what(model: Store) -> None:
    """The new version has the source as parent and says how; the source is what it was."""
    before = model.show("lenet")
    report = model.quantise("lenet", "int8", per_channel=True, author="ada")
    shown = model.show("lenet-int8")
    assert [(kin.relation, kin.label) for kin in shown.parents] == [("quantised", "lenet@1")]
    assert (shown.version.author, shown.version.task) == ("ada", "digits")
    assert shown.version.metadata["quantised"] == {
        "from": str(before.id),
        "scheme": "int8",
        "rounding": "nearest",
        "codebook": None,
        "per_channel": True,
        "tensors": 4,
        "max_error": report.max_error,
        "max_error_in": report.max_error_in,
        "max_relative_error": report.max_relative_error,
        "max_relative_error_in": report.max_relative_error_in,
    }
    assert model.show("lenet") == before


def test_what_is_not_asked_for_is_carried_over(model: Store, weights: dict[str, Array]) -> None:
    """Integers, tensors that an option leaves out, and those that would grow keep their bits."""
    options = {"include": ["*.weight", "none"], "exclude": ["conv1.*"]}
    report = model.quantise("lenet", "int4", **options)
    assert [tensor.name for tensor in report.tensors] == ["fc.weight", "odd.weight"]
    assert report.carried == len(weights) - 2
    found = model.load("lenet-int4")
    for name in ("conv1.weight", "fc.bias", "none", "step"):
        assert found[name].dtype == weights[name].dtype
        assert found[name].tobytes() == weights[name].tobytes()


def test_other_files_are_carried_over(
    store: Store, tmp_path: Path, weights: dict[str, Array]
) -> None:
    """Files without tensors, empty folders and executables are as they were; shards stay shards."""
    folder = tmp_path / "model"
    (folder / "empty").mkdir(parents=True)
    (folder / "run.sh").write_text("exit\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "vocabulary.bin").write_bytes(np.random.default_rng(1).bytes(700_000))
    for number, name in enumerate(("conv1.weight", "fc.weight")):
        part = {"w": weights[name]}
        save_file(part, folder / f"part-{number}.safetensors", metadata={"format": "pt"})
    save_file({"ids": np.arange(9)}, folder / "ids.safetensors")
    store.put(folder, "lenet")
    report = store.quantise("lenet", "fp16")
    assert [(tensor.path, tensor.name) for tensor in report.tensors] == [
        ("part-0.safetensors", "w"),
        ("part-1.safetensors", "w"),
    ]
    store.get("lenet-fp16", tmp_path / "back")
    for name in ("run.sh", "vocabulary.bin", "ids.safetensors"):
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes()
    assert (tmp_path / "back" / "run.sh").stat().st_mode & 0o100
    assert (tmp_path / "back" / "empty").is_dir()
    assert store.read("lenet-fp16").metadata() == {"format": "pt"}
    found = load_file(tmp_path / "back" / "part-1.safetensors")["w"]
    assert found.tobytes() == weights["fc.weight"].astype(np.float16).tobytes()


def test_one_file_stays_one_file(
    store: Store, tmp_path: Path, weights: dict[str, Array], write_model: Callable[..., Path]
) -> None:
    """A version put from one file comes back as one, which safetensors reads aligned."""
    store.put(write_model(weights), "lenet")
    store.quantise("lenet", "int4", per_channel=True)
    store.get("lenet-int4", tmp_path / "back.safetensors")
    found = load_file(tmp_path / "back.safetensors")
    assert mstore.dequantise(found).keys() == weights.keys()
    with store.read("lenet-int4") as model:
        offset = 0
        for name in model.keys():  # noqa: SIM118 - a Reader is no dict
            array = model.get_tensor(name)
            assert offset % array.itemsize == 0
            offset += array.nbytes


def test_packed_rows_can_be_read_alone(model: Store, weights: dict[str, Array]) -> None:
    """The bytes of a row hold its numbers and no others, the first in the low half."""
    model.quantise("lenet", "int4", per_channel=True)
    with model.read("lenet-int4") as reader:
        row = reader["odd.weight"][3:4][0]
        places = np.stack([row & 15, row >> 4], axis=1).reshape(-1)[:31].astype(np.int16)
        zero = reader["odd.weight.zero_point"][3:4][0].astype(np.int16)
        scale = reader["odd.weight.scale"][3:4][0]
    assert np.abs((places - zero) * scale - weights["odd.weight"][3]).max() <= scale / 2 + 1e-6


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_dequantise_gives_the_same_kind(model: Store, framework: str) -> None:
    """NumPy arrays come from NumPy arrays and torch tensors from torch tensors."""
    model.quantise("lenet", "int8")
    found = model.load("lenet-int8", framework=framework)
    back = mstore.dequantise(found)
    assert {type(value) for value in back.values()} == {type(found["step"])}
    assert back["step"] is found["step"]
    assert str(back["fc.weight"].dtype).endswith("float32")


def fits(changed: Mapping[str, Array]) -> bool:
    """Whether ``dequantise`` takes a small int4 tensor with some of its tensors changed."""
    state = {
        "w": np.zeros((2, 2), np.uint8),
        "w.shape": np.array([2, 3]),
        "w.scale": np.ones(2, np.float32),
        "w.zero_point": np.zeros(2, np.uint8),
    }
    try:
        return mstore.dequantise({**state, **changed})["w"].shape == (2, 3)
    except CorruptError:
        return False


@pytest.mark.parametrize(
    "changed",
    [
        {"w": np.zeros((2, 3), np.uint8)},
        {"w.shape": np.array([2, 5])},
        {"w.shape": np.array([-2, -3])},
        {"w.shape": np.array([2.0, 3.0])},
        {"w.scale": np.ones(3, np.float32)},
        {"w.scale": np.ones((), np.float32)},
        {"w.scale": np.ones(2, np.float64)},
        {"w.zero_point": np.zeros(2, np.int8)},
        {"w.codebook": np.zeros(256, np.float32)},
    ],
)
def test_tensors_that_do_not_fit_are_refused(changed: dict[str, Array]) -> None:
    """Scales, places and shapes that contradict one another are CorruptError."""
    assert fits({})
    assert not fits(changed)


def test_a_state_dict_without_tables_is_itself(weights: dict[str, Array]) -> None:
    """Names alone make nothing quantised: only I8 and U8 with all that belongs to them."""
    state = {**weights, "fc.weight.scale": np.ones(1), "fc.weight.zero_point": np.ones(1)}
    found = mstore.dequantise(state)
    assert found.keys() == state.keys()
    assert all(found[name] is state[name] for name in state)


@pytest.mark.parametrize("to", ["fp16", "int8"])
def test_a_tensor_that_cannot_be_held_is_named(store: Store, to: str) -> None:
    """The tensor is named, the error says what to do, and nothing is stored."""
    wrong = np.full(99, 1e6 if to == "fp16" else np.nan, np.float32)
    store.put({"sound": np.ones(99, np.float32), "wrong": wrong}, "lenet")
    with pytest.raises(InvalidInputError, match="tensor 'wrong' holds") as caught:
        store.quantise("lenet", to)
    assert "--exclude" in (caught.value.hint or "")
    assert [row.name for row in store.models()] == ["lenet"]
    assert store.quantise("lenet", to, exclude=["wr*"]).carried == 1


@pytest.mark.parametrize("rounding", get_args(Rounding))
def test_clamping_is_counted(store: Store, rounding: Rounding) -> None:
    """With clamp, numbers out of range become the last of the range; infinity stays."""
    array = np.array([1e6, -1e6, 1.0, np.inf, 65504.0], np.float32)
    store.put({"w": array}, "lenet")
    report = store.quantise("lenet", "fp16", rounding=rounding, clamp=True)
    found = store.load("lenet-fp16")["w"].astype(np.float32)
    assert found.tolist() == [65504.0, -65504.0, 1.0, np.inf, 65504.0]
    assert (report.clamped, report.max_error) == (2, 1e6 - 65504)
    assert store.show("lenet-fp16").version.metadata["quantised"]["clamped"] == 2


def test_there_must_be_something_to_do(model: Store) -> None:
    """A version that the scheme would leave as it is makes no new one."""
    model.quantise("lenet", "int8")
    model.quantise("lenet", "fp16")
    for name, to in (("lenet-int8", "int8"), ("lenet-fp16", "fp16")):
        with pytest.raises(InvalidInputError, match="has no tensor that"):
            model.quantise(name, to)
    with pytest.raises(InvalidInputError, match="has no tensor that"):
        model.quantise("lenet", "int8", include=["nothing"])


def test_tables_are_not_quantised_again(model: Store) -> None:
    """Scales belong to places: what was quantised to int8 is carried over whole."""
    model.quantise("lenet", "int8", include=["fc.weight"])
    model.quantise("lenet-int8", "bf16", name="mixed")
    dtypes = {row.name: row.dtype for row in model.tensors("mixed")}
    assert dtypes["fc.weight"] == "I8"
    assert dtypes["fc.weight.scale"] == "F32"
    assert dtypes["odd.weight"] == "BF16"


def test_a_name_that_is_taken_is_refused(store: Store) -> None:
    """A tensor whose scale would take another tensor's name is named, and can be left out."""
    arrays = {"w": np.ones(99, np.float32), "w.scale": np.ones(99, np.float32)}
    store.put(arrays, "lenet")
    with pytest.raises(InvalidInputError, match=r"'w\.scale', which is taken"):
        store.quantise("lenet", "int8")
    assert store.quantise("lenet", "int8", exclude=["w"]).carried == 1


def test_a_part_of_a_version_is_refused(model: Store) -> None:
    """Tensors are chosen by pattern, not by a path; a version without a model needs a name."""
    with pytest.raises(InvalidInputError, match="part of a version"):
        model.quantise("lenet:model.safetensors", "fp16")
    oid = str(model.resolve("lenet").version)
    model.tag("lenet", "prod")
    assert model.quantise("prod", "fp16", name="small").source == "lenet@1"
    assert model.quantise(oid, "fp16", name="small").unchanged


def test_bytes_that_were_stripped_are_missed(model: Store) -> None:
    """A version without its bytes says so, and nothing is stored."""
    model.put({"w": np.ones(3, np.float32)}, "lenet")
    model.strip(["lenet@2"])
    model.gc(now=True)
    with pytest.raises(NotFoundError, match="stripped"):
        model.quantise("lenet@1", "fp16")
    assert [row.name for row in model.models()] == ["lenet"]


@pytest.mark.parametrize(("to", "options"), EVERY_SCHEME)
def test_equal_tensors_stay_equal(store: Store, to: str, options: dict[str, Any]) -> None:
    """Two tensors with the same numbers get the same ones again, whatever chance decides."""
    array = np.random.default_rng(2).standard_normal((40, 41), dtype=np.float32)
    store.put({"a": array, "b": array.copy(), "c": array * array}, "lenet")
    store.quantise("lenet", to, **options)
    ids = {row.name: row.id for row in store.tensors(f"lenet-{to}")}
    assert ids["a"] == ids["b"] != ids["c"]


@pytest.mark.parametrize("to", ["bf16", "int8"])
def test_tensors_of_many_chunks(store: Store, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor that threads read in pieces is made once, and whole."""
    made: list[str] = []
    first = rounder.Rounder._round

    def count(self: rounder.Rounder, work: rounder.Work) -> Rounded:
        made.append(work.name)
        return first(self, work)

    monkeypatch.setattr(rounder.Rounder, "_round", count)
    rng = np.random.default_rng(5)
    arrays = {name: rng.standard_normal((3, 1 << 20), dtype=np.float32) for name in "ab"}
    store.put(arrays, "big", codec="raw")
    report = store.quantise("big", to, rounding="random")
    back = mstore.dequantise(store.load(report.name, framework="torch"))
    for tensor in report.tensors:
        away = back[tensor.name].double().numpy() - arrays[tensor.name]
        assert np.abs(away).max() == tensor.error
    assert sorted(made) == ["a", "b"]


def test_few_tensors_are_held(store: Store) -> None:
    """Quantising takes the memory of a few tensors, not of the model."""
    array = np.random.default_rng(6).standard_normal((1 << 18,), dtype=np.float32)
    store.put({f"w{number}": array + number for number in range(96)}, "big", codec="raw")
    tracemalloc.start()
    store.quantise("big", "int8")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 56 << 20, peak
