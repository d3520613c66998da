"""A small IMAP server with folders in memory, for the commands that fetching needs (RFC 3501, 4315, 6851)."""

import asyncio
import base64
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from .listener import listening

# Characters that a command must quote.
DONE = 'Bounces, "done"'
USER, PASSWORD = "bounces@example.com", 'pass "word\\'
MODERN = ("UIDPLUS", "MOVE")
HANG_UP = "closes the connection"
_WORDS = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


@dataclass
class Message:
    uid: int
    content: bytes
    flags: set[str] = field(default_factory=set)


@dataclass
class ImapServer:
    """`refuses` maps the beginning of a command, like `UID STORE`, to the answer it gets, or to HANG_UP."""

    extensions: Sequence[str] = MODERN
    logins: Sequence[str] = ("AUTH=PLAIN",)
    keeps_keywords: bool = True
    tls: ssl.SSLContext | None = None
    folders: dict[str, list[Message]] = field(default_factory=lambda: {"INBOX": [], DONE: []})
    refuses: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    port: int = 0
    _last_uid: int = 0

    def put(self, content: bytes, *flags: str) -> Message:
        """A new message in INBOX."""
        self._last_uid += 1
        message = Message(self._last_uid, content, set(flags))
        self.folders["INBOX"].append(message)
        return message

    def contents(self, folder: str = "INBOX") -> list[bytes]:
        return [message.content for message in self.folders[folder]]

    def read_count(self) -> int:
        return sum("BODY" in command for command in self.commands)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await _Conversation(self, reader, writer).run()
        writer.close()


class _Conversation:
    def __init__(self, server: ImapServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.is_encrypted = False
        self.is_in = False
        self.folder: list[Message] = []

    async def run(self) -> None:
        self._say("* OK ready")
        while line := (await self.reader.readline()).decode().strip():
            tag, _, command = line.partition(" ")
            self.server.commands.append(command)
            refusal = next((text for start, text in self.server.refuses.items() if command.startswith(start)), None)
            if refusal == HANG_UP:
                return
            self._say(f"{tag} {refusal or await self._answer(command)}")
            if command == "STARTTLS" and not refusal:
                assert self.server.tls is not None
                await self.writer.start_tls(self.server.tls)
                self.is_encrypted = True
            if command == "LOGOUT":
                return

    async def _answer(self, command: str) -> str:
        verb, *words = (
            re.sub(r"\\(.)", r"\1", quoted) if quoted else plain for quoted, plain in _WORDS.findall(command)
        )
        match verb.upper(), words:
            case "CAPABILITY", _:
                tls = ["STARTTLS"] if self.server.tls and not self.is_encrypted else []
                found = self.server.extensions if self.is_in else [*self.server.logins, *tls]
                self._say(" ".join(["* CAPABILITY IMAP4rev1", *found]))
            case "LOGIN", [user, password] if "LOGINDISABLED" not in self.server.logins:
                return self._log_in(user, password)
            case "AUTHENTICATE", ["PLAIN"] if "AUTH=PLAIN" in self.server.logins:
                self._say("+ ")
                return self._log_in(*base64.b64decode(await self.reader.readline()).decode().split("\0")[1:])
            case "SELECT" | "STATUS" as verb, [name, *_]:
                return self._open(name, select=verb == "SELECT")
            case "EXPUNGE", []:
                self._expunge([message.uid for message in self.folder])
            case "UID", [sub, *rest]:
                return self._uid(sub.upper(), rest)
            case "LOGOUT", _:
                self._say("* BYE")
            case "STARTTLS" | "NOOP", _:
                pass
            case _:
                return "BAD unknown command"
        return "OK done"

    def _log_in(self, user: str, password: str) -> str:
        self.is_in = (user, password) == (USER, PASSWORD)
        return "OK in" if self.is_in else "NO [AUTHENTICATIONFAILED] wrong user or password"

    def _open(self, name: str, *, select: bool) -> str:
        if name not in self.server.folders:
            return "NO [NONEXISTENT] no such folder"
        if select:
            self.folder = self.server.folders[name]
            keywords = r" \*" if self.server.keeps_keywords else ""
            self._say(rf"* OK [PERMANENTFLAGS (\Seen \Deleted{keywords})] flags", f"* {len(self.folder)} EXISTS")
        else:
            self._say(f'* STATUS "{name}" (MESSAGES 0)')
        return "OK done"

    def _uid(self, verb: str, words: list[str]) -> str:
        if verb == "SEARCH":
            uids = " ".join(str(message.uid) for message in self.folder if _matches(message, words))
            self._say(f"* SEARCH {uids}".strip())
            return "OK done"
        if verb == "EXPUNGE":
            if "UIDPLUS" not in self.server.extensions:
                return "BAD unknown command"
            self._expunge([int(words[0])])
            return "OK done"
        for message in [message for message in self.folder if message.uid == int(words[0])]:
            match verb:
                case "FETCH":
                    self._fetch(message, int(words[1].partition("<0.")[2].partition(">")[0]))
                case "STORE":
                    message.flags |= set(words[2].strip("()").split())
                case "COPY" | "MOVE":
                    self.server.folders[words[1]].append(Message(message.uid, message.content))
                    if verb == "MOVE":
                        self.folder.remove(message)
        return "OK done"

    def _fetch(self, message: Message, most: int) -> None:
        # A flag that someone else changed is reported in between, as servers do.
        self._say(r"* 1 FETCH (FLAGS (\Seen))")
        part = message.content[:most]
        head = f"* 1 FETCH (UID {message.uid} BODY[]<0> "
        if not part:
            self._say(f'{head}"")')
            return
        self.writer.write(f"{head}{{{len(part)}}}\r\n".encode() + part + b")\r\n")

    def _expunge(self, uids: list[int]) -> None:
        gone = [message for message in self.folder if message.uid in uids and r"\Deleted" in message.flags]
        for message in gone:
            self._say(f"* {self.folder.index(message) + 1} EXPUNGE")
            self.folder.remove(message)

    def _say(self, *lines: str) -> None:
        for line in lines:
            self.writer.write(f"{line}\r\n".encode())


def _matches(message: Message, criteria: list[str]) -> bool:
    text = " ".join(criteria)
    if (unmarked := re.search(r"UNKEYWORD (\S+)", text)) and unmarked[1] in message.flags:
        return False
    is_deleted = r"\Deleted" in message.flags
    return is_deleted if criteria == ["DELETED"] else not (is_deleted and "UNDELETED" in criteria)


@asynccontextmanager
async def imap_server(server: ImapServer | None = None, *, implicit_tls: bool = False) -> AsyncIterator[ImapServer]:
    """The server on loopback for the length of the block."""
    imap = server or ImapServer()
    async with listening(imap.serve, tls=imap.tls if implicit_tls else None) as imap.port:
        yield imap
