"""The object database: objects by id, kept in packs (SPEC §7)."""

from mstore.odb.chains import MAX_CHAIN
from mstore.odb.check import Problem, check_pack, salvage
from mstore.odb.database import ObjectDatabase
from mstore.odb.elsewhere import Elsewhere, Nowhere, is_unreachable
from mstore.odb.entries import Location
from mstore.odb.writer import PACK_CAP, PackWriter

__all__ = [
    "MAX_CHAIN",
    "PACK_CAP",
    "Elsewhere",
    "Location",
    "Nowhere",
    "ObjectDatabase",
    "PackWriter",
    "Problem",
    "check_pack",
    "is_unreachable",
    "salvage",
]
