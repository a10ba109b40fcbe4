"""A DynamoDB that knows one product and one device, and an S3 that has its catalog, over TLS: what a start is measured
against.

Its certificate comes through an intermediate from an authority that lasts for a day, RSA throughout, as Amazon's do.
"""

import collections
import hashlib
import hmac
import json
import pathlib
import ssl
import subprocess
import time

from runtime_api import Loopback, Replies

PRODUCT, DEVICE = "lamp", "lamp-1"
# The same attributes as in events/check.json, so that the check-in writes nothing.
ATTRIBUTES = '{"id":"lamp-1","memory":"512","product":"lamp","site":{"region":"eu"}}'
# The number of the format of catalogs (crates/tidegate-core/src/snapshot.rs), and a key that seals them.
FORMAT, CATALOG_KEY = 6, b"measured, with a secret of 32 bytes"


def authority(folder):
    """PEM files: the root, the server's chain and its key."""
    extensions, chain = pathlib.Path(folder, "extensions"), pathlib.Path(folder, "chain.pem")
    extensions.write_text("[ca]\nbasicConstraints=critical,CA:true\n[server]\nsubjectAltName=DNS:localhost\n")

    def file(name, suffix):
        return pathlib.Path(folder, f"{name}.{suffix}")

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

    for name, issuer, section in (("root", None, "ca"), ("between", "root", "ca"), ("server", "between", "server")):
        key, request, certificate = (file(name, suffix) for suffix in ("key", "csr", "crt"))
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        by = ("-CA", file(issuer, "crt"), "-CAkey", file(issuer, "key"), "-CAcreateserial") if issuer else ("-signkey", key)
        extended = ("-extfile", extensions, "-extensions", section)
        openssl("x509", "-req", "-days", "1", "-in", request, *by, *extended, "-out", certificate)
    chain.write_text(file("server", "crt").read_text() + file("between", "crt").read_text())
    return file("root", "crt"), chain, file("server", "key")


class Store:
    """A server at `url` that counts its calls by operation."""

    def __init__(self, folder, catalog):
        self.root, chain, key = authority(folder)
        self._catalog, self._name = catalog, f"1-{hashlib.sha256(catalog).hexdigest()}"
        sealed = f"tidegate-catalog-1\n{PRODUCT}\n{self._name}".encode()
        self._seal = hmac.new(CATALOG_KEY, sealed, "sha256").hexdigest()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(chain, key)
        self.calls = collections.Counter()
        self._server = Loopback(self._handler(), tls)
        self.url = f"https://localhost:{self._server.server_port}"

    def _handler(store):  # the handler has a `self` of its own
        class Handler(Replies):
            def do_GET(self):
                store.calls["S3"] += 1
                is_catalog = f"/catalogs/{PRODUCT}/{store._name}" in self.path
                seal = [("x-amz-meta-tidegate-seal", store._seal)]
                self.reply(*((200, store._catalog, seal) if is_catalog else (404, b"")))

            def do_POST(self):
                asked = json.loads(self.body())
                operation = self.headers["x-amz-target"].rpartition(".")[2]
                store.calls[operation] += 1
                reply = json.dumps(answer(operation, asked, store._name)).encode()
                self.reply(200, reply, [("content-type", "application/x-amz-json-1.0")])

        return Handler


def answer(operation, asked, catalog):
    if operation == "GetItem":
        if asked["Key"] == {"pk": {"S": f"d#{PRODUCT}#{DEVICE}"}, "sk": {"S": "device"}}:
            return {"Item": device()}
        is_head = asked["Key"] == {"pk": {"S": f"p#{PRODUCT}"}, "sk": {"S": "head"}}
        head = {"revision": {"N": "1"}, f"catalog_revision_{FORMAT}": {"N": "1"}, f"catalog_name_{FORMAT}": {"S": catalog}}
        return {"Item": head} if is_head else {}
    if operation != "Query":
        return {}
    partition = asked["ExpressionAttributeValues"][":pk"]["S"]
    items = products() if partition == "#products" else []
    return {"Items": items, "Count": len(items), "ScannedCount": len(items)}


def products():
    return [{"pk": {"S": "#products"}, "sk": {"S": PRODUCT}}]


def device():
    now = {"N": str(int(time.time() * 1000))}
    says = {"pk": {"S": f"d#{PRODUCT}#{DEVICE}"}, "sk": {"S": "device"}, "id": {"S": DEVICE}, "version": {"S": "1.0.0"}, "attributes": {"S": ATTRIBUTES}}
    return {**says, "claims": {"M": {}}, "rev": {"N": "1"}, "first": now, "seen": now}
