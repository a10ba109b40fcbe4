"""The IAM action, the resource and the condition keys of a request to AWS.

Only the services that Tidegate's functions, operators and service roles call are told apart in detail.
"""

import json
import re
from urllib.parse import parse_qs, unquote

from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.dynamodb.models import dynamodb_backends

# A transaction has no action of its own. It needs the actions of its items.
TRANSACTION_ITEMS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
    "Get": "GetItem",
}

ITEM_OPERATIONS = ("GetItem", "PutItem", "UpdateItem", "DeleteItem")
EXPRESSIONS = ("UpdateExpression", "ConditionExpression", "ProjectionExpression")
KEYWORDS = ("SET", "ADD", "REMOVE", "DELETE", "AND", "OR", "NOT", "IN", "BETWEEN")

# Method, parameter that must be in the query, and the action: for objects, and for buckets.
OBJECT_ACTIONS = [
    ("GET", "versionId", "GetObjectVersion"),
    ("HEAD", "versionId", "GetObjectVersion"),
    ("DELETE", "versionId", "DeleteObjectVersion"),
    ("GET", "uploadId", "ListMultipartUploadParts"),
    ("DELETE", "uploadId", "AbortMultipartUpload"),
    ("POST", "uploads", "PutObject"),
    ("POST", "uploadId", "PutObject"),
    ("GET", None, "GetObject"),
    ("HEAD", None, "GetObject"),
    ("PUT", None, "PutObject"),
    ("DELETE", None, "DeleteObject"),
]
BUCKET_ACTIONS = [
    ("GET", "versions", "ListBucketVersions"),
    ("GET", "uploads", "ListBucketMultipartUploads"),
    ("GET", "policy", "GetBucketPolicy"),
    ("PUT", "policy", "PutBucketPolicy"),
    ("GET", None, "ListBucket"),
    ("HEAD", None, "ListBucket"),
]


class Unreadable(Exception):
    """The partition key of a request cannot be seen. A condition on it would hold for nothing at all."""


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
        return list(_dynamodb(operation, fields, arn, region))
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


def _dynamodb(operation, fields, arn, region):
    def table(spec, index=None):
        name = spec["TableName"]
        name = name if name.startswith("arn:") else f"{arn}:table/{name}"
        return f"{name}/index/{index}" if index else name

    if operation in ("TransactWriteItems", "TransactGetItems"):
        for item in fields["TransactItems"]:
            ((kind, spec),) = item.items()
            yield f"dynamodb:{TRANSACTION_ITEMS[kind]}", table(spec), _item_context(spec, region)
    elif operation in ("BatchGetItem", "BatchWriteItem"):
        for name, asked in fields["RequestItems"].items():
            keys = asked["Keys"] if operation == "BatchGetItem" else [_written(one) for one in asked]
            partition = key_names(name, region)[0]
            context = {"dynamodb:leadingkeys": sorted({_text(key[partition]) for key in keys})}
            yield f"dynamodb:{operation}", table({"TableName": name}), context
    elif "StreamArn" in fields:
        yield f"dynamodb:{operation}", fields["StreamArn"], {}
    else:
        resource = table(fields, fields.get("IndexName")) if "TableName" in fields else "*"
        if operation in ITEM_OPERATIONS:
            context = _item_context(fields, region)
        else:
            context = {"dynamodb:leadingkeys": [_queried(fields, region)]} if operation == "Query" else {}
        yield f"dynamodb:{operation}", resource, context


def key_names(table, region, index=None):
    """The names of a table's key attributes, or an index's: the partition key first."""
    name = table.rpartition("/")[2]
    try:
        known = dynamodb_backends[ACCOUNT][region].tables[name]
    except KeyError:
        return ["pk", "sk"]
    schema = next((one.schema for one in known.global_indexes if one.name == index), known.schema)
    return [one["AttributeName"] for one in sorted(schema, key=lambda one: one["KeyType"])]


def _item_context(spec, region):
    """The condition keys of a request for one item: its partition key and the attributes that it names."""
    key = spec.get("Key") or spec.get("Item") or {}
    partition = key_names(spec["TableName"], region)[0]
    if partition not in key:
        raise Unreadable(f"no partition key in {sorted(spec)}")
    return {
        "dynamodb:leadingkeys": [_text(key[partition])],
        "dynamodb:attributes": sorted(set(key) | _attributes(spec)),
        "dynamodb:returnvalues": spec.get("ReturnValues", "NONE"),
    }


def _attributes(spec):
    """The top-level attributes in the expressions of a request."""
    text = " ".join(spec.get(name, "") for name in EXPRESSIONS)
    text = re.sub(r":\w+|\w+\s*\(|\.[\w#]+", " ", text)
    found = {word for word in re.findall(r"#?[A-Za-z_]\w*", text) if word.upper() not in KEYWORDS}
    names = spec.get("ExpressionAttributeNames", {})
    return {names.get(word, word) for word in found}


def _queried(fields, region):
    """The partition key of a query."""
    partition, names = key_names(fields["TableName"], region, fields.get("IndexName"))[0], fields.get("ExpressionAttributeNames", {})
    for name, value in re.findall(r"(#?\w+)\s*=\s*(:\w+)", fields.get("KeyConditionExpression", "")):
        if names.get(name, name) == partition:
            return _text(fields["ExpressionAttributeValues"][value])
    raise Unreadable(f"no partition key in {fields.get('KeyConditionExpression')}")


def _written(one):
    ((_, spec),) = one.items()
    return spec.get("Key") or spec["Item"]


def _text(value):
    """A key as IAM compares it."""
    return str(next(iter(value.values())))


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
