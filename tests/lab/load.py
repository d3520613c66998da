"""The load: people who sign up, a service that signs people up, imports, and a second client's mails.

Every client is stubborn: it asks again, with the same ID, until it gets a yes. Some ask again after that.
"""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

import orjson

from .asks import Ask, Failure
from .gateway import Gateway
from .http_client import Answer, Client, NoAnswerError


@dataclass(frozen=True)
class Rates:
    """Each a second."""

    signups: float = 5.0
    keyed: float = 1.5
    mails: float = 3.0
    batches: float = 0.2
    imports: float = 0.05

    @classmethod
    def times(cls, factor: float) -> "Rates":
        usual = cls()
        return cls(**{name: rate * factor for name, rate in asdict(usual).items()})


_BATCH, _IMPORT = 10, 60
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 3.0
# So many people at most wait for a yes at a time: others come later.
_MOST_WAITING = 150
_OK, _BAD, _CONFLICT, _SERVER_ERROR = 200, 400, 409, 500
# One in so many asks again after its yes, and one in so many people follows the link.
_AGAIN, _FOLLOWS = 5, 4
_POLL_SECONDS = 0.5
Send = Callable[[], Awaitable[Answer]]
Identify = Callable[[Any], list[str]]


@dataclass
class Load:
    """`signup` and `mail` are clients with a key, `anonymous` is one without; all go through proxies."""

    seed: int
    rates: Rates
    anonymous: Client
    signup: Client
    mail: Client
    gateway: Gateway
    asks: list[Ask] = field(default_factory=list)
    # The entries of the change feed, as the second client saw them.
    changes: list[dict[str, Any]] = field(default_factory=list)
    cursor: str | None = None
    _open: set[asyncio.Task[None]] = field(default_factory=set)
    _makers: list[asyncio.Task[None]] = field(default_factory=list)
    _followed: set[str] = field(default_factory=set)
    _is_over: bool = False

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    def start(self) -> None:
        rates = self.rates
        for rate, make in (
            (rates.signups, self._sign_up),
            (rates.keyed, self._sign_up_with_key),
            (rates.mails, self._mail),
            (rates.batches, self._mail_batch),
            (rates.imports, self._import),
        ):
            if rate:
                self._makers.append(asyncio.ensure_future(self._every(1 / rate, make)))
        self._makers.append(asyncio.ensure_future(self._follow_links()))
        self._makers.append(asyncio.ensure_future(self._follow_changes()))

    def keep(self, task: "asyncio.Task[None]") -> None:
        """End this task too when the load ends."""
        self._makers.append(task)

    async def stop(self) -> None:
        """Ask for nothing new; what was asked goes on."""
        self._is_over = True

    async def finish(self) -> int:
        """End all; returns how many asks never got an answer."""
        for task in (*self._makers, *self._open):
            task.cancel()
        await asyncio.gather(*self._makers, *self._open, return_exceptions=True)
        return sum(not ask.is_accepted and not ask.is_refused for ask in self.asks)

    @property
    def unanswered(self) -> int:
        return len(self._open)

    async def _every(self, seconds: float, make: Callable[[int], None]) -> None:
        number = 0
        while not self._is_over:
            if len(self._open) < _MOST_WAITING:
                make(number)
                number += 1
            await asyncio.sleep(seconds)

    def _sign_up(self, n: int) -> None:
        email = f"anon-{n}@lab.example"
        body = {"email": email, "name": f"Åsa {n}"}
        self._ask(Ask("signup", email), lambda: self.anonymous.post("/v1/signups", json=body), lambda _: [])

    def _sign_up_with_key(self, n: int) -> None:
        email = f"keyed-{n}@lab.example"
        ask = Ask("keyed", f"keyed-{n}", members=[email])
        body, headers = {"email": email, "name": f"Bo {n}", "locale": "de"}, {"Idempotency-Key": ask.key}
        self._ask(ask, lambda: self.signup.post("/v1/signups", json=body, headers=headers), _id)

    def _import(self, n: int) -> None:
        emails = [f"import-{n}-{row}@lab.example" for row in range(_IMPORT)]
        rows = b"".join(
            orjson.dumps({"external_id": email, "email": email, "name": "Cleo"}) + b"\n" for email in emails
        )
        ask = Ask("import", f"import-{n}", members=emails)
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": ask.key}
        params = {"source": "lab", "mails_per_minute": "0"}
        self._ask(ask, lambda: self.signup.post("/v1/imports", content=rows, headers=headers, params=params), _id)

    def _mail(self, n: int) -> None:
        body = self._body(f"mail-{n}")
        ask = Ask("mail", body["request_id"], detail={"on_uncertain": body["on_uncertain"]})
        self._ask(ask, lambda: self.mail.post("/v1/mails", json=body), _id)

    def _mail_batch(self, n: int) -> None:
        bodies = [self._body(f"batch-{n}-{item}") for item in range(_BATCH)]
        ask = Ask("batch", f"batch-{n}", members=[body["request_id"] for body in bodies])
        self._ask(ask, lambda: self.mail.post("/v1/mails/batch", json={"mails": bodies}), _ids_of_batch)

    def _body(self, request_id: str) -> dict[str, Any]:
        random = self._random
        body: dict[str, Any] = {
            "request_id": request_id,
            "to": {"email": f"{request_id}@lab.example"},
            "subject": "Invoice",
            "text": "x" * random.choice((20, 2000)),
            "on_uncertain": random.choice(("hold", "resend")),
        }
        if random.random() < 0.3:
            content = base64.b64encode(random.randbytes(random.choice((500, 40_000)))).decode()
            body["attachments"] = [{"filename": "a.pdf", "content_type": "application/pdf", "content": content}]
        return body

    def _ask(self, ask: Ask, send: Send, identify: Identify) -> None:
        self.asks.append(ask)
        again = self._random.randrange(_AGAIN) == 0
        task = asyncio.ensure_future(self._insist(ask, send, identify, yeses=2 if again else 1))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _insist(self, ask: Ask, send: Send, identify: Identify, *, yeses: int) -> None:
        pause = _FIRST_PAUSE
        while ask.yeses < yeses and not ask.is_refused:
            if await self._try(ask, send, identify):
                pause = _FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _try(self, ask: Ask, send: Send, identify: Identify) -> bool:
        began = time.time()
        try:
            answer = await send()
            identities = identify(answer.json()) if answer.is_success else []
        except (NoAnswerError, ValueError) as error:
            ask.failures.append(Failure(began, time.time(), str(error)))
            return False
        if answer.is_success:
            ask.accept(identities)
            return True
        ask.failures.append(Failure(began, time.time(), str(answer.status)))
        # A conflict: the first try is still under way.
        if _BAD <= answer.status < _SERVER_ERROR and answer.status != _CONFLICT:
            ask.said = answer.text[:500]
        return False

    async def _follow_links(self) -> None:
        """Some people follow the link of their mail."""
        while not self._is_over:
            await asyncio.sleep(_POLL_SECONDS)
            for email, token in list(self.gateway.tokens.items()):
                if not email.startswith("anon-") or email in self._followed:
                    continue
                self._followed.add(email)
                if self._random.randrange(_FOLLOWS) == 0:
                    self._verify(email, token)

    def _verify(self, email: str, token: str) -> None:
        ask = Ask("verify", email)
        self._ask(ask, lambda: self.anonymous.post("/v1/verifications", json={"token": token}), lambda _: [])

    async def _follow_changes(self) -> None:
        """Follows the feed to the end of the run, also when the load is over."""
        while True:
            more = False
            params = {"limit": "500"} | ({"after": self.cursor} if self.cursor else {})
            try:
                answer = await self.mail.get("/v1/changes", params)
                page = answer.json() if answer.status == _OK else None
            except (NoAnswerError, ValueError):
                page = None
            if page is not None:
                self.changes += [{name: item[name] for name in ("id", "mail_id", "state")} for item in page["items"]]
                self.cursor = page["next_cursor"]
                more = bool(page["items"])
            await asyncio.sleep(0.05 if more else _POLL_SECONDS)


def _id(body: Any) -> list[str]:
    return [body["id"]]


def _ids_of_batch(body: Any) -> list[str]:
    """Raises ValueError when an item was not accepted, so the batch is asked for again."""
    if any(result["outcome"] == "rejected" for result in body["results"]):
        raise ValueError("an item was rejected")
    return [result["mail"]["id"] for result in body["results"]]
