"""Processes played by threads: the same messages, no start-up."""

import threading

import torch

from nst_nd.engine.team import Team


class _Exchange:
    def __init__(self, count):
        self.barrier = threading.Barrier(count, timeout=60)
        self.values = [None] * count
        self.messages = {}


class ThreadTeam(Team):
    """A Team whose members are threads of this process."""

    def __init__(self, rank, count, exchange):
        super().__init__(rank, count)
        self.exchange = exchange

    def total(self, values):
        shared = self.exchange
        shared.values[self.rank] = values.clone()
        shared.barrier.wait()
        summed = torch.stack(shared.values).sum(0)
        shared.barrier.wait()
        return values.copy_(summed)

    def swap(self, sends, receives):
        shared = self.exchange
        for to, tensor in sends:
            shared.messages.setdefault((self.rank, to), []).append(tensor.clone())
        shared.barrier.wait()
        for source, tensor in receives:
            message = shared.messages[source, self.rank].pop(0)
            assert message.shape == tensor.shape
            tensor.copy_(message)
        shared.barrier.wait()
        assert not any(shared.messages.values())
        shared.barrier.wait()


def together(count, work):
    """work(team) of every member, in the order of the ranks."""
    exchange, results, errors = _Exchange(count), [None] * count, []

    def member(rank):
        try:
            results[rank] = work(ThreadTeam(rank, count, exchange))
        except BaseException as error:
            errors.append(error)
            exchange.barrier.abort()

    threads = [threading.Thread(target=member, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise next((e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0])
    return results
