"""Checks that every grant was used: a policy with unused grants is not least privilege."""

import json

from iam import as_list, glob

# Grants that no test can use, each with its reason. Keep this empty.
EXCEPTIONS = {}


def granted(entity, policy):
    """Every (entity, action, resource) that a policy document allows."""
    for statement in json.loads(policy)["Statement"]:
        for action in as_list(statement["Action"]):
            for resource in as_list(statement["Resource"]):
                yield entity, action, resource


def unused(grants, decisions):
    """The grants that no allowed decision needed."""
    allowed = [decision for decision in decisions if decision["allowed"]]
    return [
        grant for grant in grants if grant not in EXCEPTIONS and not any(_is_use(decision, *grant) for decision in allowed)
    ]  # fmt: skip


def _is_use(decision, entity, action, resource):
    return (
        decision["principal"] == entity
        and glob(action, decision["action"], ignore_case=True)
        and glob(resource, decision["resource"])
    )
