"""What the API's endpoints work with, built once by `app.py` and found at `app.state.resources`."""

from dataclasses import dataclass

from shared.database import Database
from shared.wakeup import Pinger

from .intake.accept import Intake


@dataclass(frozen=True)
class Resources:
    database: Database
    intake: Intake
    pinger: Pinger
    redis_url: str
