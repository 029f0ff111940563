"""One module per command; each holds ``command``, imported when it is first asked for."""
