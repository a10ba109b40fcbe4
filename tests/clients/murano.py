"""Runs one step with Exosite's client library, without changes: `murano.py STEP HOST DEVICE TOKEN IMAGE`.

The last line of the output is the device's token.
"""

import json
import socket
import sys
import time

from murano_client.http import MuranoHTTP

resolve = socket.getaddrinfo
# The product is the first label of the host. In production a wildcard DNS record resolves it.
socket.getaddrinfo = lambda host, *rest, **more: resolve(
    "127.0.0.1" if host.endswith(".localhost") else host, *rest, **more
)

STATUSES = (
    "INIT TEST TEST_STEP TEST_SUCCESS DOWNLOAD DOWNLOAD_STEP DOWNLOAD_SUCCESS INSTALL INSTALL_STEP INSTALL_SUCCESS"
).split()


def check(what, got, expected):
    if got != expected:
        sys.exit(f"failed: {what}: expected {expected!r}, got {got!r}")
    print(f"ok: {what}")


def say(device, version, status, message=""):
    answer = device.http_write("otau_in", json.dumps({"version": version, "status": status, "message": message}))
    check(f"{status} {version} is accepted", answer.code, 204)


def offered(device):
    """Returns the offer for the device, or None. Waits first: a function reads its product at most once a second."""
    time.sleep(1.5)
    answer = device.http_read("config_otau")
    return json.loads(answer.body.removeprefix("config_otau=")) if answer.code == 200 else None


def walk(device, image):
    device.http_activate()
    check("the device is activated", device.is_activated(), True)
    check("a device without a reported version gets no offer", offered(device), None)
    say(device, "1.0.0", "INSTALLED_VERSION")
    offer = offered(device)
    check("1.1.0 is offered", offer and offer["version"], "1.1.0")
    check("the acknowledgement is accepted", device.http_write("config_otau", json.dumps(offer)).code, 204)
    item = offer["payload"]
    content = device._http_getContent(item)
    check("the downloaded bytes equal the image", content.content, image)
    for status in STATUSES:
        say(device, "1.1.0", status)
    check("after the success there is no offer", offered(device), None)
    say(device, "1.1.0", "INSTALLED_VERSION")
    say(device, "1.1.0", "INSTALL_SUCCESS", "a repeat")


def fail(device):
    say(device, "1.1.0", "INSTALLED_VERSION")
    offer = offered(device)
    check("1.2.0 is offered", offer and offer["version"], "1.2.0")
    for status in ["INIT", "TEST_ERROR", "TEST_ERROR", "DOWNLOAD_ERROR"]:
        say(device, "1.2.0", status)


def back_out(device):
    offer = offered(device)
    check("1.3.0 is offered", offer and offer["version"], "1.3.0")
    for status in ["INIT", "INSTALL_ERROR"]:
        say(device, "1.3.0", status)
    check("after the failure there is no offer for an hour", offered(device), None)
    say(device, "1.3.0", "INSTALL_ABORTED")


if __name__ == "__main__":
    step, host, name, token, image = sys.argv[1:6]
    client = MuranoHTTP(murano_host=host, murano_id=name, murano_token=token or None)
    with open(image, "rb") as file:
        content = file.read()
    {"walk": lambda: walk(client, content), "fail": lambda: fail(client), "back-out": lambda: back_out(client)}[step]()
    print(f"token: {client.murano_token()}")
