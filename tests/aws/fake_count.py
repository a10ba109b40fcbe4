"""A function in the place of `count`, for the tests of the stand-in: it counts devices by version.

As `count` does, it keeps one tally for each stream shard and moves the position in the same write as the sums. So
batches that come again count once. Each third invocation fails after its write.
"""

import json
import os
import urllib.request

import boto3

API = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
tables, table = boto3.client("dynamodb", endpoint_url=os.environ["AWS_ENDPOINT_URL"]), os.environ["TIDEGATE_TABLE"]


def count(event):
    key = {"pk": {"S": "t#lamp"}, "sk": {"S": event["shardId"]}}
    tally = tables.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {})
    position = tally.get("pos", {"S": ""})["S"]
    sums = {name: int(number["N"]) for name, number in tally.items() if name.startswith("v")}
    last = position
    for record in event["Records"]:
        change = record["dynamodb"]
        at = change["SequenceNumber"].zfill(40)
        if at <= position:
            continue
        for image, step in (("OldImage", -1), ("NewImage", 1)):
            if image in change:
                name = change[image]["version"]["S"]
                sums[name] = sums.get(name, 0) + step
        last = max(last, at)
    if last != position:
        item = {**key, "pos": {"S": last}, **{name: {"N": str(number)} for name, number in sums.items()}}
        condition = "pos = :pos" if position else "attribute_not_exists(pos)"
        values = {"ExpressionAttributeValues": {":pos": {"S": position}}} if position else {}
        tables.put_item(TableName=table, Item=item, ConditionExpression=condition, **values)


invocations = 0
while True:
    with urllib.request.urlopen(f"{API}/next") as asked:
        request, event = asked.headers["lambda-runtime-aws-request-id"], json.load(asked)
    invocations += 1
    end, answer = "response", {"state": {}}
    try:
        if event["Records"]:
            count(event)
        if invocations % 3 == 0:
            raise RuntimeError("dies before it can acknowledge")
    except Exception as error:
        end, answer = "error", {"errorMessage": str(error), "errorType": "Error"}
    print(json.dumps({"event": {**event, "Records": len(event["Records"])}, "end": end}), flush=True)
    urllib.request.urlopen(urllib.request.Request(f"{API}/{request}/{end}", json.dumps(answer).encode())).close()
