"""Which database a cluster writes to: over TCP, its certificate verified, its password fetched on the nodes."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from db.engine import VARIABLE, configured_url, describe, has_password, without_password
from db.settings import settings
from etl.emr.config import EmrConfig
from etl.emr.errors import EmrError

CERTIFICATE = "root-certificate.pem"
"""Name of the delivered certificate below the nodes' folder."""

_SYSTEM_CERTIFICATES = "/etc/pki/tls/certs/ca-bundle.crt"


def database_environment(config: EmrConfig) -> dict[str, str]:
    """Return the variables with which the nodes reach the database; none of them holds a password.

    Raises
    ------
    EmrError
        When the URL has a password, no TCP host, or does not verify the server; or when nothing says where the
        password is.
    """
    url = _url(config)
    _refuse_unsafe(url)
    environment = {VARIABLE: url.render_as_string(hide_password=False)}
    if url.query.get("sslrootcert") == "system":
        environment["SSL_CERT_FILE"] = _SYSTEM_CERTIFICATES
    if config.database_secret or (not config.database_password_file and settings().database_secret):
        environment["STRONGLENS_DATABASE_SECRET"] = str(config.database_secret or settings().database_secret)
    elif config.database_password_file:
        environment["STRONGLENS_DATABASE_PASSWORD_FILE"] = config.database_password_file
    else:
        raise EmrError(
            "nothing says where the cluster finds the database's password: set database_secret (AWS Secrets Manager) "
            "or database_password_file (a path on the nodes) in --config, or STRONGLENS_DATABASE_SECRET"
        )
    return environment


def refuse_other_database(environment: Mapping[str, str]) -> None:
    """Refuse a launch whose run would be recorded elsewhere than the cluster writes.

    Server and database are compared, not users: who launches may be another than who loads.

    Raises
    ------
    EmrError
        When ``STRONGLENS_DATABASE_URL`` of this machine is not set or names another database.
    """
    target, here = make_url(environment[VARIABLE]), configured_url()
    if here is None or _place(here) != _place(target):
        found = "is not set" if here is None else f"names {describe(here)}"
        raise EmrError(
            f"{VARIABLE} of this machine {found}, the cluster writes to {describe(target)}: set it to that database, "
            "where the launch is recorded and the schema is checked"
        )


def _place(url: URL) -> tuple[str, str, str]:
    host, port = url.host or url.query.get("host", ""), url.port or url.query.get("port", "5432")
    return str(host).lower(), str(port), str(url.database or url.username)


def _url(config: EmrConfig) -> URL:
    """Return the database's URL without password, with the certificate where the nodes have it."""
    if config.database_url is None:
        configured = configured_url()
        if configured is None:
            raise EmrError(
                "a cluster cannot reach the embedded database: set STRONGLENS_DATABASE_URL, or database_url in --config"
            )
        if "sslpassword" in configured.query:
            raise EmrError(
                f"{VARIABLE}: holds sslpassword ({describe(configured)}), and a cluster has no client key to open; "
                "name the database for the cluster in database_url of --config"
            )
        url = without_password(configured)
    else:
        try:
            url = make_url(config.database_url).set(drivername="postgresql+psycopg")
        except (ArgumentError, ValueError):
            # The value itself is not shown: it may hold a password.
            raise EmrError("database_url: is not a URL; expected postgresql://user@host:5432/database") from None
        if has_password(url):
            raise EmrError(f"database_url: holds a password ({describe(url)}); leave it to database_secret")
    if config.root_certificate is not None:
        is_system = config.root_certificate == "system"
        place = "system" if is_system else f"{config.prefix}/{CERTIFICATE}"
        url = url.update_query_dict({"sslrootcert": place})
    return url


def _refuse_unsafe(url: URL) -> None:
    host = url.host or url.query.get("host")
    if not isinstance(host, str) or not host or host.startswith(("/", "@")):
        raise EmrError(f"a cluster needs a database with a TCP host, not {describe(url)}: name one in the URL")
    if url.query.get("sslmode") != "verify-full":
        raise EmrError(
            f"{describe(url)}: a cluster must verify the server, sslmode is {url.query.get('sslmode', 'not set')}: "
            "add ?sslmode=verify-full to the URL"
        )
    if "sslrootcert" not in url.query:
        raise EmrError(
            f"{describe(url)}: nothing says which certificate signs the server's: set root_certificate in --config "
            "to s3://... or system"
        )
