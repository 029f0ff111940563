"""Times `mstore.open` in a running interpreter.

Usage: open_store.py STORE
"""

import json
import sys
import time

import mstore

if __name__ == "__main__":
    start = time.perf_counter()
    store = mstore.open(sys.argv[1])
    print(json.dumps({"seconds": time.perf_counter() - start}))
