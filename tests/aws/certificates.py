"""Certificate authorities that are valid for a day: for servers, for devices, and one that nobody trusts."""

import dataclasses
import datetime
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclasses.dataclass
class Issued:
    """Paths of PEM files."""

    certificate: str
    key: str
    authority: str


class Authority:
    def __init__(self, name):
        self._name, self._key = name, ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._signed(name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=0))
        self.pem = self._certificate.public_bytes(Encoding.PEM).decode()

    def issue(self, name, folder):
        """A certificate for a server or a client, in files."""
        key, folder = ec.generate_private_key(ec.SECP256R1()), pathlib.Path(folder)
        certificate = self._signed(name, key.public_key(), x509.SubjectAlternativeName([x509.DNSName(name)]))
        files = Issued(
            *(str(folder / f"{self._name}-{name}-{part}.pem") for part in ("certificate", "key", "authority"))
        )
        pathlib.Path(files.certificate).write_bytes(certificate.public_bytes(Encoding.PEM))
        pathlib.Path(files.key).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        pathlib.Path(files.authority).write_text(self.pem)
        return files

    def _signed(self, name, public_key, extension):
        now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
        subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, self._name))
        builder = x509.CertificateBuilder(
            issuer, subject, public_key, x509.random_serial_number(), now - day, now + day
        )
        return builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints)).sign(
            self._key, hashes.SHA256()
        )
