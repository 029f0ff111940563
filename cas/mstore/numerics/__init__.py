"""Arithmetic on the numbers of tensors: pure, and with the codecs the only users of NumPy here.

Bytes come in and bytes or arrays go out; nothing is read or written. Import its modules where
they are needed, not before: NumPy takes longer to load than most commands to run.
"""
