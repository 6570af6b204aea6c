"""``exec``: run a command on many nodes at once, over the KV store and a user event (see ``agent.remote_job``)."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from meshnode.agent.remote_job import (
    Invitation,
    Job,
    serialize_invitation,
    serialize_job,
)
from meshnode.base.duration import format_duration
from meshnode.base.errors import ConfigError
from meshnode.base.goflags import FlagError, FlagSet
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.drive import Driver
from meshnode.control.user_event import REMOTE_EXEC_EVENT
from meshnode.lock.calls import Call, LockError, Steps, kv_path, parse_pairs
from meshnode.lock.session import DELETE, SESSION_TTL, close_session, keep_session, open_session
from meshnode.runtime.tasks import spawn

__all__ = ["Sign", "parse_signs", "run"]

NODE_FAILED: Final = 2
#: Seconds between renewals of the session.
RENEWAL_INTERVAL: Final = 5.0
#: Seconds between looks at the answers while the agent can't be asked.
RETRY_INTERVAL: Final = 1.0
#: Seconds that clearing up after us may take.
CLEAN_UP_TIMEOUT: Final = 10.0
MAX_SCRIPT_BYTES: Final = 384 * 1024
#: What a node leaves, in the order in which it is told.
_ORDER: Final = {"ack": 0, "out": 1, "exit": 2}


@dataclass(frozen=True, slots=True)
class Sign:
    """One key that a node has written: ``ack``, ``out`` (output, or a heart-beat when it is empty) or ``exit``."""

    node: str
    kind: str
    key: str


@dataclass(frozen=True, slots=True)
class _Options:
    job: Job
    prefix: str
    filters: dict[str, str]
    wait_for_replication: float
    verbose: bool
    datacenter: str


def run(args: list[str]) -> int:
    """Run it. 0: every node that acknowledged ended with 0; 2: one did not; 1: it could not be set up."""
    flags = FlagSet(
        "exec",
        "Usage: consul exec [options] [-|command...]",
        "Runs a command on every node that allows it (disable_remote_exec = false). With - the script is read\n"
        "from standard input.",
    )
    node = flags.string("node", "Only on nodes whose name matches.", placeholder="regexp")
    service = flags.string("service", "Only on nodes with a service that matches.", placeholder="regexp")
    tag = flags.string("tag", "Only with a tag that matches; needs -service.", placeholder="regexp")
    prefix = flags.string("prefix", "Where in the KV store.", default="_rexec", placeholder="prefix")
    shell = flags.boolean("shell", "Run the command in a shell.", default=True)
    wait = flags.duration("wait", "How long to wait for a sign of a node before it is over.", default=2.0)
    replication = flags.duration("wait-repl", "How long to wait before the event is fired.", default=0.2)
    verbose = flags.boolean("verbose", "Say what is going on.")
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    filters = {"node": parsed[node], "service": parsed[service], "tag": parsed[tag]}
    if filters["tag"] and not filters["service"]:
        raise ConfigError("Cannot provide tag filter without service filter.")
    if parsed[wait] <= 0:
        raise ConfigError(f"-wait: {format_duration(parsed[wait])} is too short: it must be positive")
    if parsed[replication] < 0:
        raise ConfigError(f"-wait-repl: {format_duration(parsed[replication])} must not be negative")
    if not parsed[prefix].strip("/"):
        raise ConfigError("-prefix: it is empty: name a key prefix, such as _rexec")
    in_shell: bool = parsed[shell]
    query = client_flags.write_query(parsed)
    options = _Options(
        job=_job(parsed.positionals, in_shell=in_shell, wait=parsed[wait]),
        prefix=parsed[prefix].strip("/"),
        filters={name: value for name, value in filters.items() if value},
        wait_for_replication=parsed[replication],
        verbose=parsed[verbose],
        datacenter=query.get("dc", ""),
    )
    driver = Driver(client_flags.client(parsed), query)

    async def execute() -> int:
        return await _Execution(options, driver).run()

    return asyncio.run(execute())


def _job(positionals: tuple[str, ...], *, in_shell: bool, wait: float) -> Job:
    if positionals == ("-",):
        script = sys.stdin.buffer.read(MAX_SCRIPT_BYTES + 1)
        if len(script) > MAX_SCRIPT_BYTES:
            raise ConfigError(
                f"the script is longer than {MAX_SCRIPT_BYTES} bytes: put it on the nodes first"
            )
        if script:
            return Job(script=script, wait=wait)
    if not positionals or positionals == ("-",):
        raise FlagError("Must specify a command to execute")
    if in_shell:
        return Job(" ".join(positionals), wait=wait)
    return Job(args=positionals, wait=wait)


def parse_signs(keys: Iterable[str], root: str) -> list[Sign]:
    """The signs among ``keys`` below ``root`` (it ends in ``/``), output before exit codes; other keys are left out."""
    signs = []
    for key in keys:
        node, _, name = key.removeprefix(root).partition("/")
        kind, slash, number = name.partition("/")
        if key.startswith(root) and node and kind in _ORDER and bool(slash and number) == (kind == "out"):
            signs.append(Sign(node, kind, key))
    return sorted(signs, key=lambda sign: (_ORDER[sign.kind], sign.key))


@dataclass(slots=True)
class _Progress:
    acknowledged: int = 0
    completed: int = 0
    failed: int = 0
    decoders: dict[str, codecs.IncrementalDecoder] = field(default_factory=dict)


class _Execution:
    """The command under way."""

    def __init__(self, options: _Options, driver: Driver) -> None:
        self._options = options
        self._driver = driver
        self._told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._seen: set[str] = set()
        self._progress = _Progress()
        #: Who read our output has ended.
        self._unread: BrokenPipeError | None = None

    async def run(self) -> int:
        """Everything, the clearing up included; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._tell)
        try:
            session = await self._driver.run(self._open())
        except LockError as error:
            return self._failed(f"Failed to create session: {error}")
        self._say(f"Created remote execution session: {session}")
        invitation = Invitation(self._options.prefix, session)
        keeping = spawn(
            self._driver.run(
                keep_session(session, self._driver.clock(), SESSION_TTL, RENEWAL_INTERVAL)
            ),
            name="exec-session-renewal",
        )  # fmt: skip
        executing: asyncio.Task[int] = spawn(self._execute(invitation), name="exec")
        try:
            await asyncio.wait({keeping, executing, self._told}, return_when=asyncio.FIRST_COMPLETED)
            if self._unread is not None:
                raise self._unread
            if executing.done():
                return executing.result()
            if self._told.done():
                return self._failed("Interrupted: the nodes are told to stop by the end of the session.")
            return self._failed(f"Session renewal failed: {keeping.result()}")
        finally:
            keeping.cancel()
            executing.cancel()
            await self._clean_up(invitation)

    def _open(self) -> Steps[str]:
        """A session of our own node; for another datacenter, of a server there, since our node is unknown to it."""
        wanted = self._options.datacenter
        if wanted:
            reply = yield Call("GET", "/v1/agent/self")
            own = _decoded(reply.expect("can't tell our datacenter").body)
            if isinstance(own, dict) and own.get("Config", {}).get("Datacenter") != wanted:
                reply = yield Call("GET", "/v1/health/service/consul", (("passing", "1"),))
                found = _decoded(reply.expect(f"can't find a server of {wanted}").body)
                if not isinstance(found, list) or not found:
                    raise LockError(f"no server of datacenter {wanted} is passing its checks")
                node = str(found[0]["Node"]["Node"])
                name = f"Remote Exec via {node}@{wanted}"
                return (yield from open_session(name, DELETE, SESSION_TTL, node=node, checks=()))
        return (yield from open_session("Remote Exec", DELETE, SESSION_TTL))

    async def _execute(self, invitation: Invitation) -> int:
        try:
            return await self._ask(invitation)
        except BrokenPipeError as error:  # no fault of the task, which would be logged as such
            self._unread = error
            return 1

    async def _ask(self, invitation: Invitation) -> int:
        started = self._driver.clock()
        steps = (
            ("upload the remote execution spec", Call(
                "PUT", kv_path(invitation.job_key), (("acquire", invitation.session),),
                serialize_job(self._options.job))),
            ("fire the remote execution event", Call(
                "PUT", f"/v1/event/fire/{REMOTE_EXEC_EVENT}", tuple(self._options.filters.items()),
                serialize_invitation(invitation))),
        )  # fmt: skip
        for doing, call in steps:
            reply = await self._driver.perform(call)
            if reply.status != 200:
                return self._failed(f"Failed to {doing}: {reply.reason}")
            if call.path.startswith("/v1/kv/"):
                if not reply.is_true:
                    return self._failed(f"Failed to {doing}: {invitation.job_key} is locked by somebody")
                self._say("Uploaded remote execution spec")
                await asyncio.sleep(self._options.wait_for_replication)
            else:
                self._say(f"Fired remote execution event: {_event_id(reply.body)}")
        await self._collect(invitation)
        progress = self._progress
        print(f"{progress.completed} / {progress.acknowledged} node(s) completed / acknowledged")
        self._say(f"Completed in {self._driver.clock() - started:0.2f} seconds")
        return NODE_FAILED if progress.failed or progress.completed < progress.acknowledged else 0

    async def _collect(self, invitation: Invitation) -> None:
        """Tell of every sign, until there was none for a while: longer while we know of a node at work."""
        queue: asyncio.Queue[Sign] = asyncio.Queue()
        reading = spawn(self._read_signs(invitation, queue), name="exec-answers")
        try:
            while True:
                busy = self._progress.acknowledged > self._progress.completed
                patience = self._options.job.wait * (2 if busy else 1)
                try:
                    async with asyncio.timeout(patience):
                        sign = await queue.get()
                except TimeoutError:
                    return
                await self._tell_of(sign)
        finally:
            reading.cancel()

    async def _read_signs(self, invitation: Invitation, queue: asyncio.Queue[Sign]) -> None:
        root = f"{invitation.prefix}/{invitation.session}/"
        index = 0
        while True:
            blocking = (("index", str(index)), ("wait", format_duration(self._options.job.wait)))
            reply = await self._driver.perform(
                Call("GET", kv_path(root), (("keys", ""), *(blocking if index else ())))
            )
            keys = _decoded(reply.body) if reply.status == 200 else []
            for sign in parse_signs(keys if isinstance(keys, list) else [], root):
                if sign.key not in self._seen:
                    self._seen.add(sign.key)
                    queue.put_nowait(sign)
            if reply.status not in {200, 404} or reply.index == 0:
                await asyncio.sleep(RETRY_INTERVAL)
            index = reply.index if reply.index >= index else 0

    async def _tell_of(self, sign: Sign) -> None:
        progress = self._progress
        if sign.kind == "ack":
            progress.acknowledged += 1
            self._say(f"{sign.node}: acknowledged event")
            return
        reply = await self._driver.perform(Call("GET", kv_path(sign.key)))
        try:
            pairs = parse_pairs(reply, f"can't read {sign.key}")
        except LockError as error:
            self._failed(str(error))
            return
        value = pairs[0].value if pairs else b""
        if sign.kind == "exit":
            progress.completed += 1
            code = value.decode(errors="replace").strip()
            progress.failed += code != "0"
            print(f"==> {sign.node}: finished with exit code {code or 'unknown'}", flush=True)
        elif value:
            decoder = progress.decoders.setdefault(
                sign.node, codecs.getincrementaldecoder("utf-8")(errors="replace")
            )
            lines = decoder.decode(value).split("\n")
            print("\n".join(f"    {sign.node}: {line}" for line in lines).rstrip(), flush=True)
        else:
            self._say(f"{sign.node}: heartbeat received")

    async def _clean_up(self, invitation: Invitation) -> None:
        """Destroy the session, which deletes what it holds, and delete the rest."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLEAN_UP_TIMEOUT):
                try:
                    await self._driver.run(close_session(invitation.session))
                except LockError as error:
                    self._failed(f"Failed to destroy session: {error}")
                path = kv_path(f"{invitation.prefix}/{invitation.session}/")
                reply = await self._driver.perform(Call("DELETE", path, (("recurse", ""),)))
                if reply.status != 200:
                    self._failed(f"Failed to clean up the answers: {reply.reason}")

    def _tell(self) -> None:
        if not self._told.done():
            self._told.set_result(None)

    def _say(self, text: str) -> None:
        if self._options.verbose:
            print(text, flush=True)

    def _failed(self, text: str) -> int:
        print(text, file=sys.stderr, flush=True)
        return 1


def _decoded(body: bytes) -> object:
    """The JSON in ``body``; ``None`` when it is none."""
    try:
        return json.loads(body)
    except ValueError:
        return None


def _event_id(body: bytes) -> str:
    answer = _decoded(body)
    return str(answer.get("ID", "")) if isinstance(answer, dict) else ""
