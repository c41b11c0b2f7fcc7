"""echo_server.py PORT: echoes every connection until its end; on SIGTERM says how much there was, and ends."""

import asyncio
import signal
import sys

totals = {"connections": 0, "bytes": 0}


async def echo(reader, writer):
    totals["connections"] += 1
    while data := await reader.read(65536):
        totals["bytes"] += len(data)
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def main():
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    async with await asyncio.start_server(echo, "127.0.0.1", int(sys.argv[1]), backlog=128):
        await done.wait()
    print(totals)


asyncio.run(main())
