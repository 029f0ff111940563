"""What a version can know of how it was made without being told.

``git`` keeps the source as it was and ``restoring`` gives it back, ``environment`` says what it ran
on, ``logs`` reads what a training wrote down. Files are read and git is run here; nothing is
written, and no code of a work tree or of a log is ever executed.
"""
