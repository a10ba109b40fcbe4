"""Checks that every grant was used: a policy with unused grants is not least privilege."""

import json

from iam import as_list, glob

# Grants that no test can use, each with its reason. Keep this empty.
EXCEPTIONS = {}


def granted(entity, policy):
    """Everything that a policy document allows, as (entity, actions, resource, keys). One of the actions and one of the
    keys must be used: a statement for several kinds of items gives a grant for each action, and one for each kind."""
    for statement in json.loads(policy)["Statement"]:
        actions = tuple(as_list(statement["Action"]))
        condition = statement.get("Condition", {}).get("ForAllValues:StringLike", {})
        keys = tuple(as_list(condition.get("dynamodb:LeadingKeys", [])))
        for resource in as_list(statement["Resource"]):
            yield from ((entity, (action,), resource, keys) for action in actions)
            yield from ((entity, actions, resource, (key,)) for key in keys)


def unused(grants, decisions):
    """The grants that no allowed decision needed."""
    allowed = [decision for decision in decisions if decision["allowed"]]
    return [
        grant for grant in grants if grant not in EXCEPTIONS and not any(_is_use(decision, *grant) for decision in allowed)
    ]  # fmt: skip


def text(grant):
    entity, actions, resource, keys = grant
    return f"{entity} {' or '.join(actions)} {resource} {' or '.join(keys)}".strip()


def _is_use(decision, entity, actions, resource, keys):
    return (
        decision["principal"] == entity
        and any(glob(action, decision["action"], ignore_case=True) for action in actions)
        and glob(resource, decision["resource"])
        and (not keys or decision["key"] in keys)
    )
