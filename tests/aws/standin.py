"""The AWS stand-in: moto's server behind IAM, with real functions and a real HTTP API.

    python standin.py FOLDER [--region REGION]

Listens on two free ports of loopback, and prints them as one line of JSON. Ends when its standard input does, and
all functions with it: whoever started it cannot leave it behind.

    GET  /standin/decisions         every decision since the last time
    GET  /standin/stream            records that wait for a function, and counts of the deliveries
    GET  /standin/transactions      the kinds of items in each transaction of a role, and counts
    GET  /standin/refusals          counts of writes that were refused by chance or because a partition was busy
    POST /standin/outages/SERVICE   a service answers 503 to all roles, until `none` is named
    POST /standin/conflicts/CHANCE  sets the chance that an item is held by a transaction
    POST /standin/repeats/CHANCE    sets the chance that a batch of the stream is delivered again
    POST /standin/schedules/NAME    fires a schedule
    POST /standin/objects/SECONDS   makes all objects in S3 older
    POST /standin/domains/NAME      opens a listener for a custom domain of the API
"""

import argparse
import base64
import collections
import datetime
import hashlib
import io
import json
import logging
import pathlib
import sys
import threading
import uuid

from moto.dynamodb.models import dynamodb_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import FakeKey, s3_backends
from werkzeug.serving import WSGIRequestHandler, make_server

import actions
import iam
import lambdas
import patches
import refusals
import schedules
import signature
import stream
from gateway import Gateway


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # as in runtime_api.Replies
    disable_nagle_algorithm = True


class Standin:
    """The WSGI application: it authenticates, authorizes, and then calls moto."""

    def __init__(self, app, region, folder, refused):
        self._app, self._region, self._folder, self._refusals = app, region, folder, refused
        self.endpoint = self.gateway = self.delivery = self._outage = None
        self._transactions = collections.Counter()

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
        if "DynamoDB_" in headers.get("x-amz-target", "") and not _is_admin(query, headers):
            return self._write(environ, start, headers["x-amz-target"].rpartition(".")[2], json.loads(body or b"{}"))
        return self._app(environ, start)

    def _write(self, environ, start, operation, fields):
        """A request of a role to DynamoDB, which may refuse a write that is right."""
        items = refusals.writes(operation, fields, lambda name: actions.key_names(name, self._region))
        arn = f"arn:aws:dynamodb:{self._region}:{iam.ACCOUNT}:table/{items[0][0]}" if items else ""
        refusal = self._refusals.refuse(operation, items, arn)
        if refusal:
            body = json.dumps(refusal).encode()
            headers = [("content-type", "application/x-amz-json-1.0"), ("content-length", str(len(body)))]
            start("400 Bad Request", headers)
            return [body]
        if operation == "TransactWriteItems":
            kinds = [iam.kind(next(iter(json.loads(partition).values()))) for _, partition, _ in items]
            self._transactions[" ".join(sorted(kinds))] += 1
        answer = self._app(environ, start)
        self._refusals.spend(items, [refusals.units(self._size_bytes(*item), operation) for item in items])
        return answer

    def _size_bytes(self, table, _, key):
        try:
            item = dynamodb_backends[iam.ACCOUNT][self._region].get_item(table, json.loads(key))
        except Exception:  # moto has said already what is wrong with this table or key
            return 0
        return item.size() if item else 0

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
        if signed.service == self._outage:
            return "ServiceUnavailable", "a test has stopped this service"
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
        elif (method, noun) == ("POST", "objects"):
            answer = _age_objects(int(name))
        elif (method, noun) == ("POST", "outages"):
            answer = self._outage = name
        elif (method, noun) == ("POST", "conflicts"):
            answer = self._refusals.chance = float(name)
        elif (method, noun) == ("POST", "repeats"):
            answer = self.delivery.repeats = float(name)
        elif noun == "transactions":
            answer = self._transactions
        elif noun == "stream":
            answer = self.delivery.status()
        elif noun == "refusals":
            answer = {"conflicts": self._refusals.conflicts, "throttles": self._refusals.throttles}
        else:
            answer = iam.DECISIONS.take()
        start("200 OK", [("content-type", "application/json")])
        return [json.dumps(answer).encode()]


def _is_admin(query, headers):
    signed = signature.read(query, headers)
    return signed is None or signed.access_key == iam.ADMIN_KEY


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


def _age_objects(by_s):
    """Moves the times of all versions and delete markers back."""
    aged = 0
    for bucket in s3_backends[iam.ACCOUNT]["aws"].buckets.values():
        for key in list(bucket.keys):
            for version in bucket.keys.getlist(key):
                version.last_modified -= datetime.timedelta(seconds=by_s)
                aged += 1
    return {"aged": aged}


def _refuse(start, request, code, text):
    """A refusal in the format of the called service."""
    method, _, query, headers, _ = request
    down = "503 Service Unavailable" if code == "ServiceUnavailable" else None
    is_s3 = "/s3/" in headers.get("authorization", "") or "X-Amz-Signature" in query or "authorization" not in headers
    if "x-amz-target" in headers or "/lambda/" in headers.get("authorization", ""):
        code = "AccessDeniedException" if code == "AccessDenied" else code
        status, kind, body = (
            down or "400 Bad Request",
            "application/x-amz-json-1.1",
            json.dumps({"__type": code, "message": text}),
        )
    elif is_s3:
        status = down or ("400 Bad Request" if code == "BadDigest" else "403 Forbidden")
        kind, body = "application/xml", f"<Error><Code>{code}</Code><Message>{text}</Message></Error>"
    else:
        body = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{text}</Message></Error><RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
        status, kind = down or "403 Forbidden", "text/xml"
    start(status, [("content-type", kind), ("content-length", str(len(body))), ("x-amzn-errortype", code)])
    return [b"" if method == "HEAD" else body.encode()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path, help="for the functions' code and logs")
    parser.add_argument("--region", default="eu-west-1")
    parser.add_argument("--conflicts", type=float, default=0.0, help="chance that a transaction holds an item")
    parser.add_argument("--units", type=int, default=1000, help="write units a second of a partition key")
    parser.add_argument("--repeats", type=float, default=0.0, help="chance that a batch of the stream comes again")
    parser.add_argument("--pace", type=float, default=100.0, help="how much faster the stream's time passes")
    parser.add_argument("--seed", type=int, default=0, help="of all dice")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    log = stream.Log()
    patches.apply(log)
    refused = refusals.Refusals(arguments.seed, arguments.conflicts, arguments.units)
    standin = Standin(DomainDispatcherApplication(create_backend_app), arguments.region, arguments.folder, refused)
    server = make_server("127.0.0.1", 0, standin, threaded=True, request_handler=Handler)
    standin.endpoint = f"http://127.0.0.1:{server.server_port}"
    functions = lambdas.Lambdas(standin.endpoint, arguments.folder)
    lambdas.install(functions)
    gateway = standin.gateway = Gateway(functions, arguments.region)
    delivery = standin.delivery = stream.Delivery(
        log, functions, arguments.region, arguments.pace, arguments.repeats, arguments.seed
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    delivery.start()
    print(
        json.dumps({"endpoint": standin.endpoint, "gateway": f"http://127.0.0.1:{gateway.server.server_port}"}),
        flush=True,
    )
    try:
        sys.stdin.read()
    finally:
        delivery.stop()
        functions.stop()


if __name__ == "__main__":
    main()
