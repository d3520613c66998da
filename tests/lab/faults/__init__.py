"""All faults, by name. A schedule draws from them; `python -m tests.lab` says which of them this machine lacks."""

from collections.abc import Mapping

from .connections import Cut, Delay, HalfOpen, LostAnswers
from .fault import Fault
from .gateway import GatewayDrops, GatewayRefuses, GatewaySlow, SubscriberFails
from .machine import ClockStep, DiskFull
from .postgres import EndSessions, HeldSnapshot, KillPostgres, NoConnections, ReadOnly, RestartPostgres
from .processes import Freeze, Kill, Terminate
from .valkey import KillValkey, PauseValkey, ReplicaValkey, WipeValkey

REGISTRY: Mapping[str, type[Fault]] = {
    "kill -9": Kill,
    "SIGTERM": Terminate,
    "SIGSTOP": Freeze,
    "PostgreSQL killed": KillPostgres,
    "PostgreSQL restarted": RestartPostgres,
    "sessions ended": EndSessions,
    "read-only": ReadOnly,
    "no connections left": NoConnections,
    "snapshot held": HeldSnapshot,
    "Valkey killed": KillValkey,
    "Valkey wiped": WipeValkey,
    "Valkey paused": PauseValkey,
    "Valkey a replica": ReplicaValkey,
    "connections cut": Cut,
    "connections slow": Delay,
    "connections half-open": HalfOpen,
    "answers lost": LostAnswers,
    "gateway drops": GatewayDrops,
    "gateway refuses": GatewayRefuses,
    "gateway slow": GatewaySlow,
    "subscriber fails": SubscriberFails,
    "clock steps": ClockStep,
    "disk full": DiskFull,
}
