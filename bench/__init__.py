"""Measures mstore beside the tools people use today, on the same files, in one command.

`python -m bench` installs the peers, makes the files, runs every row of the requirements in turns,
checks every result byte for byte and writes docs/benchmarks.md.
"""
