"""A PostgreSQL server of the tests' own: a fresh cluster on a free loopback port, as a user who is not root."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PASSWORD = "s3cret-of-the-tests"


def binaries():
    """The folder of initdb and postgres, None where PostgreSQL is not installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if folders:
        return folders[-1]
    found = shutil.which("initdb")
    return Path(found).parent if found else None


def why_not():
    """Why no server can be started here; None where one can."""
    if binaries() is None:
        return "PostgreSQL is not installed"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "PostgreSQL refuses to run as root, and there is no user 'postgres'"
    return None


class PostgreSQLServer:
    """A cluster in a folder of its own; `url` is a superuser's, with its password."""

    def __init__(self, *, durable=False):
        """`durable` waits for the disk, as a server that is not a test's does."""
        self.folder = Path(tempfile.mkdtemp(prefix="kiwi-pg-", dir="/tmp"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._as = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if self._as:
            os.chown(password, self._as["user"], self._as["group"])
        self._run("initdb", "-D", self.data, "-U", "owner", "-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8")
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write(
                f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
                f"max_connections = 30\nfsync = {'on' if durable else 'off'}\nshared_buffers = 128MB\n"
                "lc_messages = 'C'\n"
            )
        self._server = None
        self.start()

    @property
    def data(self):
        return self.folder / "data"

    def start(self):
        command = [str(binaries() / "postgres"), "-D", str(self.data)]
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **self._as)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            ready = subprocess.run([str(binaries() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)])
            if ready.returncode == 0:
                return
            assert self._server.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)
        raise TimeoutError

    def stop(self):
        """At once, without waiting for clients."""
        self._server.send_signal(3)
        self._server.wait(60)

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database="postgres", user="owner", password=PASSWORD, options=""):
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}{options}"

    def _run(self, name, *arguments):
        command = [str(binaries() / name), *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **self._as)
