"""One function per parser: any bytes in, no error out.

A target suppresses exactly the errors that its parser may raise; whatever else escapes is a
find. Where a format is canonical, what was accepted must also encode to the very same bytes.
``fuzz/run.py`` drives one target with atheris; tests/unit/test_fuzz_corpus.py replays the corpus.
"""

import contextlib
import functools
import io
import re
from collections.abc import Callable

import safetensors
from blake3 import blake3

from mstore.backends.memory import MemoryBackend
from mstore.capture.logs import read_log
from mstore.capture.logs.caffe import read_caffe
from mstore.capture.logs.gathered import Gathered
from mstore.capture.logs.tensorboard import masked_crc, read_events
from mstore.catalog.english import understand
from mstore.catalog.syntax import QueryError, parse
from mstore.codecs import DELTA_PCO, PCO, PLANES, SPARSE, SPLIT_FLOAT, ZSTD, decode
from mstore.errors import CorruptError, InvalidInputError, NotFoundError, UnsupportedError
from mstore.format import bundle, config, model_files, names, objects, pack, pickle_outline, slots
from mstore.format import safetensors as headers
from mstore.format.layout import LiteralPart, layout
from mstore.ids import Kind
from mstore.objects import TensorFile
from mstore.parts import Parts, init_parts
from mstore.revision import resolve
from mstore.schema import parse_schema
from mstore.units import format_quantity, parse_quantity

Target = Callable[[bytes], None]

REFUSED = (CorruptError, UnsupportedError)
_STOP = re.compile(rb"\[\s*[0-9]{1,9}\s*,\s*([0-9]{1,9})\s*\]")
MAX_BODY = 1 << 16
"""Bytes of tensors up to which the safetensors library is asked too."""


def _fuzz_object(kind: Kind, content: bytes) -> None:
    with contextlib.suppress(*REFUSED):
        value = objects.decode_object(kind, content)
        assert objects.encode_object(value) == (kind, content)


def fuzz_tensor(content: bytes) -> None:
    """The payload of a tensor."""
    _fuzz_object(Kind.TENSOR, content)


def fuzz_file(content: bytes) -> None:
    """The payload of a file, and the header inside when it has one."""
    _fuzz_object(Kind.FILE, content)
    with contextlib.suppress(*REFUSED):
        value = objects.decode_object(Kind.FILE, content)
        if isinstance(value, objects.TensorFile) and value.format == "safetensors":
            objects.parse_tensor_file(value)


def fuzz_tree(content: bytes) -> None:
    """The payload of a tree."""
    _fuzz_object(Kind.TREE, content)


def fuzz_version(content: bytes) -> None:
    """The payload of a version."""
    _fuzz_object(Kind.VERSION, content)


def fuzz_note(content: bytes) -> None:
    """The payload of a note."""
    _fuzz_object(Kind.NOTE, content)


def fuzz_record(content: bytes) -> None:
    """The payload of a record."""
    _fuzz_object(Kind.RECORD, content)


def fuzz_pack(content: bytes) -> None:
    """A whole pack: header, trailer, index."""
    with contextlib.suppress(*REFUSED):
        pack.check_header(content)
    with contextlib.suppress(*REFUSED):
        trailer = pack.decode_trailer(content[-pack.TRAILER_SIZE :], len(content))
        index = content[trailer.index_offset :]
        entries = pack.decode_index(index, trailer.index_offset)
        assert pack.encode_index(entries) == index


def fuzz_pack_index(content: bytes) -> None:
    """Rows and bases with a trailer that fits them; the first 12 bytes say where and how many."""
    offset, rows, bases = (int.from_bytes(content[at : at + 4], "little") for at in (0, 4, 8))
    body = content[12:]
    numbers = (offset, rows % 8, bases % 4)
    sizes = (8, 4, 4)
    trailer = b"".join(n.to_bytes(s, "little") for n, s in zip(numbers, sizes, strict=True))
    index = body + trailer + bytes(8) + pack.MAGIC
    with contextlib.suppress(*REFUSED):
        entries = pack.decode_index(index, offset)
        assert pack.encode_index(entries) == index


def fuzz_slot(content: bytes) -> None:
    """A slot's file as it stands; hardly any has a hash that fits."""
    with contextlib.suppress(*REFUSED):
        slot = slots.decode_slot(content, 1)
        assert slots.encode_slot(slot) == content


def fuzz_slot_body(content: bytes) -> None:
    """A slot's fields, sealed with the hash that fits."""
    body = slots.MAGIC + content
    whole = body + blake3(body, derive_key_context=slots.SLOT_CONTEXT).digest()
    fuzz_slot(whole)


def fuzz_config(content: bytes) -> None:
    """A store's config."""
    with contextlib.suppress(*REFUSED):
        found = config.decode_config(content)
        assert config.encode_config(found) == content


def fuzz_safetensors(content: bytes) -> None:
    """A file's first bytes; what is accepted must mean the same to the safetensors library."""
    with contextlib.suppress(*REFUSED):
        head = content[: headers.LENGTH_SIZE + headers.header_length(content, len(content))]
        header = headers.parse_header(head, len(content))
        _ask_the_library(header, content)


def fuzz_safetensors_json(content: bytes) -> None:
    """The JSON of a header, in front of exactly the bytes that it asks for."""
    head = len(content).to_bytes(headers.LENGTH_SIZE, "little") + content
    stops = [int(stop) for stop in _STOP.findall(content)]
    body = min(max(stops, default=0), MAX_BODY)
    with contextlib.suppress(*REFUSED):
        header = headers.parse_header(head, len(head) + body)
        _ask_the_library(header, head + bytes(body))


def _ask_the_library(header: headers.Header, whole: bytes) -> None:
    theirs = {
        name: (item["dtype"], tuple(item["shape"]), len(item["data"]))
        for name, item in safetensors.deserialize(whole)
    }
    ours = {span.name: (span.dtype, span.shape, span.stop - span.start) for span in header.spans}
    assert theirs == ours


def fuzz_model_file(content: bytes) -> None:
    """A whole file of any format; what is taken apart can be put together and found again."""

    def read(start: int, size: int) -> bytes:
        assert 0 <= start <= start + size <= len(content)
        return content[start : start + size]

    try:
        found = model_files.outline_of(len(content), read)
    except REFUSED:
        return
    bodies = [content[span.start : span.stop] for span in found.spans]
    ids = [
        blake3(repr(span[1:3]).encode() + body).digest()
        for span, body in zip(found.spans, bodies, strict=True)
    ]
    tensors = tuple((span.name, oid) for span, oid in zip(found.spans, ids, strict=True))
    places = tuple(span.start for span in found.spans)
    file = TensorFile(found.format, len(content), found.literals, tensors, places)
    objects.encode_object(file)
    parts = layout(file, [len(body) for body in bodies])
    assert content == b"".join(
        part.content if isinstance(part, LiteralPart) else bodies[part.number] for part in parts
    )
    model_files.check_literals(file, [(span.dtype, span.shape) for span in found.spans])


def fuzz_pickle(content: bytes) -> None:
    """The pickle of an archive; nothing in it is ever run."""
    with contextlib.suppress(*REFUSED):
        pickle_outline.tensors_in(content)


def fuzz_ref_name(content: bytes) -> None:
    """The name of a ref, the folder of one, and the key of a slot."""
    text = content.decode("utf-8", "surrogateescape")
    with contextlib.suppress(InvalidInputError):
        slots.check_ref_name(text)
        assert slots.unquote_name(slots.quote_name(text)) == text
    with contextlib.suppress(CorruptError):
        assert slots.quote_name(slots.unquote_name(text)) == text
    with contextlib.suppress(CorruptError):
        assert slots.slot_key(*slots.parse_slot_key(text)) == text


def fuzz_file_name(content: bytes) -> None:
    """Names of files, one on each line, as the names of one tree."""
    found = content.decode("utf-8", "surrogateescape").split("\n")
    with contextlib.suppress(InvalidInputError):
        names.check_tree_names(found)
        assert not any("/" in name or name in ("", ".", "..") for name in found)
        assert len({name.casefold() for name in found}) == len(found)


def fuzz_zstd(content: bytes) -> None:
    """A zstd entry; the first three bytes are the size that it must have."""
    raw_size = int.from_bytes(content[:3], "little")
    with contextlib.suppress(*REFUSED):
        assert len(decode(ZSTD, content[3:], raw_size)) == raw_size


def fuzz_split_float(content: bytes) -> None:
    """A split-float entry; the first two bytes are the size that it must have."""
    _fuzz_codec(SPLIT_FLOAT, content, None)


def fuzz_pco(content: bytes) -> None:
    """A pco entry, behind its size."""
    _fuzz_codec(PCO, content, None)


def fuzz_delta_pco(content: bytes) -> None:
    """A delta-pco entry, behind its size, the size of a base and that base."""
    stop = 4 + int.from_bytes(content[2:4], "little")
    _fuzz_codec(DELTA_PCO, content[:2] + content[stop:], content[4:stop])


def fuzz_sparse(content: bytes) -> None:
    """A sparse entry, behind its size, the size of a base and that base."""
    stop = 4 + int.from_bytes(content[2:4], "little")
    _fuzz_codec(SPARSE, content[:2] + content[stop:], content[4:stop])


def fuzz_planes(content: bytes) -> None:
    """A planes entry, behind its size, the size of a low chunk and that chunk."""
    stop = 4 + int.from_bytes(content[2:4], "little")
    _fuzz_codec(PLANES, content[:2] + content[stop:], content[4:stop])


def _fuzz_codec(code: int, content: bytes, base: bytes | None) -> None:
    raw_size = int.from_bytes(content[:2], "little")
    with contextlib.suppress(*REFUSED):
        assert len(decode(code, content[2:], raw_size, base)) == raw_size


def fuzz_bundle(content: bytes) -> None:
    """A bundle's header and manifest."""
    with contextlib.suppress(*REFUSED):
        header = bundle.decode_header(content, len(content))
        stop = bundle.HEADER_SIZE + header.manifest_size
        bundle.check_layout(header, bundle.decode_manifest(content[bundle.HEADER_SIZE : stop]))


def fuzz_manifest(content: bytes) -> None:
    """A bundle's manifest alone."""
    with contextlib.suppress(*REFUSED):
        manifest = bundle.decode_manifest(content)
        assert bundle.encode_manifest(manifest) == content


@functools.cache
def _empty_store() -> Parts:
    return init_parts(MemoryBackend())[0]


def fuzz_revision(content: bytes) -> None:
    """What a person types for a version, in a store that has none."""
    text = content.decode("utf-8", "surrogateescape")
    with contextlib.suppress(InvalidInputError, NotFoundError):
        resolve(_empty_store(), text)


def _check_series(gathered: Gathered) -> None:
    for series in gathered.series():
        assert len(series.steps) == len(series.values)
        assert len(series.times) in {0, len(series.steps)}


def fuzz_events(content: bytes) -> None:
    """A TensorBoard event file as it stands; hardly any record has sums that fit."""
    gathered = Gathered("fuzz")
    with contextlib.suppress(InvalidInputError):
        read_events(io.BytesIO(content), gathered)
    _check_series(gathered)


def fuzz_event(content: bytes) -> None:
    """One event, sealed with the sums that fit."""
    size = len(content).to_bytes(8, "little")
    sums = [masked_crc(part).to_bytes(4, "little") for part in (size, content)]
    fuzz_events(size + sums[0] + content + sums[1])


def fuzz_caffe(content: bytes) -> None:
    """A log of caffe."""
    gathered = Gathered("fuzz")
    with contextlib.suppress(InvalidInputError):
        read_caffe(io.BytesIO(content), gathered)
    _check_series(gathered)


def fuzz_log(content: bytes) -> None:
    """A training log of whatever kind; what is read is a record that a store takes."""
    with contextlib.suppress(InvalidInputError):
        log = read_log(io.BytesIO(content), "fuzz").log
        assert objects.decode_object(*objects.encode_object(log)) == log


def fuzz_schema(content: bytes) -> None:
    """A team's schema."""
    with contextlib.suppress(InvalidInputError):
        schema = parse_schema(content, "fuzz")
        with contextlib.suppress(InvalidInputError):
            schema.metrics({field.name: "90%" for field in schema.fields})


def fuzz_search(content: bytes) -> None:
    """A search, as a query and as English; what is understood is shown as what it is."""
    text = content.decode("utf-8", "surrogateescape")
    for read in (parse, lambda given: understand(given)[0]):
        with contextlib.suppress(QueryError):
            shown = str(read(text))
            assert str(parse(shown)) == shown


def fuzz_quantity(content: bytes) -> None:
    """A number with its unit."""
    with contextlib.suppress(InvalidInputError):
        quantity = parse_quantity(content.decode("utf-8", "surrogateescape"))
        again = parse_quantity(format_quantity(*quantity))
        assert again == quantity or quantity.value != quantity.value


# A new parser gets a line here, a function above, and a folder with seeds in fuzz/corpus.
TARGETS: dict[str, Target] = {
    "tensor": fuzz_tensor,
    "file": fuzz_file,
    "tree": fuzz_tree,
    "version": fuzz_version,
    "note": fuzz_note,
    "record": fuzz_record,
    "pack": fuzz_pack,
    "pack_index": fuzz_pack_index,
    "slot": fuzz_slot,
    "slot_body": fuzz_slot_body,
    "config": fuzz_config,
    "safetensors": fuzz_safetensors,
    "safetensors_json": fuzz_safetensors_json,
    "torch": fuzz_model_file,
    "gguf": fuzz_model_file,
    "onnx": fuzz_model_file,
    "numpy": fuzz_model_file,
    "pickle": fuzz_pickle,
    "ref_name": fuzz_ref_name,
    "file_name": fuzz_file_name,
    "zstd": fuzz_zstd,
    "split_float": fuzz_split_float,
    "pco": fuzz_pco,
    "delta_pco": fuzz_delta_pco,
    "sparse": fuzz_sparse,
    "planes": fuzz_planes,
    "bundle": fuzz_bundle,
    "manifest": fuzz_manifest,
    "revision": fuzz_revision,
    "events": fuzz_events,
    "event": fuzz_event,
    "caffe": fuzz_caffe,
    "log": fuzz_log,
    "schema": fuzz_schema,
    "search": fuzz_search,
    "quantity": fuzz_quantity,
}
