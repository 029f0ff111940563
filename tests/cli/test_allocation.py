"""The program keeps its memory from one chunk to the next."""

import subprocess
import sys
import textwrap

FAULTS = """
    import resource, threading
    import numpy as np
    from mstore_cli.allocation import keep_freed_memory

    def work():
        for _ in range(20):
            held = [np.ones(4 << 20, np.uint8) for _ in range(8)]
            del held

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    plain = faults()
    keep_freed_memory()
    print(plain, faults())
"""


def test_freed_pages_are_used_again() -> None:
    """Taking and freeing the same arrays again and again takes no new pages after the first."""
    script = textwrap.dedent(FAULTS)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    plain, kept = map(int, done.stdout.split())
    assert kept < plain / 5
