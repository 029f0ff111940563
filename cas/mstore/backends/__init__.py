"""Named bytes in a place: a folder of this machine, or memory (SPEC §3)."""
