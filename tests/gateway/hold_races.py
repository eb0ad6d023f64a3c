"""1,000 randomised holds under load (BANYAN_RACES to change): close, commit, flip, open, watchdog, clients that
leave. Nobody gets an error, nothing is done twice, and behind a committed hold with nothing inside no request
reaches any upstream until it is opened. The seed is printed; BANYAN_SEED repeats it."""
import asyncio
import collections
import os
import random

from harness import Backend, RpcError, main

RACES = int(os.environ.get("BANYAN_RACES", "1000"))
SEED = int(os.environ.get("BANYAN_SEED", random.randrange(1 << 30)))
CLIENTS = 24


class Load:
    def __init__(self, gateway, chance):
        self.gateway, self.chance = gateway, chance
        self.running, self.sent, self.answered, self.abandoned = True, 0, [], set()

    def next_id(self):
        self.sent += 1
        return f"/{self.sent}"

    async def client(self):
        while self.running:
            async with self.gateway.client() as client:
                for _ in range(self.chance.randrange(1, 40)):
                    if not self.running:
                        return
                    target, method = self.next_id(), self.chance.choice(["GET", "POST", "PUT"])
                    body = None if method == "GET" else os.urandom(self.chance.choice([1, 100, 20_000]))
                    if self.chance.random() < 0.03:
                        return await self.abandon(client, target)
                    response = await client.request(method, target, body)
                    assert response is not None and response.status == 200, (target, response and response.status)
                    assert response.body == (body or b""), target
                    self.answered.append(target)

    async def abandon(self, client, target):
        self.abandoned.add(target)
        await client.send(f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx".encode())
        await asyncio.sleep(self.chance.random() / 100)
        client.writer.transport.abort()

    async def forever(self):
        while self.running:
            await self.client()


class Conductor:
    def __init__(self, gateway, backends, chance):
        self.gateway, self.backends, self.chance = gateway, backends, chance
        self.at = 0
        self.outcomes = collections.Counter()

    async def race(self):
        epoch = self.gateway.epoch + 1
        watchdog = self.chance.random() < 0.1
        await self.gateway.verb("hold.close", epoch=epoch, routes=["*"], max_requests=10_000, max_bytes=100_000_000,
                                max_ms=5 if watchdog else 60_000)
        await asyncio.sleep(self.chance.random() / 50)
        if self.chance.random() < 0.4 and not watchdog:
            await self.release()
            self.outcomes["aborted"] += 1
        elif await self.commit(epoch):
            await self.flip()
            self.outcomes["switched"] += 1
        else:
            await self.release()
            self.outcomes["opened by itself"] += 1

    async def commit(self, epoch):
        try:
            status = await self.gateway.verb("hold.commit", epoch=epoch)
        except RpcError as error:
            assert "conflict" in str(error), error
            return False
        while status["in_flight"]:
            await asyncio.sleep(0.001)
            status = await self.gateway.status()
        return True

    async def flip(self):
        before = [len(backend.requests) for backend in self.backends]
        await asyncio.sleep(self.chance.random() / 100)
        after = [len(backend.requests) for backend in self.backends]
        assert before == after, ("passed a committed hold", before, after)
        self.at = 1 - self.at
        await self.release()

    async def release(self):
        await self.gateway.route_to(self.backends[self.at].address)
        await self.gateway.verb("hold.open", epoch=self.gateway.epoch)


async def a_thousand_holds_lose_and_double_nothing(gateway):
    print(f"seed {SEED}", flush=True)
    chance = random.Random(SEED)
    async with Backend(name="old") as old, Backend(name="new") as new:
        await gateway.route_to(old.address)
        load, conductor = Load(gateway, chance), Conductor(gateway, [old, new], chance)
        clients = [asyncio.create_task(load.forever()) for _ in range(CLIENTS)]
        async def conduct():
            for _ in range(RACES):
                await conductor.race()
                await asyncio.sleep(chance.random() / 200)
            load.running = False
        conducting = asyncio.create_task(conduct())
        await asyncio.gather(conducting, *clients)
        done = collections.Counter(request.target for request in old.requests + new.requests)
        doubled = [target for target, count in done.items() if count > 1]
        assert not doubled, ("done twice", doubled[:5])
        lost = [target for target in load.answered if target not in done]
        assert not lost, ("answered but never done", lost[:5])
        status = await gateway.status()
        assert status["failures_total"] == 0 and status["waiting"] == 0, status
        print(f"{dict(conductor.outcomes)}, {len(load.answered)} requests, {len(load.abandoned)} abandoned, "
              f"{status['held_total']} held", flush=True)


if __name__ == "__main__":
    main([a_thousand_holds_lose_and_double_nothing])
