"""Where a figure is measured: a kind of database, with as many migrated and seeded copies as a figure needs."""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.postgres import Cluster, running_cluster
from paystate.app import App, build_app
from paystate.machinery.logs import configure_logs
from paystate.machinery.secrets import generate_key_text
from paystate.machinery.settings import Settings, load_settings
from paystate.migrations.run import migrate

KINDS = ("sqlite", "postgresql")


@dataclass(slots=True)
class Place:
    """One kind of database in a temporary folder; `rows` is how much a sweep has to do."""

    kind: str
    folder: Path
    rows: int
    cluster: Cluster | None = None
    key: str = field(default_factory=generate_key_text)
    _templates: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return "SQLite" if self.kind == "sqlite" else "PostgreSQL"

    def environ(self, url: str, data_dir: Path, **values: object) -> dict[str, str]:
        """The environment of an installation on this database: loopback may be reached, all else as shipped."""
        return {
            "PAYSTATE_ENV": "test",
            "PAYSTATE_DATABASE_URL": url,
            "PAYSTATE_DATA_DIR": str(data_dir),
            "PAYSTATE_SECRET_KEY": self.key,
            "PAYSTATE_ALLOW_PRIVATE_ADDRESSES": "127.0.0.0/8",
            **{f"PAYSTATE_{name.upper()}": str(value) for name, value in values.items()},
        }

    def settings(self, url: str, **values: object) -> Settings:
        return load_settings(self.environ(url, self.folder, **values))

    def app(self, url: str, **values: object) -> App:
        return build_app(self.settings(url, **values))

    def template(self, name: str, fill: Callable[[str], None]) -> str:
        """The database of this name, migrated and filled when first asked for; to be copied, not used."""
        if name not in self._templates:
            url = self._create()
            migrate(url)
            fill(url)
            if self.cluster is not None:
                self.cluster.analyze(url)
            self._templates[name] = url
        return self._templates[name]

    @contextlib.contextmanager
    def copy_of(self, template: str) -> Iterator[str]:
        """A copy of its own for one run, written down before the run begins."""
        url = self._create(template)
        try:
            yield url
        finally:
            self._drop(url)

    def log_path(self) -> Path:
        return self.folder / "children.log"

    def _create(self, template: str | None = None) -> str:
        if self.cluster is not None:
            url = self.cluster.create(template=template)
            self.cluster.settle()
            return url
        path = self.folder / f"{secrets.token_hex(6)}.db"
        if template is not None:
            shutil.copy(template.removeprefix("sqlite:///"), path)
            with path.open("rb") as copy:
                os.fsync(copy.fileno())
        return f"sqlite:///{path}"

    def _drop(self, url: str) -> None:
        if self.cluster is not None:
            self.cluster.drop(url)
            return
        path = Path(url.removeprefix("sqlite:///"))
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextlib.contextmanager
def open_place(kind: str, rows: int) -> Iterator[Place]:
    """A place of this kind, gone without a trace at the end. The log goes to a file, as a server's would."""
    folder = Path(tempfile.mkdtemp(prefix="paystate-bench-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        log = stack.enter_context((folder / "paystate.log").open("w"))
        configure_logs(stream=log)
        stack.callback(configure_logs)
        cluster = stack.enter_context(running_cluster()) if kind == "postgresql" else None
        yield Place(kind, folder, rows, cluster)
