"""The same stack with a custom domain and a device CA: it answers only clients with a certificate of that CA."""

import http.client
import json
import socket
import ssl

import certificates
from operators import Operator, send

NAME = "updates.example.com"


def variables(account, authority):
    """The variables for Terraform. The domain's own certificate is in ACM."""
    arn = account.client("acm").request_certificate(DomainName=NAME)["CertificateArn"]
    return {"domain": {"name": NAME, "certificate_arn": arn, "truststore_pem": authority.pem}}


def forget(account, chosen):
    account.client("acm").delete_certificate(CertificateArn=chosen["domain"]["certificate_arn"])


def probe(world, authority):
    checks, listener = world.checks, send("POST", f"{world.endpoint}/standin/domains/{NAME}").json
    lamp, stranger = (
        authority.issue("lamp-1", world.folder),
        certificates.Authority("strangers").issue("lamp-1", world.folder),
    )
    body = json.dumps({"id": "lamp-1", "product": "lamp", "version": "1.0.0", "region": "eu"}).encode()
    headers = {"authorization": world.token("lamp-1")} if "lamp-1" in world.tokens else {}

    checks.equal("the API's own address", send("POST", f"{world.api}/v1/check", body, headers).status, 404)
    checks.equal("and for operators", world.operators["viewer"].call("GET", "/v1/products/lamp").status, 404)
    checks.equal("a device with a certificate", request(listener, lamp, "POST", "/v1/check", body, headers), 200)
    checks.equal("its token is needed still", request(listener, lamp, "POST", "/v1/check", body, {}), 401)
    checks.equal("no certificate", request(listener, None, "POST", "/v1/check", body, headers), "refused")
    checks.equal("one of another CA", request(listener, stranger, "POST", "/v1/check", body, headers), "refused")
    checks.equal("a certificate is no operator", request(listener, lamp, "GET", "/v1/products/lamp", b"", {}), 403)
    signed = Operator(world.operators["viewer"].key, f"https://{NAME}", world.region).signed("GET", "/v1/products/lamp")
    checks.equal("an operator with both", request(listener, lamp, "GET", "/v1/products/lamp", b"", signed), 200)


def request(listener, client, method, path, body, headers):
    """The status, or `refused` if TLS fails."""
    context = ssl.create_default_context(cafile=listener["authority"])
    if client:
        context.load_cert_chain(client.certificate, client.key)
    connection = http.client.HTTPSConnection(NAME, timeout=30)
    try:
        connection.sock = context.wrap_socket(
            socket.create_connection(("127.0.0.1", listener["port"]), 30), server_hostname=NAME
        )
        connection.request(method, path, body or None, {"content-type": "application/json", **headers})
        return connection.getresponse().status
    except (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected):
        return "refused"
    finally:
        connection.close()
