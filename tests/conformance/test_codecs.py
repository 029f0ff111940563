"""Every codec of the table passes the suite that plugin authors inherit."""

from typing import ClassVar

import pytest

from mstore import codecs
from mstore.codecs import Layout, delta_pco, pco, planes, raw, sparse, split_float, zstd
from mstore.testing.codecs import Case, CodecTests, weights


class TestRaw(CodecTests):
    """The codec that changes nothing."""

    codec = raw


class TestZstd(CodecTests):
    """Zstandard."""

    codec = zstd


class TestSplitFloat(CodecTests):
    """Byte planes."""

    codec = split_float


class TestPco(CodecTests):
    """Streams of pco."""

    codec = pco


class TestDeltaPco(CodecTests):
    """Differences from a base."""

    codec = delta_pco


class TestPlanes(CodecTests):
    """Planes that are read one by one."""

    codec = planes
    cases: ClassVar = {
        f"width-{width}-{bits}": Case(
            weights(width), Layout(width), planes.split(weights(width), width, bits)[1]
        )
        for width in (2, 4, 8)
        for bits in (3, 8, 12)
    }


class TestSparse(CodecTests):
    """Few changes to a base."""

    codec = sparse


@pytest.mark.parametrize("code", codecs.BUILT_IN)
def test_every_codec_is_held_to_the_suite(code: int) -> None:
    """No codec of this build is left out above."""
    tested = {suite.codec for suite in CodecTests.__subclasses__()}
    assert codecs.codec(code) in tested
