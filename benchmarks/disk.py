"""How long the disk takes to make a write durable: without that, figures of two machines cannot be compared."""

import os
import time
from pathlib import Path

from benchmarks.figure import percentile

WRITES = 200
BLOCK = b"\0" * 4096


def fdatasync_line(folder: Path) -> str:
    """`fdatasync: p50 … ms, p99 … ms` of 4 KiB appended and synced."""
    path = folder / "fdatasync"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    took = []
    try:
        for _ in range(WRITES):
            os.write(descriptor, BLOCK)
            began = time.perf_counter()
            os.fdatasync(descriptor)
            took.append((time.perf_counter() - began) * 1000)
    finally:
        os.close(descriptor)
        path.unlink()
    return f"fdatasync of 4 KiB: p50 {percentile(took, 0.5):.2f} ms, p99 {percentile(took, 0.99):.2f} ms"
