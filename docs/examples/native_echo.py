"""An echo service of the mesh without a sidecar: it speaks mutual TLS itself, and intentions decide who is served.

    python native_echo.py --service echo --port 9443      # the server; it registers itself with Connect.Native
    python native_echo.py --service web --ask echo hello   # a client: one line there, one line back

The agent is found as every command finds it: CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN, CONSUL_CACERT and so on.
"""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys

from meshnode.sdk import MeshError, Service


async def serve(name: str, host: str, port: int) -> None:
    """Echo lines until SIGTERM or Ctrl-C; then the service is deregistered."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)

    async with Service(name) as service:

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = service.identify(writer.get_extra_info("ssl_object"))
            print(f"serving {peer.uri}", flush=True)
            with contextlib.suppress(ConnectionError):
                while line := await reader.readline():
                    writer.write(line)
                    await writer.drain()
            writer.close()

        server = await service.start_server(echo, host, port)
        port = server.sockets[0].getsockname()[1]
        await service.register(port, address="" if host in ("", "0.0.0.0", "::") else host)
        print(f"{service.identity.uri} listens on {host or '*'}:{port}", flush=True)
        await stopped.wait()


async def ask(name: str, destination: str, text: str) -> None:
    """Send one line and print the one that comes back."""
    async with Service(name) as service:
        reader, writer = await service.dial(destination)
        writer.write(text.encode() + b"\n")
        answer = await reader.readline()
        writer.close()
        if not answer:
            raise MeshError(
                f"{destination} ended the connection: look into its log, an intention may deny it"
            )
        print(answer.decode().rstrip("\n"))


def main() -> int:
    """Read the arguments, and be a server or a client."""
    parser = argparse.ArgumentParser(description="A native echo service, or a client of one.")
    parser.add_argument("--service", default="echo", help="who we are")
    parser.add_argument("--host", default="", help="where to listen; everywhere if not given")
    parser.add_argument("--port", type=int, default=9443, help="0 for a free one")
    parser.add_argument("--ask", nargs=2, metavar=("SERVICE", "TEXT"), help="be a client of that service")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        if options.ask:
            asyncio.run(ask(options.service, *options.ask))
        else:
            asyncio.run(serve(options.service, options.host, options.port))
    except (MeshError, OSError) as error:
        print(f"native_echo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
