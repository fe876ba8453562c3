"""The stores that a run may stand on, and the ways in which the services lose them and get them back."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from tests.doubles.tcp_relay import TcpRelay
from tests.emulator import project_apart
from tests.system.battery.own_emulator import OwnEmulator
from tests.system.deployment import Deployment
from tests.system.outages import LockedSqlite, RelayedFirestore, SilencedSqlite
from tests.system.soak.faults import Fault


@dataclass(frozen=True)
class Stage:
    """Services still to be started, and what may happen to their store."""

    deployment: Deployment
    faults: Sequence[Fault]


@contextmanager
def sqlite(folder: Path) -> Iterator[Stage]:
    """A file, whose write lock another takes, or that answers nothing."""
    locked, silenced = LockedSqlite(folder), SilencedSqlite(folder)
    yield Stage(
        silenced.deployment(folder / "deployment"),
        (
            Fault("another holds the write lock", locked.begin, locked.end, (0.5, 12.0)),
            Fault("the store answers nothing", silenced.begin, silenced.end, (0.5, 12.0)),
        ),
    )


@dataclass
class Renewal:
    """An emulator keeps nothing: cut off, it is asked for all it holds, killed, and started with that."""

    emulator: OwnEmulator
    relay: TcpRelay
    project: str
    folder: Path
    exported: Path | None = None

    def begin(self) -> None:
        """Cut it off, and end it. What was answered by then is in what it gave."""
        self.exported = None
        self.relay.stop()
        shutil.rmtree(self.folder / "export", ignore_errors=True)
        exported = self.emulator.exported(self.project)
        self.emulator.kill()
        self.exported = exported

    def end(self) -> None:
        """Start it with what it held, and let callers connect anew."""
        if self.exported is not None:
            self.emulator.start(self.exported)
        self.relay.heal()


@contextmanager
def firestore(folder: Path) -> Iterator[Stage]:
    """An emulator of its own behind a relay, which is stopped, cut off, or whose answers are lost."""
    with (
        OwnEmulator(folder / "emulator") as emulator,
        mock.patch.dict(os.environ, {"FIRESTORE_EMULATOR_HOST": emulator.address}),
        TcpRelay(emulator.address) as relay,
    ):
        deployment = RelayedFirestore(relay).deployment(folder / "deployment")
        project = project_apart()
        deployment.store_url = f"firestore://{project}"
        renewal = Renewal(emulator, relay, project, folder / "emulator")
        yield Stage(
            deployment,
            (
                Fault("nothing passes to the store", relay.stop, relay.resume, (0.5, 12.0)),
                Fault("the store is stopped", emulator.stop, emulator.go_on, (0.5, 12.0)),
                Fault("the store is killed and started again", renewal.begin, renewal.end, (0.0, 4.0)),
                Fault("the store hangs up", relay.refuse, relay.heal, (0.0, 4.0)),
                Fault("the store's answers are lost", relay.swallow_replies, relay.heal, (0.5, 4.0)),
            ),
        )


STORES = {"sqlite": sqlite, "firestore": firestore}
