"""Every codec of the table passes the suite that plugin authors inherit."""

from mstore.codecs import raw, zstd
from mstore.testing.codecs import CodecTests


class TestRaw(CodecTests):
    """The codec that changes nothing."""

    codec = raw


class TestZstd(CodecTests):
    """Zstandard."""

    codec = zstd
