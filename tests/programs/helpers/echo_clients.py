"""echo_clients.py PORT CLIENTS: concurrent clients of an echo server, each checking what comes back.

Each first exchanges small messages one by one, then streams a large amount while it reads, then closes
its writing half and reads to the end.
"""

import asyncio
import hashlib
import random
import sys

SMALL_MESSAGES, LARGE_BYTES = 50, 250_000


async def client(port, seed):
    numbers = random.Random(seed)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(SMALL_MESSAGES):
        message = numbers.randbytes(numbers.randint(1, 2000))
        writer.write(message)
        assert await reader.readexactly(len(message)) == message, "a small message came back changed"
    large = numbers.randbytes(LARGE_BYTES)

    async def send():
        for at in range(0, LARGE_BYTES, 7001):
            writer.write(large[at : at + 7001])
            await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(send())
    back = await reader.read(-1)
    await sending
    assert back == large, f"sent {len(large)} bytes, got {len(back)} back, or others"
    writer.close()
    await writer.wait_closed()
    return hashlib.sha256(back).hexdigest()


async def main():
    port, clients = int(sys.argv[1]), int(sys.argv[2])
    sums = await asyncio.gather(*(client(port, seed) for seed in range(clients)))
    print(clients, "clients", hashlib.sha256("".join(sums).encode()).hexdigest())


asyncio.run(main())
