"""How fast `neurolocal serve` answers: pages of random neurons to several readers, and a sentence to the subject.

Run: python scripts/bench_serve.py [STORE] [--subject [MODEL]]. Without a store a made-up one of 30 x 1,536 neurons is
written to a temporary folder (0.6 GB). The server is a process of its own, the readers are threads of this one, on the
same cores. Prints the median, the 95th and 99th percentile and the largest of the times, pages a second, and the
server's memory. With --subject (alone: the model that the store names) also the time of a sentence of 20 tokens.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from bench_find import collected, made_up_layer, made_up_rows, made_up_vocabulary

from neurolocal.store import write_collected

LAYERS, NEURONS = 30, 1_536
SENTENCE = "The old farmer walked slowly to the market on Tuesday morning and bought red apples for his young wife"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("store", nargs="?", type=Path)
    parser.add_argument("--subject", nargs="?", const="")
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--pages", type=int, default=2_000)
    options = parser.parse_args()
    with ExitStack() as stack:
        path = options.store or made_up(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "made-up.h5")
        command = [sys.executable, "-m", "neurolocal", "serve", str(path), "--port", "0"]
        if options.subject is not None:
            command += ["--subject", options.subject] if options.subject else ["--subject"]
        start = time.perf_counter()
        server = stack.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        stack.callback(server.terminate)
        assert server.stderr is not None
        line = next(line for line in server.stderr if line.startswith("serve: http"))
        port = int(line.split("/")[2].rpartition(":")[2])
        print(f"ready to answer after {time.perf_counter() - start:.1f} s")
        pages(port, options.readers, options.pages, server.pid)
        print(f"memory of the server and its readers: {memory(server.pid):,} MiB")
        if options.subject is not None:
            sentence(port)


def pages(port: int, readers: int, n: int, pid: int) -> None:
    """Times of the first pages, and of random neurons' to several readers at the same time."""
    facts = json.loads(get(http.client.HTTPConnection("127.0.0.1", port), "/api/store")[1])
    layers = [(layer["layer"], layer["neurons"]) for layer in facts["layers"]]
    print(f"{sum(neurons for _, neurons in layers):,} neurons in {len(layers)} layers")
    rng = np.random.default_rng(0)
    names = [
        f"/neuron/{layer}/{rng.integers(neurons)}.html"
        for layer, neurons in [layers[i % len(layers)] for i in range(n)]
    ]
    rng.shuffle(names)
    one = http.client.HTTPConnection("127.0.0.1", port)
    for name in ("/", f"/layer/{layers[-1][0]}/", f"/layer/{layers[-1][0]}/"):
        took, content = get(one, name)
        print(f"{name}: {took * 1e3:.0f} ms, {len(content) / 1e3:.0f} kB")
    first = [get(one, f"/neuron/{layer}/0.html")[0] for layer, _ in layers]
    print(f"the first neuron of each layer, one reader: {percentiles(first)}")

    def read(share: list[str]) -> list[float]:
        mine = http.client.HTTPConnection("127.0.0.1", port)
        return [get(mine, name)[0] for name in share]

    start, before = time.perf_counter(), processor(pid)
    with ThreadPoolExecutor(readers) as pool:
        took = [t for part in pool.map(read, [names[i::readers] for i in range(readers)]) for t in part]
    wall = time.perf_counter() - start
    print(f"{n:,} random neurons, {readers} readers: {percentiles(took)}, {n / wall:.0f} pages/s")
    ms, load = (processor(pid) - before) / n * 1e3, os.getloadavg()[0]
    print(f"processor time of the server: {ms:.1f} ms a page; load of the machine {load:.1f}")


def sentence(port: int) -> None:
    """Times of a sentence for one neuron, and for the ten that it excites most."""
    one = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    layer = json.loads(get(one, "/api/store")[1])["layers"][-1]["layer"]
    for what in ({"strongest": 10}, {"neurons": [[layer, 0]]}, {"neurons": [[layer // 2, 0]]}):
        body = json.dumps({"text": SENTENCE, **what}).encode()
        answers = [get(one, "/api/activations", body) for _ in range(21)][1:]
        tokens = len(json.loads(answers[0][1])["tokens"])
        print(f"a sentence of {tokens} tokens, {json.dumps(what)}: {percentiles([took for took, _ in answers])}")


def get(connection: http.client.HTTPConnection, path: str, body: bytes | None = None) -> tuple[float, bytes]:
    """Seconds that an answer took, and its content."""
    start = time.perf_counter()
    connection.request(
        "GET" if body is None else "POST", path, body, {"content-type": "application/json"} if body else {}
    )
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, (path, answer.status, content[:200])
    return time.perf_counter() - start, content


def percentiles(seconds: list[float]) -> str:
    """Percentiles in milliseconds."""
    ms = np.percentile(np.array(seconds) * 1e3, [50, 95, 99, 100])
    return "median {:.0f} ms, p95 {:.0f} ms, p99 {:.0f} ms, largest {:.0f} ms".format(*ms)


def processes(pid: int) -> list[psutil.Process]:
    """The server and the processes that read for it."""
    server = psutil.Process(pid)
    return [server, *server.children(recursive=True)]


def processor(pid: int) -> float:
    """Seconds that they have computed."""
    return sum(one.cpu_times().user + one.cpu_times().system for one in processes(pid))


def memory(pid: int) -> int:
    """Memory that they hold, in MiB."""
    return sum(one.memory_info().rss for one in processes(pid)) >> 20


def made_up(path: Path) -> Path:
    """A store of random numbers, without evidence."""
    rng = np.random.default_rng(0)
    layers: list[Any] = [(("post", i), made_up_layer(rng, NEURONS)) for i in range(LAYERS)]
    write_collected(path, collected(made_up_vocabulary(rng), made_up_rows(rng), layers))
    return path


if __name__ == "__main__":
    main()
