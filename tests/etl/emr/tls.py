"""A PostgreSQL as clusters meet it: over TCP, TLS only, with passwords, its certificate signed by an authority."""

from __future__ import annotations

import datetime as dt
import os
import shlex
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import text

from db import migrate
from db.bootstrap import bootstrap
from db.embedded import EmbeddedServer
from db.embedded.binaries import binaries
from db.engine import connectable


@dataclass(frozen=True)
class TlsServer:
    """A server at localhost with the database `lens` at head, and the role `loader` that needs its password."""

    port: int
    authority: Path

    @property
    def url(self) -> str:
        """URL without password."""
        return f"postgresql://loader@localhost:{self.port}/lens?sslmode=verify-full"


@contextmanager
def tls_server(home: Path, password: str) -> Iterator[TlsServer]:
    """Make a private cluster with the real code, then start it again as a server on the network."""
    made = EmbeddedServer(home, durable=False)
    made.start()
    try:
        url = made.url("lens")
        bootstrap(url)
        engine = connectable(url)
        migrate.upgrade(engine)
        with engine.begin() as connection:
            connection.execute(text(f"CREATE ROLE loader LOGIN SUPERUSER PASSWORD '{password}'"))
        engine.dispose()
        made.stop()
        yield _restart(made, home)
    finally:
        made.remove()


def _restart(made: EmbeddedServer, home: Path) -> TlsServer:
    here = made.places
    authority, files = _certificates()
    files["pg_hba.conf"] = b"local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
    for name, data in files.items():
        path = here.data / name
        path.write_bytes(data)
        path.chmod(0o600)
        os.chown(path, here.owner.uid, here.owner.gid)
    (home / "authority.pem").write_bytes(authority)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    parameters = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(here.socket),
        "ssl": "on",
        "fsync": "off",
    }
    options = shlex.join(word for item in parameters.items() for word in ("-c", "=".join(item)))
    other = here.owner.uid != os.geteuid()
    subprocess.run(
        [binaries().program("pg_ctl"), "start", "-w", "-D", str(here.data), "-l", str(here.log), "-o", options],
        user=here.owner.uid if other else None,
        group=here.owner.gid if other else None,
        extra_groups=[] if other else None,
        cwd="/",
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return TlsServer(port, home / "authority.pem")


def _certificates() -> tuple[bytes, dict[str, bytes]]:
    """Return an authority's certificate, and the server's files that it signed."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])

    def signed(subject: x509.Name, public: ec.EllipticCurvePublicKey, extension: x509.ExtensionType) -> bytes:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=2))
            .add_extension(extension, critical=False)
        )
        return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    root = signed(authority, authority_key.public_key(), x509.BasicConstraints(ca=True, path_length=None))
    return root, {"server.crt": signed(subject, key.public_key(), names), "server.key": private}
