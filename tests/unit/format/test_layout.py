"""Where the bytes of a file of tensors stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.errors import CorruptError, UnsupportedError
from mstore.format.layout import (
    MAX_LITERALS,
    LiteralPart,
    Span,
    TensorPart,
    layout,
    outline,
    owners,
)
from mstore.objects import TensorFile

A, B = b"a" * 32, b"b" * 32


def placed(size: int, header: bytes, *tensors: tuple[int, str, bytes]) -> TensorFile:
    """A file with tensors at these places."""
    named = tuple((name, oid) for _, name, oid in tensors)
    return TensorFile("torch", size, header, named, tuple(place for place, _, _ in tensors))


def test_literal_bytes_fill_what_tensors_leave() -> None:
    """Literal bytes stand before, between and behind the tensors."""
    file = placed(12, b"abcdef", (2, "x", A), (6, "y", B))
    assert layout(file, [3, 3]) == [
        LiteralPart(0, b"ab"),
        TensorPart(2, 3, 0),
        LiteralPart(5, b"c"),
        TensorPart(6, 3, 1),
        LiteralPart(9, b"def"),
    ]


def test_a_safetensors_file_is_its_header_and_then_its_tensors() -> None:
    """Without places tensors follow the header, and one another, in their order."""
    file = TensorFile("safetensors", 7, b"abcd", (("y", B), ("x", B), ("none", A)))
    assert layout(file, [1, 2, 0]) == [
        LiteralPart(0, b"abcd"),
        TensorPart(4, 1, 0),
        TensorPart(5, 2, 1),
    ]


def test_tied_tensors_count_once_and_empty_ones_not_at_all() -> None:
    """A tensor with the place and the id of the one before adds nothing, nor does an empty one."""
    file = placed(4, b"ab", (1, "none", B), (1, "x", A), (1, "y", A), (4, "void", B))
    assert layout(file, [0, 2, 2, 0]) == [
        LiteralPart(0, b"a"),
        TensorPart(1, 2, 1),
        LiteralPart(3, b"b"),
    ]


@pytest.mark.parametrize(
    ("file", "sizes", "message"),
    [
        (placed(4, b"", (0, "x", A), (1, "y", B)), [2, 2], "'y' at byte 1 overlaps"),
        (placed(4, b"", (0, "x", A), (0, "y", B)), [2, 2], "'y' at byte 0 overlaps"),
        (placed(4, b"a", (2, "x", A)), [3], "'x' at byte 2 leaves a hole before"),
        (placed(4, b"a", (1, "x", A)), [4], "has 5 bytes, not 4"),
        (placed(9, b"a", (1, "x", A)), [4], "has 5 bytes, not 9"),
        (TensorFile("safetensors", 9, b"a", (("x", A),)), [4], "has 5 bytes, not 9"),
    ],
)
def test_what_does_not_fill_a_file_is_refused(
    file: TensorFile, sizes: list[int], message: str
) -> None:
    """Tensors that overlap, leave holes, or are too long or too short are corrupt."""
    with pytest.raises(CorruptError, match=message):
        layout(file, sizes)


SPANS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans()), min_size=1, max_size=9
)


@given(SPANS, st.integers(0, 9))
def test_an_outline_and_its_layout_agree(gaps: list[tuple[int, int, bool]], tail: int) -> None:
    """A file that was taken apart is put together again, tied tensors and empty ones too."""
    spans, at = [], 0
    for number, (gap, size, tied) in enumerate(gaps):
        spans.append(Span(f"t{number}", "U8", (size,), at + gap, at + gap + size))
        if tied:
            spans.append(Span(f"tied{number}", "U8", (size,), at + gap, at + gap + size))
        at += gap + size
    content = bytes(range(256))[: at + tail]
    found = outline("torch", spans[::-1], len(content), lambda at, size: content[at : at + size])
    ids = [bytes([span.start]) * 32 if span.shape != (0,) else B for span in found.spans]
    file = TensorFile(
        "torch",
        len(content),
        found.literals,
        tuple((span.name, oid) for span, oid in zip(found.spans, ids, strict=True)),
        tuple(span.start for span in found.spans),
    )
    parts = layout(file, [span.stop - span.start for span in found.spans])
    rebuilt = b"".join(
        part.content
        if isinstance(part, LiteralPart)
        else content[part.start : part.start + part.size]
        for part in parts
    )
    assert rebuilt == content
    tensors = [part.start for part in parts if isinstance(part, TensorPart)]
    assert tensors == [span.start for span in owners(found.spans)]


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([], "no tensors"),
        ([Span("x", "U8", (2,), 0, 2), Span("x", "U8", (2,), 2, 4)], "one name"),
        ([Span("x", "U8", (2,), 0, 2), Span("y", "U8", (2,), 1, 3)], "'x' and 'y' share"),
        ([Span("x", "U8", (2,), 0, 2), Span("y", "U8", (1,), 0, 1)], "'x' and 'y' share"),
        ([Span("x", "U8", (4,), 0, 4), Span("y", "F32", (), 0, 4)], "'x' and 'y' share"),
        ([Span("x", "U8", (8,), 0, 8)], "behind the end"),
        ([Span("x", "U8", (1,), 1 << 25, (1 << 25) + 1)], f"at most {MAX_LITERALS}"),
        ([Span(f"{number:0500}", "U8", (0,), 0, 0) for number in range(70_000)], "too much"),
    ],
)
def test_what_cannot_be_kept_as_tensors_is_refused(spans: list[Span], message: str) -> None:
    """Tensors that share some of their bytes or one name leave a file opaque."""
    size = 4 if spans and spans[0].start == 0 else 1 << 26
    with pytest.raises(UnsupportedError, match=message):
        outline("torch", spans, size, lambda _, size: bytes(size))
