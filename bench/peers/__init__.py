"""The tools that are measured; one module each, all with the methods of `base.Peer`."""

from bench.peers.base import Peer
from bench.peers.borg import Borg, BorgFine, BorgQuick
from bench.peers.copying import Cp
from bench.peers.dvc import Dvc
from bench.peers.lfs import GitLfs
from bench.peers.ours import Mstore, MstoreRaw, MstoreSmall
from bench.peers.restic import Restic
from bench.peers.tensorfs import Tensorfs
from bench.peers.xet import HfXet

PEERS: tuple[type[Peer], ...] = (Cp, HfXet, Tensorfs, GitLfs, Dvc, Borg, BorgFine, Restic)
OURS: tuple[type[Mstore], ...] = (Mstore, MstoreRaw, MstoreSmall)

__all__ = [
    "OURS",
    "PEERS",
    "Borg",
    "BorgFine",
    "BorgQuick",
    "Cp",
    "HfXet",
    "Mstore",
    "MstoreRaw",
    "MstoreSmall",
    "Peer",
    "Restic",
    "Tensorfs",
]
