"""Suites and file systems for whoever writes a backend, or changes one (SPEC §3)."""
