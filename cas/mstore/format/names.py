"""Names of files in a model's folder: what may stand in a tree (SPEC §6.4).

A name accepted here can be written on Linux, macOS and Windows without meaning anything but
itself there, and no two names of one tree fall together on a file system that folds case or
normalises. Colons are the one exception: common on Linux, so a reader on Windows refuses them.
"""

import re
import unicodedata
from collections.abc import Iterable

from mstore.errors import InvalidInputError

MAX_NAME_SIZE = 255
"""UTF-8 bytes of one name: what ext4, xfs, btrfs and APFS can hold."""
MAX_FOLDER_DEPTH = 64
"""How many folders may stand inside one another (SPEC §11)."""
MAX_NAMES = 1_000_000
"""How many files and folders a version may hold (SPEC §11)."""

# What HFS+ ignores when it compares names: "a<U+200C>b" would be "ab" there.
_IGNORED = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
# ASCII: else a dotless or a dotted "i" would be taken for the one in CONIN$.
_RESERVED = re.compile(r"(?ai:con|prn|aux|nul|conin\$|conout\$|com[1-9¹²³]|lpt[1-9¹²³])")
_PLAIN = re.compile(r"[A-Za-z0-9_-]{5,64}(\.[A-Za-z0-9_-]{1,64}){1,2}", re.ASCII)


def is_reserved(name: str) -> bool:
    """Whether Windows takes ``name`` for a device, with any extension ("con", "NUL.txt")."""
    return _RESERVED.fullmatch(name.partition(".")[0].rstrip(" ")) is not None


def check_file_name(name: str) -> None:
    """InvalidInputError unless ``name`` may be one component of a path in a tree."""
    # Nearly every name of a model folder is of this form, and none of it can break a rule.
    if _PLAIN.fullmatch(name):
        return
    reason = _fault(name)
    if reason:
        message = f"file name {name!r} {reason}"
        raise InvalidInputError(message, hint="rename the file")


def _fault(name: str) -> str | None:  # noqa: PLR0911 - one return for each rule of SPEC §6.4
    if name in ("", ".", ".."):
        return "is not a name"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    if size > MAX_NAME_SIZE:
        return f"has {size} bytes, at most {MAX_NAME_SIZE} are allowed"
    if "/" in name or "\\" in name:
        return "contains a path separator"
    if _CONTROL.search(name):
        return "contains a control character"
    if _IGNORED.search(name):
        return "contains an invisible character that some file systems ignore"
    if name[-1] in " .":
        return "ends with a space or a dot, which Windows drops"
    if is_reserved(name):
        return "is the name of a device on Windows"
    if not unicodedata.is_normalized("NFC", name):
        return "is not in Unicode normalisation form C"
    return None


def fold_name(name: str) -> str:
    """What two names must not share: the name as a file system without case sees it."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def check_tree_names(names: Iterable[str]) -> None:
    """InvalidInputError unless the names may stand in one tree: each valid, no two alike.

    The order is not looked at.
    """
    seen: dict[str, str] = {}
    for name in names:
        check_file_name(name)
        folded = fold_name(name)
        other = seen.get(folded)
        if other is not None:
            message = f"file names {other!r} and {name!r} are the same where case does not count"
            raise InvalidInputError(message, hint="rename one of them")
        seen[folded] = name
