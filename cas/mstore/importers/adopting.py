"""Taking over a folder of models that nobody managed."""

from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, NamedTuple

from msgspec import Struct

from mstore.errors import MstoreError
from mstore.importers.adoption import Plan, Planned, Unsure, plan_adoption
from mstore.importers.guesses import ref_name
from mstore.importers.putting import put_said
from mstore.importers.survey import survey
from mstore.objects import Value
from mstore.store import Store

ADOPTED: Final = "adopted"
"""The key of a version's metadata that says which file it was: its path, size and time."""

State = Literal["new", "there", "failed"]


class AdoptedVersion(NamedTuple):
    """One version: "new", "there" since an earlier adoption, or "failed".

    ``kind`` of ``number`` is "step", "epoch", "version", "number" or "".
    """

    model: str
    path: PurePosixPath
    kind: str
    number: int | None
    state: State
    metrics: int
    params: int
    logs: int
    size_bytes: int


class AdoptReport(Struct, frozen=True):
    """What was adopted, or with ``dry_run`` would be; ``left`` are files that are no models."""

    top: Path
    dry_run: bool
    models: int
    versions: list[AdoptedVersion]
    unsure: list[Unsure]
    left: list[PurePosixPath]
    stored_bytes: int


def adopt(
    store: Store, top: Path, *, prefix: str = "", author: str = "", dry_run: bool = False
) -> AdoptReport:
    """Store the checkpoints below ``top`` as models, with what logs, sheets and settings say.

    Their order, their names and what belongs to them is guessed from names and times; ``unsure``
    says where a guess was weak. Files that an earlier adoption took are not read again. A model of
    the same name that was not adopted is left alone. Nothing in ``top`` is changed.
    """
    start = f"{ref_name(prefix)}/" if prefix else ""
    plan = plan_adoption(survey(top), start)
    adoption = _Adoption(store, plan, author, dry_run=dry_run)
    for model, group in groupby(plan.versions, key=lambda planned: planned.model):
        adoption.take(model, list(group))
    models = {row.model for row in adoption.versions if row.state != "failed"}
    return AdoptReport(
        top,
        dry_run,
        len(models),
        adoption.versions,
        [*plan.unsure, *adoption.unsure],
        plan.left,
        adoption.stored,
    )


class _Adoption:
    """A plan on its way into a store; ``stored`` counts bytes."""

    def __init__(self, store: Store, plan: Plan, author: str, *, dry_run: bool) -> None:
        self._store, self._plan, self._author, self._dry_run = store, plan, author, dry_run
        self.versions: list[AdoptedVersion] = []
        self.unsure: list[Unsure] = []
        self.stored = 0

    def take(self, model: str, versions: list[Planned]) -> None:
        """Store what of a model is not there yet."""
        known = _known(self._store, model)
        if known is None:
            reason = f"left out: there is another model '{model}'; adopt with --name"
            self.unsure.extend(Unsure(planned.found.path, reason) for planned in versions)
            return
        for planned in versions:
            mark = _mark(planned)
            state: State = "there" if mark in known else "new"
            if state == "new" and not self._dry_run:
                state = self._put(planned, mark, first=not known)
            if state == "new":
                known.append(mark)
            self.versions.append(_row(planned, state))

    def _put(self, planned: Planned, mark: dict[str, Value], *, first: bool) -> State:
        top, said = self._plan.top, dict[str, Any](planned.said)
        said["metadata"] = {**said["metadata"], ADOPTED: mark}
        steps = planned.found.guess.kind in {"step", "epoch"}
        try:
            found = put_said(
                self._store,
                top / planned.found.path,
                planned.model,
                said,
                parents=[] if first else None,
                relation="trained" if steps else "derived",
                logs=[top / log for log in planned.logs],
                author=self._author,
            )
        except MstoreError as error:
            self.unsure.append(Unsure(planned.found.path, f"left out: {error}"))
            return "failed"
        if found.remark:
            self.unsure.append(Unsure(planned.found.path, found.remark))
        self.stored += found.result.stored_bytes
        return "new"


def _known(store: Store, model: str) -> list[dict[str, Value]] | None:
    """The marks of what was adopted as a model; None for a model that came otherwise."""
    if model not in {row.name for row in store.models()}:
        return []
    found = [row.version.metadata.get(ADOPTED) for row in store.log(model) if row.version]
    marks = [mark for mark in found if isinstance(mark, dict)]
    return marks or None


def _mark(planned: Planned) -> dict[str, Value]:
    found = planned.found
    moment = datetime.fromtimestamp(found.modified, UTC).isoformat(timespec="microseconds")
    return {"path": str(found.path), "size": found.size, "modified": moment}


def _row(planned: Planned, state: State) -> AdoptedVersion:
    guess, said = planned.found.guess, planned.said
    return AdoptedVersion(
        planned.model,
        planned.found.path,
        guess.kind,
        guess.number,
        state,
        len(said["metrics"]),
        len(said["params"]),
        len(planned.logs),
        planned.found.size,
    )
