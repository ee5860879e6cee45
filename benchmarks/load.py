"""A load of its own process: the same GET over raw keep-alive sockets, the next one when the answer is whole.

`python -m benchmarks.load PORT PATH CONNECTIONS REQUESTS`: it says how long they took and what was answered.
"""

import sys
import time
from itertools import repeat

import uvloop

from benchmarks.bare_sockets import ask_each
from benchmarks.processes import say


async def main(port: int, path: str, connections: int, requests: int) -> None:
    question = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\n\r\n".encode()
    began = time.perf_counter()
    answers = await ask_each(port, repeat(question, requests), connections)
    say(
        seconds=time.perf_counter() - began,
        answered=answers.whole,
        good=answers.good,
        body_bytes=answers.body_bytes,
    )


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
