"""Times searches in an open store: search.py STORE QUERY. Prints seconds, the first search aside.

With the query ``reindex`` it times that instead, once.
"""

import json
import sys
import time
from statistics import median

import mstore

TIMES = 9


def main(place: str, query: str) -> None:
    """Asks again and again, in one program."""
    store = mstore.open(place)
    if query == "reindex":
        print(json.dumps({"seconds": store.reindex().seconds}))
        return
    store.search(query)
    taken = []
    for _ in range(TIMES):
        begin = time.perf_counter()
        store.search(query)
        taken.append(time.perf_counter() - begin)
    print(json.dumps({"seconds": median(taken)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
