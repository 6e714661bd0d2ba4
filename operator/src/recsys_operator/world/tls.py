"""TLS for a client that takes Python's own context instead of PEM texts."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from recsys_operator.world.errors import RefusedError
from recsys_schemas.kafka_access import FIELDS


def client_context(values: Mapping[str, str]) -> ssl.SSLContext:
    """Trust the authority that is given (else the system's), and show our certificate if there is one.

    Args:
        values: PEM texts under `authority`, `certificate`, `private_key`, as far as they are set.

    Raises:
        RefusedError: a text is no certificate, or the key is another's; the message names the field.
    """
    context = ssl.create_default_context(cadata=values.get("authority"))
    if "certificate" in values:
        try:
            _show(context, values["certificate"], values["private_key"])
        except ssl.SSLError as error:
            raise RefusedError(
                f"{FIELDS['certificate']}: the client cannot use it ({error.reason}); correct what the Secret holds"
            ) from None
    return context


def _show(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Python reads a certificate's key from a file only: one in memory where there are such, else one that is gone at once."""
    text = f"{certificate.strip()}\n{key.strip()}\n".encode()
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("client-certificate")
        try:
            with os.fdopen(os.dup(file), "wb") as opened:
                opened.write(text)
            context.load_cert_chain(f"/proc/self/fd/{file}")
        finally:
            os.close(file)
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / "client.pem"
        path.touch(mode=0o600)
        path.write_bytes(text)
        context.load_cert_chain(path)
