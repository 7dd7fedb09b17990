"""The server of asynchronous workers: its messages against bare ones, and two workers against one.

    python benchmarks/served.py [messages] [workers] [memory]

messages  exchanges (a fetch and a push) of a model of 4 million parameters over loopback, against a bare ping-pong of
          as many bytes
workers   frames/s of two workers and the server, one thread each, over those of one worker and the server, at period 16
memory    of the server at its highest, above that without a center, with workers who push and fetch at once while
          rank 0 evaluates, and the bound of asr_parallel/parallel/asynchronous/server.py

Contestants take turns; the result is the median of the ratios within a turn.
"""

import multiprocessing
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from common import CPU, DEFAULT, RATE, arguments, make_store, minibatches

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.asynchronous.client import Address, Client, RemoteCenter
from asr_parallel.parallel.asynchronous.life import Life, Phase, Place
from asr_parallel.parallel.asynchronous.run_file import new_key
from asr_parallel.parallel.asynchronous.server_process import server_process
from asr_parallel.parallel.asynchronous.service import Plan
from asr_parallel.parallel.asynchronous.worker import Worker
from asr_parallel.parallel.registry import asynchronous, entry
from asr_parallel.training.leased_data import LeasedData
from asr_parallel.training.option_groups import OptimizationOptions
from asr_parallel.training.replicas import Replicas

PARAMETERS = 4_000_000
EXCHANGES = 20  # of a turn
MINIBATCH, PERIOD = 512, 16
MINIBATCHES = 128  # of a turn, for each worker
TIMEOUT = 60.0
ENDLESS = 1_000_000  # minibatches or epochs, more than are ever asked for
context = multiprocessing.get_context("spawn")


def begin(address: Address, model: torch.Tensor, workers: int) -> Client:
    """Begin a run of async-elastic; return rank 0's connection."""
    rule = asynchronous("async-elastic")(entry("async-elastic").options(period=PERIOD))
    state = rule.center(model).state_dict()
    client = Client(address, 0, "benchmark", TIMEOUT)
    counts = [ENDLESS] * workers
    plan = Plan("async-elastic", asdict(rule.options), counts, 1, PERIOD, True, dict(state.values), None, {})
    client.begin(plan, state.shared)
    return client


def bounce(port: int) -> None:
    """Send back what comes, in a process of its own."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        view = memoryview(bytearray(4 * PARAMETERS))
        while receive(sock, view):
            sock.sendall(view)


def receive(sock: socket.socket, view: memoryview) -> bool:
    received = 0
    while received < len(view):
        count = sock.recv_into(view[received:])
        if not count:
            return False
        received += count
    return True


def seconds(work: Callable[[], None]) -> float:
    work()
    began = time.perf_counter()
    for _ in range(EXCHANGES):
        work()
    return (time.perf_counter() - began) / EXCHANGES


def messages(rounds: int) -> None:
    """Print exchanges/s and bytes/s of the server and of a bare ping-pong."""
    with ExitStack() as held:
        address = held.enter_context(server_process("127.0.0.1", new_key(), "benchmark", TIMEOUT))
        main = begin(address, torch.zeros(PARAMETERS), 1)
        worker = Client(address, 0, "benchmark", TIMEOUT, 0)
        listening = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        peer = context.Process(target=bounce, args=(listening.getsockname()[1],))
        peer.start()
        bare, _ = listening.accept()
        bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        view, params = memoryview(bytearray(4 * PARAMETERS)), torch.zeros(PARAMETERS)
        message = torch.full((PARAMETERS,), 1e-6)

        def ping_pong() -> None:
            bare.sendall(view)
            receive(bare, view)

        def exchange() -> None:
            worker.fetch_into(params)
            worker.push(message, worker.version, MINIBATCH)

        turns = [(seconds(ping_pong), seconds(exchange)) for _ in range(rounds)]
        print("\n| | exchanges/s | MB/s | x ping-pong |\n|---|--:|--:|--:|")
        for name, times in zip(("ping-pong", "fetch and push"), zip(*turns, strict=True), strict=True):
            per_second = 1 / statistics.median(times)
            ratio = statistics.median(one / own for (one, _), own in zip(turns, times, strict=True))
            print(f"| {name} | {per_second:.1f} | {per_second * 8 * PARAMETERS / 1e6:.0f} | {ratio:.2f} |", flush=True)
        bare.close()
        peer.join()
        worker.leave()
        main.call("finish")
        main.leave()


def train(number: int, workers: int, folder: str, address: Address, turns: Connection) -> None:
    """Train a worker for a turn whenever asked; send the seconds that it took."""
    torch.set_num_threads(1)
    store = FrameStore.open(Path(folder))
    network = StackedNetwork(DEFAULT, 1, CPU, torch.float32).initialise(1)
    replica = Replicas(network, OptimizationOptions()).replicas[0]
    rule = asynchronous("async-elastic")(entry("async-elastic").options(period=PERIOD))
    rule.start(workers)
    center = RemoteCenter(lambda k: Client(address, number, "benchmark", TIMEOUT, k), [number], replica.params)
    worker, life = Worker(number, rule, replica, center), Life(rule.exchange, PERIOD)
    batches = minibatches(store, 1, [0], MINIBATCH, torch.float32)

    def read(places: Iterator[Place]) -> Generator[tuple[torch.Tensor, torch.Tensor], None, None]:
        return batches.of_replicas((0, *divmod(place.index, batches.minibatches_per_epoch)) for place in places)

    data = LeasedData(read, [ENDLESS] * workers, 1)

    def minibatch(frames: int) -> int:
        back = replica.network.backward(*next(data))
        replica.optimizer.step(back, RATE)
        return MINIBATCH

    while turns.recv():
        began, done = time.perf_counter(), 0
        while done < MINIBATCHES:
            if life.phase == Phase.FETCH:
                worker.fetch()
            elif life.phase == Phase.PUSH:
                worker.push()
            else:
                assert life.lease is not None
                if life.done == 0:
                    data.begin(life.lease)
                worker.step(minibatch)
                done += 1
            life.advance(lambda: center.lease(number))
        turns.send(time.perf_counter() - began)
    data.close()
    center.leave()


def workers(rounds: int) -> None:
    """Print frames/s of one and of two workers beside a server."""
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        make_store(folder, 200_000, DEFAULT.num_pdfs)
        address = held.enter_context(server_process("127.0.0.1", new_key(), "benchmark", TIMEOUT))
        main = begin(address, StackedNetwork(DEFAULT, 1, CPU, torch.float32).initialise(1).parameters[0], 2)
        pipes = []
        for number in range(2):
            here, there = context.Pipe()
            context.Process(target=train, args=(number, 2, str(folder), address, there)).start()
            pipes.append(here)

        def turn(count: int) -> float:
            for pipe in pipes[:count]:
                pipe.send(True)
            return sum(MINIBATCHES * MINIBATCH / pipe.recv() for pipe in pipes[:count])

        turn(2)  # compiles and warms up
        turns = [(turn(1), turn(2)) for _ in range(rounds)]
        print("\n| workers | frames/s | x one |\n|---|--:|--:|")
        for count, speeds in enumerate(zip(*turns, strict=True), 1):
            ratio = statistics.median(own / one for (one, _), own in zip(turns, speeds, strict=True))
            print(f"| {count} | {statistics.median(speeds):.0f} | {ratio:.2f} |", flush=True)
        for pipe in pipes:
            pipe.send(False)
        main.call("finish")
        main.leave()


def memory(rounds: int) -> None:
    """Print the server's memory and its bound, for each number of workers."""
    print("\n| workers | MB | bound, MB |\n|--:|--:|--:|")
    for count in (4, 8):
        with server_process("127.0.0.1", new_key(), "benchmark", TIMEOUT) as address:
            (server,) = multiprocessing.active_children()
            before = highest(server.pid)
            main = begin(address, torch.zeros(PARAMETERS), count)
            clients = [Client(address, 0, "benchmark", TIMEOUT, number) for number in range(count)]

            def exchange(client: Client) -> None:
                params, message = torch.zeros(PARAMETERS), torch.zeros(PARAMETERS)
                for _ in range(rounds):
                    client.fetch_into(params)
                    client.push(message, client.version, MINIBATCH)
                client.leave()

            with ThreadPoolExecutor(count) as pool:
                exchanges, evaluated = [pool.submit(exchange, client) for client in clients], torch.zeros(PARAMETERS)
                while not all(one.done() for one in exchanges):
                    main.fetch_into(evaluated)
            for one in exchanges:
                one.result()
            megabytes, bound = (highest(server.pid) - before) / 1e6, 4 * PARAMETERS * (1 + 2 * count + 1 + 4) / 1e6
            print(f"| {count} | {megabytes:.0f} | {bound:.0f} |", flush=True)
            main.call("finish")
            main.leave()


def highest(pid: int | None) -> int:
    """Return the most bytes of memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


if __name__ == "__main__":
    parts = {"messages": messages, "workers": workers, "memory": memory}
    args = arguments(__doc__, parts, 7).parse_args()
    torch.set_num_threads(1)
    for part in args.parts or parts:
        parts[part](args.rounds)
