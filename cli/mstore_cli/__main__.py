"""``python -m mstore_cli`` is ``mstore``."""

from mstore_cli.main import main

main()
