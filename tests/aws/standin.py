"""The AWS stand-in: moto's server behind IAM, with real functions and a real HTTP API.

    python standin.py FOLDER [--region REGION]

Listens on two free ports of loopback, and prints them as one line of JSON. Ends when its standard input does, and
all functions with it: whoever started it cannot leave it behind.

    GET  /standin/decisions         every decision since the last time
    POST /standin/schedules/NAME    fires a schedule
    POST /standin/domains/NAME      opens a listener for a custom domain of the API
"""

import argparse
import base64
import hashlib
import io
import json
import logging
import pathlib
import sys
import threading
import uuid

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import FakeKey, s3_backends
from werkzeug.serving import WSGIRequestHandler, make_server

import actions
import iam
import lambdas
import patches
import schedules
import signature
from gateway import Gateway


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # as in runtime_api.Replies
    disable_nagle_algorithm = True


class Standin:
    """The WSGI application: it authenticates, authorizes, and then calls moto."""

    def __init__(self, app, region, folder):
        self._app, self._region, self._folder = app, region, folder
        self.endpoint = self.gateway = None

    def __call__(self, environ, start):
        path, _, query = environ["RAW_URI"].partition("?")
        if path.startswith("/standin/"):
            return self._own(environ["REQUEST_METHOD"], path, start)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        headers = {
            name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")
        }
        headers |= {
            name: environ[key]
            for name, key in (("content-type", "CONTENT_TYPE"), ("content-length", "CONTENT_LENGTH"))
            if environ.get(key)
        }
        request = (environ["REQUEST_METHOD"], path, query, headers, body)
        try:
            refusal = self._check(*request)
        except signature.Refused as refused:
            refusal = refused.code, str(refused)
        if refusal:
            return _refuse(start, request, *refusal)
        return self._app(environ, start)

    def _check(self, method, path, query, headers, body):
        """`None` if the request is allowed, otherwise a code and a message."""
        signed = signature.read(query, headers)
        if signed is None:
            return "AccessDenied", "anonymous requests are not served here"
        who = iam.principal(signed.access_key)
        if who is None:
            return "InvalidClientTokenId", "the security token included in the request is invalid"
        if who.is_admin:
            return None
        signature.verify(signed, who, method, path, query, headers, body)
        context = conditions(signed, headers)
        needed = actions.needed(signed.service, signed.region, method, path, query, headers, body)
        for action, resource, more in needed:
            if not iam.decide(who, action, resource, context | more):
                return "AccessDenied", f"User: {who.arn} is not authorized to perform: {action} on resource: {resource}"
            if action == "s3:GetObject" and not _exists(resource) and not self._may_list(who, resource, context):
                # S3 answers 404 only to callers that may list.
                return "AccessDenied", f"User: {who.arn} is not authorized to perform: s3:ListBucket"
            if action == "s3:PutObject" and not _is_announced(headers, body):
                return "BadDigest", "the SHA-256 you specified did not match the calculated checksum"
        return None

    def _may_list(self, who, resource, context):
        return iam.decide(who, "s3:ListBucket", resource.partition("/")[0], context)

    def _own(self, method, path, start):
        noun, _, name = path.removeprefix("/standin/").partition("/")
        if (method, noun) == ("POST", "schedules"):
            answer = {"outcome": schedules.fire(name, self._region, self.endpoint)}
        elif (method, noun) == ("POST", "domains"):
            answer = self.gateway.open_domain(name, self._folder)
        else:
            answer = iam.DECISIONS.take()
        start("200 OK", [("content-type", "application/json")])
        return [json.dumps(answer).encode()]


def conditions(signed, headers):
    """The condition keys of every request. Loopback counts as TLS, unless a test says otherwise."""
    context = {
        "aws:securetransport": "false" if "x-standin-plain-http" in headers else "true",
        "aws:sourceaccount": iam.ACCOUNT,
        "aws:requestedregion": signed.region,
    }
    if signed.service == "s3":
        context["s3:authtype"] = "REST-HEADER" if signed.good_for_s is None else "REST-QUERY-STRING"
        context["s3:signatureage"] = str(int(signed.age_ms))
    return context


def _is_announced(headers, body):
    """Whether the bytes match the checksum of the request. Moto does not check it."""
    sent = headers.get("x-amz-checksum-sha256")
    return sent is None or sent == base64.b64encode(hashlib.sha256(body).digest()).decode()


def _exists(arn):
    bucket, _, key = arn.removeprefix("arn:aws:s3:::").partition("/")
    known = s3_backends[iam.ACCOUNT]["aws"].buckets.get(bucket)
    # The newest version of a deleted object is a delete marker.
    return known is not None and isinstance(known.keys.get(key), FakeKey)


def _refuse(start, request, code, text):
    """A refusal in the format of the called service."""
    method, _, query, headers, _ = request
    is_s3 = "/s3/" in headers.get("authorization", "") or "X-Amz-Signature" in query or "authorization" not in headers
    if "x-amz-target" in headers or "/lambda/" in headers.get("authorization", ""):
        code = "AccessDeniedException" if code == "AccessDenied" else code
        status, kind, body = (
            "400 Bad Request",
            "application/x-amz-json-1.1",
            json.dumps({"__type": code, "message": text}),
        )
    elif is_s3:
        status = "400 Bad Request" if code == "BadDigest" else "403 Forbidden"
        kind, body = "application/xml", f"<Error><Code>{code}</Code><Message>{text}</Message></Error>"
    else:
        body = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{text}</Message></Error><RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
        status, kind = "403 Forbidden", "text/xml"
    start(status, [("content-type", kind), ("content-length", str(len(body))), ("x-amzn-errortype", code)])
    return [b"" if method == "HEAD" else body.encode()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path, help="for the functions' code and logs")
    parser.add_argument("--region", default="eu-west-1")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    patches.apply()
    standin = Standin(DomainDispatcherApplication(create_backend_app), arguments.region, arguments.folder)
    server = make_server("127.0.0.1", 0, standin, threaded=True, request_handler=Handler)
    standin.endpoint = f"http://127.0.0.1:{server.server_port}"
    functions = lambdas.Lambdas(standin.endpoint, arguments.folder)
    lambdas.install(functions)
    gateway = standin.gateway = Gateway(functions, arguments.region)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(
        json.dumps({"endpoint": standin.endpoint, "gateway": f"http://127.0.0.1:{gateway.server.server_port}"}),
        flush=True,
    )
    try:
        sys.stdin.read()
    finally:
        functions.stop()


if __name__ == "__main__":
    main()
