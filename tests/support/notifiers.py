"""A notifier of a test: a run ends when its batches are settled, and an error of a batch is raised."""

from services.mail.settings import Settings
from services.mail.webhooks.notifier import Notifier
from shared.db.pool import Pool
from shared.worker.loops import LoopFailures


class _Raising(LoopFailures):
    """Keeps the error of a batch, for the test to raise."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None

    def failed(self, loop: str, error: Exception) -> None:
        del loop
        self.error = error


class LoneNotifier:
    """`clock` is the time of its breakers and of its looks for what has expired; tests move it."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        ring = settings.webhook_ring
        assert ring is not None
        self._failures = _Raising()
        self.clock = 0.0
        self.notifier = Notifier(
            pool,
            ring,
            timeout_seconds=settings.mail_webhook_timeout_seconds,
            allow_private=settings.mail_webhook_allow_private,
            give_up_seconds=settings.mail_webhook_give_up_seconds,
            failures=self._failures,
            clock=lambda: self.clock,
        )

    @property
    def counts(self) -> dict[str, int]:
        return dict(+self.notifier.counts)

    async def run_once(self) -> bool:
        """One look, and its batches. Returns whether there was a batch, or there is more to feed."""
        more = await self.notifier.run_once()
        began = bool(self.notifier._busy)
        await self.notifier.drain(60)
        if (error := self._failures.error) is not None:
            self._failures.error = None
            raise error
        return more or began

    async def run(self) -> None:
        """Until there is nothing to do now."""
        while await self.run_once():
            pass

    def let_probe(self) -> None:
        """Breakers let a call pass."""
        self.clock += 61

    async def close(self) -> None:
        await self.notifier.close()
