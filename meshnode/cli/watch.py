"""``watch``: print what the agent answers once, or run a program whenever that changes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.goflags import FlagError, FlagSet, parse_boolean
from meshnode.cli.api import ApiClient
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.drive import BLOCKING_TIMEOUT, in_thread
from meshnode.runtime.child import FORWARDED, Child, ChildError, shell_program, start_program
from meshnode.watch.machine import Answer, Ask, Effect, Pause, RunHandler, Watch
from meshnode.watch.plan import WatchPlan, parse_plan

__all__ = ["run"]

#: Types that Consul's command refuses: only an agent's configuration has them.
NOT_HERE: Final = ("connect_roots", "connect_leaf")
ENDING: Final = (signal.SIGINT, signal.SIGTERM)


def run(args: list[str]) -> int:
    """Watch. 0 after one answer without a child, or when interrupted; 1 when a child fails."""
    flags = FlagSet(
        "watch",
        "Usage: consul watch [options] [child...]",
        "Watches for changes of keys, services, nodes, checks or events. Without a child the data is printed once.\n"
        "A child is run for each change, with the data as JSON on its standard input and CONSUL_INDEX set.",
    )
    text = {
        name: flags.string(name, meaning, placeholder=placeholder)
        for name, meaning, placeholder in (
            ("type", "What to watch: key, keyprefix, services, nodes, service, checks, event.", "type"),
            ("key", "Key to watch, for key.", "key"),
            ("prefix", "Prefix to watch, for keyprefix.", "prefix"),
            ("service", "Service to watch, for service; optional for checks.", "name"),
            ("service-id", "Service of the agent to watch, for agent_service.", "id"),
            ("proxy-service-id", "Proxy to watch, for connect_proxy_config.", "id"),
            ("tag", "Only instances with this tag, for service.", "tag"),
            ("passingonly", "Only passing instances, for service: true or false.", "boolean"),
            ("state", "Only checks in this state, for checks.", "state"),
            ("name", "Only events of this name, for event.", "name"),
        )
    }
    shell = flags.boolean("shell", "Run the child in a shell.", default=True)
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    given: dict[str, Any] = {
        name.replace("-", "_"): parsed[flag] for name, flag in text.items() if parsed[flag]
    }
    if "type" not in given:
        raise FlagError("Watch type must be specified (-type)", key="type")
    if given["type"] in NOT_HERE:
        raise ConfigError(f"Type {given['type']} is not supported in the CLI tool")
    if "passingonly" in given:
        try:
            given["passingonly"] = parse_boolean(given["passingonly"])
        except ConfigError as error:
            raise ConfigError(f"-passingonly: {error}") from None
    query = client_flags.query(parsed)
    given |= {"datacenter": query.get("dc", ""), "stale": "stale" in query}
    plan = _plan(given)
    program = parsed.positionals
    in_shell: bool = parsed[shell]
    if program and in_shell:
        program = shell_program(" ".join(program))
    client = client_flags.client(parsed)

    async def watch() -> int:
        return await _Watching(plan, client, program).run()

    return asyncio.run(watch())


def _plan(given: dict[str, Any]) -> WatchPlan:
    try:
        return parse_plan(given)
    except ConfigError as error:
        flag = error.key.replace("_", "-")
        raise ConfigError(str(error).replace(f"{error.key}: ", f"-{flag}: ", 1), key=flag) from None


class _Watching:
    """The command under way; ``program`` is empty when the data is to be printed once."""

    def __init__(
        self,
        plan: WatchPlan,
        client: ApiClient,
        program: Sequence[str],
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self._watch = Watch(plan)
        self._client = client
        self._program = tuple(program)
        self._sleep = sleep
        self._child: Child | None = None
        self._answered = False

    async def run(self) -> int:
        """Run until the end that ``run`` above tells of."""
        loop = asyncio.get_running_loop()
        this = asyncio.current_task()
        assert this is not None
        for number in ENDING:
            loop.add_signal_handler(number, this.cancel)
        for number in FORWARDED:
            loop.add_signal_handler(number, self._forward, number)
        effects = self._watch.start()
        try:
            while True:
                following: list[Effect] = []
                for effect in effects:
                    match effect:
                        case RunHandler():
                            if (code := await self._handle(effect)) is not None:
                                return code
                        case Ask():
                            following = await self._ask(effect)
                        case Pause(seconds, reason):
                            self._warn(
                                f"Watch (type: {self._watch.plan.type}) errored: {reason}, retry in {seconds:g}s"
                            )
                            await self._sleep(seconds)
                            following = self._watch.handle_timer()
                effects = following
        except asyncio.CancelledError:
            return 0
        finally:
            if self._child is not None:
                await self._child.end()

    async def _ask(self, question: Ask) -> list[Effect]:
        try:
            answer = await in_thread(
                lambda: self._client.exchange(
                    "GET", question.path, dict(question.query), timeout=BLOCKING_TIMEOUT
                )
            )
        except MeshError as error:
            if not self._answered:
                raise MeshError(f"Error querying Consul agent: {error}") from None
            return self._watch.handle_failure(str(error))
        self._answered = True
        missing = answer.status == 404 and self._watch.plan.missing_is_null and answer.index
        refused = 400 <= answer.status < 500 and answer.status != 429 and not missing
        if refused and not self._program:
            raise MeshError(f"Error querying Consul agent: {answer.refusal}")
        return self._watch.handle_answer(
            Answer(answer.status, answer.index, answer.content_hash, answer.body)
        )

    async def _handle(self, wanted: RunHandler) -> int | None:
        """Print, or run the child to its end; an exit code when the command is over."""
        if not self._program:
            print(json.dumps(wanted.payload, indent=4, ensure_ascii=False))
            return 0
        try:
            self._child = await start_program(
                self._program,
                environment={"CONSUL_INDEX": wanted.index},
                input_data=wanted.document(),
                capture=False,
                own_group=not (sys.stdin is not None and sys.stdin.isatty()),
            )
        except ChildError as error:
            self._warn(f"Error executing handler: {error}")
            return 1
        code = await self._child.wait()
        self._child = None
        if code != 0:
            ended = f"exit status {code}" if code > 0 else f"signal {-code}"
            self._warn(f"Error executing handler: {ended}")
            return 1
        return None

    def _forward(self, number: int) -> None:
        if self._child is not None:
            self._child.send(number)

    def _warn(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
