"""The published test vectors, run against the code (SPEC, Appendix A)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blake3 import blake3

from mstore import codecs
from mstore.errors import CorruptError, InvalidInputError, MstoreError, UnsupportedError
from mstore.format.config import decode_config, encode_config
from mstore.format.names import check_file_name
from mstore.format.objects import decode_object, encode_object
from mstore.format.pack import (
    HEADER_SIZE,
    TRAILER_SIZE,
    check_header,
    decode_index,
    decode_trailer,
    pack_name,
    stored_check,
)
from mstore.format.safetensors import header_length, parse_header
from mstore.format.slots import check_ref_name, decode_slot, encode_slot
from mstore.ids import Kind, hash_chunk, hash_model, hash_object
from mstore.ops.chunking import cut_points

VECTORS = Path(__file__).parent.parent / "vectors"
ERRORS: dict[str, type[MstoreError]] = {
    "corrupt": CorruptError,
    "unsupported": UnsupportedError,
    "invalid-input": InvalidInputError,
}

Case = dict[str, Any]


def load(file: str) -> list[Any]:
    """The cases of one file, named for pytest."""
    cases = json.loads((VECTORS / file).read_text(encoding="utf-8"))
    return [pytest.param(case, id=case["name"]) for case in cases]


def plain(value: object) -> object:
    """``value`` as the vectors write it: binary as {"hex": …}."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def unplain(value: object) -> object:
    """The reverse of ``plain``."""
    if isinstance(value, dict):
        if value.keys() == {"hex"}:
            return bytes.fromhex(value["hex"])
        return {key: unplain(item) for key, item in value.items()}
    return [unplain(item) for item in value] if isinstance(value, list) else value


def refused(case: Case, read: Callable[[bytes], object]) -> bool:
    """Whether ``case`` is one that must be refused; then it was, with the right error."""
    if "error" not in case:
        return False
    with pytest.raises(ERRORS[case["error"]]):
        read(bytes.fromhex(case["hex"]))
    return True


@pytest.mark.parametrize("case", load("objects.json"))
def test_objects(case: Case) -> None:
    """A payload has the value and the id of its vector, or is refused as it says."""
    kind, payload = Kind[case["kind"].upper()], bytes.fromhex(case["hex"])
    if refused(case, lambda content: decode_object(kind, content)):
        return
    assert str(hash_object(kind, payload)) == case["id"]
    if kind is Kind.CHUNK:
        return
    assert plain(msgspec.msgpack.decode(payload)) == case["value"]
    assert msgspec.msgpack.encode(unplain(case["value"]), order="sorted") == payload
    assert encode_object(decode_object(kind, payload)) == (kind, payload)


def read_pack(whole: bytes) -> list[Case]:
    """Everything in a pack, verified, as its vector lists it."""
    check_header(whole[:HEADER_SIZE])
    trailer = decode_trailer(whole[-TRAILER_SIZE:], len(whole))
    found = []
    for entry in decode_index(whole[trailer.index_offset :], trailer.index_offset):
        stored = whole[entry.offset : entry.offset + entry.stored_size]
        payload = codecs.decode(entry.codec, stored, entry.raw_size)
        assert hash_object(entry.kind, payload) == entry.id
        assert entry.codec == 0 or stored_check(stored) == entry.check
        found.append(
            {
                "id": str(entry.id),
                "kind": entry.kind.name.lower(),
                "codec": entry.codec,
                "offset": entry.offset,
                "stored": entry.stored_size,
                "raw": entry.raw_size,
                "check": entry.check.hex(),
                "base": str(entry.base) if entry.base else None,
                "payload": bytes(payload).hex(),
            }
        )
    return found


@pytest.mark.parametrize("case", load("packs.json"))
def test_packs(case: Case) -> None:
    """A pack has the name and the entries of its vector, or is refused as it says."""
    if refused(case, read_pack):
        return
    whole = bytes.fromhex(case["hex"])
    assert read_pack(whole) == case["value"]
    index_offset = decode_trailer(whole[-TRAILER_SIZE:], len(whole)).index_offset
    assert pack_name(whole[index_offset:]) == case["pack"]


@pytest.mark.parametrize("case", load("codecs.json"))
def test_codecs(case: Case) -> None:
    """Stored bytes decode to the value of their vector, or are refused as it says."""
    base = unplain(case["base"]) if "base" in case else None

    def read(stored: bytes) -> bytes:
        return bytes(codecs.decode(case["codec"], stored, case["size"], base))

    if not refused(case, read):
        assert read(bytes.fromhex(case["hex"])) == unplain(case["value"])


@pytest.mark.parametrize("case", load("slots.json"))
def test_slots(case: Case) -> None:
    """A slot has the value of its vector, or is refused as it says."""
    if refused(case, lambda content: decode_slot(content, case["generation"])):
        return
    content = bytes.fromhex(case["hex"])
    assert plain(msgspec.msgpack.decode(content[8:-32])) == case["value"]
    assert encode_slot(decode_slot(content, case["generation"])) == content


@pytest.mark.parametrize("case", load("configs.json"))
def test_configs(case: Case) -> None:
    """A config has the value of its vector, or is refused as it says."""
    if refused(case, decode_config):
        return
    content = bytes.fromhex(case["hex"])
    assert json.loads(content) == case["value"]
    assert encode_config(decode_config(content)) == content


@pytest.mark.parametrize("case", load("safetensors.json"))
def test_safetensors(case: Case) -> None:
    """A header says what its vector lists, or is refused as it says."""

    def read(head: bytes) -> object:
        header_length(head, case["size"])
        header = parse_header(head, case["size"])
        return {"metadata": header.metadata, "tensors": plain(header.spans)}

    if not refused(case, read):
        assert read(bytes.fromhex(case["hex"])) == case["value"]


@pytest.mark.parametrize("case", load("names.json"))
def test_names(case: Case) -> None:
    """A name is accepted or refused as its vector says."""
    check = check_ref_name if case["of"] == "ref" else check_file_name
    if "error" not in case:
        check(case["text"])
        return
    with pytest.raises(ERRORS[case["error"]]):
        check(case["text"])


@pytest.mark.parametrize("case", load("model_hashes.json"))
def test_model_hashes(case: Case) -> None:
    """Pairs of names and tensor ids have the model hash of their vector."""
    pairs = [(name, bytes.fromhex(oid["hex"])) for name, oid in case["value"]]
    assert str(hash_model(pairs)) == case["id"]


@pytest.mark.parametrize("case", load("chunking.json"))
def test_chunking(case: Case) -> None:
    """Files that are not tensors are cut where the vector says, whatever the library's version."""
    content = blake3(case["text"].encode()).digest(case["size"])
    assert cut_points(memoryview(content)) == case["cuts"]
    assert sum(case["cuts"]) == case["size"]


def test_chunks_hash_as_b3sum_does() -> None:
    """The empty input has the hash that BLAKE3's own vectors give."""
    expected = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert str(hash_chunk(b"")) == expected


def test_every_file_of_vectors_is_run() -> None:
    """No file of vectors is left out above, and each is listed in SPEC."""
    files = {path.name for path in VECTORS.glob("*.json")}
    here = Path(__file__).read_text(encoding="utf-8")
    spec = (VECTORS.parent.parent / "SPEC.md").read_text(encoding="utf-8")
    assert {name for name in files if f'load("{name}")' in here} == files
    assert {name for name in files if f"`{name}`" in spec} == files


def test_every_section_of_vectors_exists() -> None:
    """The section that a vector names is a heading of SPEC."""
    spec = (VECTORS.parent.parent / "SPEC.md").read_text(encoding="utf-8")
    for path in VECTORS.glob("*.json"):
        for case in json.loads(path.read_text(encoding="utf-8")):
            section = case["section"]
            heading = f"\n### {section} " if "." in section else f"\n## {section}. "
            assert heading in spec, case["name"]
