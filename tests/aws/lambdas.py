"""Invoking a function runs the `bootstrap` of the zip that Terraform uploaded.

It gets the environment that Terraform made and credentials of the function's own role. What the Lambda service
does in the role's name, its log and its dead letters, is done with the role's credentials too, so that these
grants are proved like the others.
"""

import collections
import io
import json
import os
import pathlib
import threading
import time
import zipfile

import boto3
from moto.awslambda import models
from moto.awslambda.models import lambda_backends

import iam
from runtime_api import Copy

# Lambda's default: two retries of a failed asynchronous invocation.
ASYNC_RETRIES = 2


class Throttled(Exception):
    """The function's reserved concurrency is used up."""


class Lambdas:
    """All running copies."""

    def __init__(self, endpoint, folder):
        self._endpoint, self._folder = endpoint, pathlib.Path(folder)
        self._idle = collections.defaultdict(list)
        self._copies = []
        self._lock, self._starting = threading.Lock(), threading.Lock()

    def invoke(self, function, payload):
        """Answers one invocation with a warm copy, or with a new one if all are busy."""
        if str(find(unqualified(function), function.region).reserved_concurrency) == "0":
            raise Throttled(function.function_name)
        version = (
            function.function_arn,
            str(function.version),
            function.code_sha_256,
            json.dumps(function.environment_vars, sort_keys=True),
        )
        with self._lock:
            copy = self._idle[version].pop() if self._idle[version] else None
        if copy is None or not copy.is_alive:
            copy = self._start(function)
        is_error, answer = copy.invoke(payload, float(function.timeout or 3))
        if copy.is_alive:
            with self._lock:
                self._idle[version].append(copy)
        return is_error, answer

    def invoke_later(self, function, payload):
        """An asynchronous invocation. After the last failed try, the event goes to the destination in Terraform."""
        threading.Thread(target=self._invoke_until_done, args=(function, payload), daemon=True).start()

    def _invoke_until_done(self, function, payload):
        settings = find(unqualified(function), function.region).event_invoke_config
        settings = settings[-1].response() if settings else {}
        try:
            for _ in range(1 + settings.get("MaximumRetryAttempts", ASYNC_RETRIES)):
                is_error, answer = self.invoke(function, payload)
                if not is_error:
                    return
        except Throttled:  # with no concurrency at all, Lambda does not wait for it to come back
            answer = b"null"
        queue = settings.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
        if queue:
            client = as_role(
                function.role, "lambda.amazonaws.com", function.function_name, function.region, self._endpoint
            )
            condition = {"functionArn": function.function_arn, "condition": "RetriesExhausted"}
            letter = {
                "version": "1.0",
                "requestContext": condition,
                "requestPayload": json.loads(payload),
                "responsePayload": json.loads(answer),
            }
            client("sqs").send_message(QueueUrl=queue_url(self._endpoint, queue), MessageBody=json.dumps(letter))

    def stop(self):
        for copy in self._copies:
            copy.stop()

    def _start(self, function):
        session = iam.assume(function.role, "lambda.amazonaws.com", function.function_name, function.region)
        # One after another: a process that starts while another thread writes a `bootstrap` inherits the open file,
        # and the kernel does not execute a file that is open for writing.
        with self._starting:
            name = f"{function.function_name}-{len(self._copies)}"
            folder = self._folder / name
            unpack(function.code_bytes, folder)
            read, write = os.pipe()
            copy = Copy(
                str(folder / "bootstrap"),
                self._environment(function, session, name, folder),
                function.function_arn,
                write,
                folder,
            )
            os.close(write)
            self._copies.append(copy)
        logs = client_of(session, function.region, self._endpoint)("logs")
        threading.Thread(target=self._log, args=(read, function, name, logs), daemon=True).start()
        return copy

    def _environment(self, function, session, name, folder):
        """Lambda's own variables and exactly Terraform's."""
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "LAMBDA_TASK_ROOT": str(folder),
            "_HANDLER": function.handler,
            "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
            "AWS_LAMBDA_FUNCTION_VERSION": str(function.version),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
            "AWS_LAMBDA_LOG_GROUP_NAME": log_group(function),
            "AWS_LAMBDA_LOG_STREAM_NAME": name,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_REGION": function.region,
            "AWS_DEFAULT_REGION": function.region,
            "AWS_ACCESS_KEY_ID": session.access_key_id,
            "AWS_SECRET_ACCESS_KEY": session.secret_access_key,
            "AWS_SESSION_TOKEN": session.session_token,
            "AWS_ENDPOINT_URL": self._endpoint,
            # A file of a megabyte counts as a large one.
            "TIDEGATE_READ_AT_ONCE": "1000000",
            **function.environment_vars,
        }

    def _log(self, read, function, stream, logs):
        """Writes every line to a file, and to CloudWatch with the function's role."""
        path = self._folder / f"{function.function_name}.log"
        with open(read, encoding="utf-8", errors="replace") as lines, open(path, "a", encoding="utf-8") as file:
            place = {"logGroupName": log_group(function), "logStreamName": stream}
            try:
                logs.create_log_stream(**place)
            except Exception as error:  # recorded as a denial; the function runs on, as on AWS
                file.write(f"no log stream: {error}\n")
                place = None
            for line in lines:
                file.write(line)
                file.flush()
                if place:
                    at_ms = int(time.time() * 1000)
                    logs.put_log_events(**place, logEvents=[{"timestamp": at_ms, "message": line.rstrip() or " "}])


def unpack(zipped, folder):
    """Unpacks like Lambda, with the file modes in the zip: a `bootstrap` that is not executable does not start."""
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        for entry in archive.infolist():
            path = pathlib.Path(archive.extract(entry, folder))
            path.chmod((entry.external_attr >> 16) & 0o777 or 0o644)


def log_group(function):
    kept = getattr(function, "logging_config", None) or {}
    return kept.get("LogGroup") or f"/aws/lambda/{function.function_name}"


def as_role(role, service, session, region, endpoint):
    """Makes clients with a session of a role, for a service that the role trusts."""
    return client_of(iam.assume(role, service, session, region), region, endpoint)


def client_of(session, region, endpoint):
    def client(name):
        return boto3.session.Session().client(
            name,
            region_name=region,
            endpoint_url=endpoint,
            aws_access_key_id=session.access_key_id,
            aws_secret_access_key=session.secret_access_key,
            aws_session_token=session.session_token,
        )

    return client


def queue_url(endpoint, arn):
    account, name = arn.split(":")[-2:]
    return f"{endpoint}/{account}/{name}"


def unqualified(function):
    return ":".join(function.function_arn.split(":")[:7])


def find(arn, region):
    """A function by its ARN, with or without a qualifier."""
    parts = arn.split(":")
    backend = lambda_backends[iam.ACCOUNT][region]
    return backend.get_function(":".join(parts[:7]), parts[7] if len(parts) > 7 else None)


def is_permitted(arn, region, service, source_arn):
    """Whether a function's own policy lets a service invoke it, through this alias, for this source."""
    parts = arn.split(":")
    function = lambda_backends[iam.ACCOUNT][region].get_function(":".join(parts[:7]))
    permitted = any(
        statement["Effect"] == "Allow"
        and statement["Action"] == "lambda:InvokeFunction"
        and statement["Principal"] == {"Service": service}
        and statement["Resource"] == arn
        and iam.conditions_hold(
            statement.get("Condition"), {"aws:sourcearn": source_arn, "aws:sourceaccount": iam.ACCOUNT}
        )
        for statement in function.policy.statements
    )
    iam.DECISIONS.record(f"service:{service}", "lambda:InvokeFunction", arn, permitted)
    return permitted


def install(lambdas):
    """Replaces moto's invocations with real ones."""

    def invoke(self, body, request_headers, response_headers):
        payload = body if isinstance(body, bytes) else (body or "{}").encode()
        if (request_headers or {}).get("x-amz-invocation-type") == "Event":
            lambdas.invoke_later(self, payload)
            return b""
        is_error, answer = lambdas.invoke(self, payload)
        if is_error:
            response_headers["x-amz-function-error"] = "Unhandled"
        return answer

    models.LambdaFunction.invoke = invoke
