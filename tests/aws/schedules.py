"""Runs a schedule once on demand, with its role, retries and dead-letter queue from Terraform."""

import json

from moto.scheduler.models import scheduler_backends

import lambdas
from iam import ACCOUNT


def fire(name, region, endpoint):
    """Does what EventBridge Scheduler does at the time of a schedule. Returns the outcome."""
    groups = scheduler_backends[ACCOUNT][region].schedule_groups.values()
    schedule = next(group.schedules[name] for group in groups if name in group.schedules)
    if schedule.state != "ENABLED":
        return "disabled"
    target = schedule.target
    client = lambdas.as_role(target["RoleArn"], "scheduler.amazonaws.com", name, region, endpoint)
    payload = (target.get("Input") or json.dumps({"schedule": schedule.arn})).encode()
    for _ in range(1 + target["RetryPolicy"]["MaximumRetryAttempts"]):
        try:
            client("lambda").invoke(FunctionName=target["Arn"], InvocationType="Event", Payload=payload)
            return "delivered"
        except Exception as error:  # every kind of failure is tried again, and ends in the queue
            failed = str(error)
    queue = (target.get("DeadLetterConfig") or {}).get("Arn")
    if not queue:
        return f"lost: {failed}"
    client("sqs").send_message(QueueUrl=lambdas.queue_url(endpoint, queue), MessageBody=payload.decode())
    return "dead letter"
