"""The IAM action, the resource and the condition keys of a request to AWS.

Only the services that Tidegate's functions, operators and service roles call are told apart in detail.
"""

import json
import re
from urllib.parse import parse_qs, unquote

from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT

# A transaction has no action of its own. It needs the actions of its items.
TRANSACTION_ITEMS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
    "Get": "GetItem",
}

# Method, parameter that must be in the query, and the action: for objects, and for buckets.
OBJECT_ACTIONS = [
    ("GET", "versionId", "GetObjectVersion"),
    ("HEAD", "versionId", "GetObjectVersion"),
    ("DELETE", "versionId", "DeleteObjectVersion"),
    ("GET", None, "GetObject"),
    ("HEAD", None, "GetObject"),
    ("PUT", None, "PutObject"),
    ("DELETE", None, "DeleteObject"),
]
BUCKET_ACTIONS = [
    ("GET", "versions", "ListBucketVersions"),
    ("GET", "policy", "GetBucketPolicy"),
    ("PUT", "policy", "PutBucketPolicy"),
    ("GET", None, "ListBucket"),
    ("HEAD", None, "ListBucket"),
]


def needed(service, region, method, path, query, headers, body):
    """Every (action, resource, conditions) that the request needs. `path` is still percent-encoded."""
    operation = headers.get("x-amz-target", "").rpartition(".")[2]
    fields = json.loads(body) if operation and body else {}
    if not operation:
        form = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
        operation = form.get("Action", "")
    arn = f"arn:aws:{service}:{region}:{ACCOUNT}"
    parameters = parse_qs(query, keep_blank_values=True)
    if service == "dynamodb":
        return list(_dynamodb(operation, fields, arn))
    if service == "s3":
        return [_s3(method, path, parameters)]
    if service == "lambda":
        return [_lambda(method, path, parameters, arn)]
    if service == "sqs":
        queue = fields.get("QueueUrl", "").rpartition("/")[2]
        return [(f"sqs:{operation.removesuffix('Batch')}", f"{arn}:{queue}" if queue else "*", {})]
    if service == "secretsmanager":
        return [(f"secretsmanager:{operation}", _secret(fields.get("SecretId"), arn), {})]
    if service == "logs":
        group, stream = fields.get("logGroupName"), fields.get("logStreamName")
        # A missing stream is created in its group.
        of_stream = f":log-stream:{stream}" if stream and operation != "CreateLogStream" else ":*"
        return [(f"logs:{operation}", f"{arn}:log-group:{group}{of_stream}" if group else "*", {})]
    if service == "sts" and operation == "GetCallerIdentity":
        return []  # nobody needs a permission for it
    return [(f"{service}:{operation or method}", "*", {})]


def _dynamodb(operation, fields, arn):
    def table(spec, index=None):
        name = spec["TableName"]
        name = name if name.startswith("arn:") else f"{arn}:table/{name}"
        return f"{name}/index/{index}" if index else name

    if operation in ("TransactWriteItems", "TransactGetItems"):
        for item in fields["TransactItems"]:
            ((kind, spec),) = item.items()
            yield f"dynamodb:{TRANSACTION_ITEMS[kind]}", table(spec), {}
    elif operation in ("BatchGetItem", "BatchWriteItem"):
        for name in fields["RequestItems"]:
            yield f"dynamodb:{operation}", table({"TableName": name}), {}
    else:
        yield f"dynamodb:{operation}", table(fields, fields.get("IndexName")) if "TableName" in fields else "*", {}


def _s3(method, path, parameters):
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    for known_method, parameter, action in OBJECT_ACTIONS if key else BUCKET_ACTIONS:
        if method == known_method and (parameter is None or parameter in parameters):
            context = {"s3:prefix": parameters.get("prefix", [""])[0]} if action == "ListBucket" else {}
            return f"s3:{action}", f"arn:aws:s3:::{bucket}" + (f"/{key}" if key else ""), context
    return f"s3:{method}", f"arn:aws:s3:::{bucket}", {}


def _lambda(method, path, parameters, arn):
    found = re.match(r"/[^/]+/functions/([^/]+)/invocations", unquote(path))
    if not found:
        return f"lambda:{method}", "*", {}
    function = found[1] if found[1].startswith("arn:") else f"{arn}:function:{found[1]}"
    qualifier = parameters.get("Qualifier", [None])[0]
    return "lambda:InvokeFunction", f"{function}:{qualifier}" if qualifier else function, {}


def _secret(name, arn):
    if not name or name.startswith("arn:"):
        return name or "*"
    return f"{arn}:secret:{name}"
