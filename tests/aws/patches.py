"""Corrections of moto 5.2.1 for this stack. Each names what fails without it."""

import threading

from moto.apigatewayv2 import models as apigateway
from moto.awslambda import models as functions
from moto.dynamodb import responses as dynamodb
from moto.dynamodb.models import table as tables
from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket
from moto.s3.responses import S3Response


def apply(log):
    _lambda_keeps_its_logging_config()
    _custom_domains_become_available()
    _bucket_policies_are_read_by_our_iam()
    _event_source_mappings_keep_their_alias()
    _uploads_in_parts_have_their_root_elements()
    _dynamodb_answers_one_request_at_a_time(log)


def _lambda_keeps_its_logging_config():
    """Moto does not store both settings, so the second plan would set them again."""
    cls, kept = functions.LambdaFunction, {"LoggingConfig": "logging_config", "DeadLetterConfig": "dead_letter_config"}
    init, update, get = cls.__init__, cls.update_configuration, cls.get_configuration

    def keep(self, spec):
        for name, attribute in kept.items():
            if name in spec:
                setattr(self, attribute, spec[name])

    def new_init(self, account_id, spec, *rest, **named):
        init(self, account_id, spec, *rest, **named)
        keep(self, spec)

    def new_update(self, spec):
        keep(self, spec)
        return update(self, spec)

    def new_get(self, on_create=False):
        shown = get(self, on_create)
        shown.update(
            {name: getattr(self, attribute) for name, attribute in kept.items() if getattr(self, attribute, None)}
        )
        return shown

    cls.__init__, cls.update_configuration, cls.get_configuration = new_init, new_update, new_get


def _custom_domains_become_available():
    """Without a status the provider waits until its timeout."""
    to_json = apigateway.DomainName.to_json

    def new_to_json(self):
        shown = to_json(self)
        for configuration in shown["domainNameConfigurations"]:
            configuration.setdefault("domainNameStatus", "AVAILABLE")
            configuration.setdefault("apiGatewayDomainName", "d-standin.execute-api.amazonaws.com")
            configuration.setdefault("hostedZoneId", "Z0STANDIN")
            configuration.setdefault("ipAddressType", "ipv4")
        return shown

    apigateway.DomainName.to_json = new_to_json


def _bucket_policies_are_read_by_our_iam():
    """Moto treats an unknown condition operator as true: a "TLS only" Deny denies everything."""
    FakeBucket.get_permission = lambda self, action, resource: PermissionResult.NEUTRAL


def _uploads_in_parts_have_their_root_elements():
    """The SDK for Rust refuses moto's `ListPartsResponse` and `CompleteMultipartUploadResponse`."""
    serialized = S3Response.serialized

    def new_serialized(self, result):
        status, headers, body = serialized(self, result)
        for name in ("ListParts", "CompleteMultipartUpload"):
            body = body.replace(f"{name}Response", f"{name}Result")
        return status, headers, body

    S3Response.serialized = new_serialized


def _event_source_mappings_keep_their_alias():
    """Moto shows the version behind the alias, so the second plan would set the alias again."""
    get = functions.EventSourceMapping.get_configuration

    def new_get(self):
        shown = get(self)
        if self.function_name.startswith("arn:"):
            shown["FunctionArn"] = self.function_name
        return shown

    functions.EventSourceMapping.get_configuration = new_get


def _dynamodb_answers_one_request_at_a_time(log):
    """A failed transaction of moto restores a copy of the table and so loses concurrent writes.

    Our own log takes the changes: moto would call the function in the middle of the request, and keep the records of
    transactions that failed.
    """
    lock, call = threading.Lock(), dynamodb.DynamoHandler.call_action

    def one_at_a_time(self):
        with lock:
            is_done = False
            try:
                answer = call(self)
                is_done = answer[0] < 300
                return answer
            finally:
                log.end(is_done)

    dynamodb.DynamoHandler.call_action = one_at_a_time
    tables.StreamShard.add = lambda self, old, new: log.add(self.table, old, new)
