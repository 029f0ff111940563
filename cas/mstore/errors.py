"""What mstore raises on purpose, grouped by what the caller should do.

MstoreError
├── NotFoundError      (KeyError)    no such object, name, revision or store
├── ExistsError                      would overwrite something
├── ConflictError                    somebody else was first: look again and retry
├── CorruptError                     bytes disagree with their id or with SPEC.md: run fsck
├── UnsupportedError                 a version, codec or dtype this build does not know
├── InvalidInputError  (ValueError)  the caller's mistake
└── StorageError                     the place failed: disk full, read-only, I/O error

Messages have a small first letter and no full stop, say first what failed, and quote the
subject. ``hint`` says what to do next. ``kind`` is a stable code for programs.
"""


class MstoreError(Exception):
    """The root of everything mstore raises on purpose."""

    kind = "error"

    def __init__(self, message: str, *, hint: str | None = None, kind: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if kind is not None:
            self.kind = kind

    def __str__(self) -> str:
        return self.message


class NotFoundError(MstoreError, KeyError):
    """There is no such object, name, revision or store (exit code 3)."""

    kind = "not-found"


class ExistsError(MstoreError):
    """The call would overwrite something that is already there (exit code 4)."""

    kind = "exists"


class ConflictError(MstoreError):
    """Somebody else changed the same thing first; look again and retry (exit code 4)."""

    kind = "conflict"


class CorruptError(MstoreError):
    """Stored or given bytes disagree with their id or with SPEC.md (exit code 5)."""

    kind = "corrupt"


class UnsupportedError(MstoreError):
    """A format version, codec or dtype that this build does not know (exit code 6)."""

    kind = "unsupported"


class InvalidInputError(MstoreError, ValueError):
    """The caller's input is wrong; nothing was changed (exit code 2)."""

    kind = "invalid-input"


class StorageError(MstoreError):
    """The place that holds the bytes failed; it may pass on retry (exit code 7)."""

    kind = "storage"
