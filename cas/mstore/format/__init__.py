"""Bytes to values and back: what SPEC.md says a store's bytes mean.

Everything here is pure and is the fuzz surface. Decoders take any bytes and raise nothing but
CorruptError and UnsupportedError; encoders and name checks refuse wrong input with
InvalidInputError. Every length is held against a limit before it is used.
"""
