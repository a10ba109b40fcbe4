"""Principals, their policies, and a record of every decision.

Moto has an IAM of its own, but it compares every statement with the resource `*`, so a policy that names
what it grants grants nothing there. This one reads actions, resources and conditions as AWS documents them.
"""

import collections
import dataclasses
import json
import operator
import re
import threading

from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.iam.models import iam_backends
from moto.s3.models import s3_backends
from moto.sts.models import sts_backends

# The key of Terraform and of the test itself. Everything is allowed and nothing is recorded.
ADMIN_KEY, ADMIN_SECRET = "standin-admin", "standin-admin-secret"


class Unreadable(Exception):
    """A policy uses an element that this evaluator does not know. A guess would make the test worthless."""


@dataclasses.dataclass(frozen=True)
class Principal:
    """The holder of an access key: an IAM user or a session of a role."""

    arn: str
    user_id: str
    entity: str  # the ARN of the user or the role itself
    access_key: str
    secret: str
    token: str | None

    @property
    def is_admin(self):
        return self.access_key == ADMIN_KEY

    def statements(self):
        """Every statement of its inline and attached policies."""
        backend, name = iam_backends[ACCOUNT]["aws"], self.entity.rsplit("/", 1)[-1]
        if ":role/" in self.entity:
            documents = [
                backend.get_role_policy(role_name=name, policy_name=p)[1] for p in backend.list_role_policies(name)
            ]
            attached = backend.get_role(name).managed_policies
        else:
            documents = [p["policy_document"] for p in _inline(backend, name)]
            attached = backend.get_user(name).managed_policies
        documents += [
            version.document for policy in attached.values() for version in policy.versions if version.is_default
        ]
        for document in documents:
            yield from as_list((json.loads(document) if isinstance(document, str) else document)["Statement"])


def _inline(backend, user):
    return [backend.get_user_policy(user, name) for name in backend.list_user_policies(user)]


ADMIN = Principal(
    f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", ADMIN_KEY, ADMIN_SECRET, None
)


def principal(access_key):
    """The holder of a key, or `None`."""
    if access_key == ADMIN_KEY:
        return ADMIN
    for role in sts_backends[ACCOUNT]["aws"].assumed_roles:
        if role.access_key_id == access_key:
            return Principal(
                role.arn, role.user_id, role.role_arn, access_key, role.secret_access_key, role.session_token
            )
    backend = iam_backends[ACCOUNT]["aws"]
    user = backend.get_user_from_access_key_id(access_key)
    if user is None:
        return None
    secret = next(key.secret_access_key for key in user.access_keys if key.access_key_id == access_key)
    return Principal(user.arn, user.id, user.arn, access_key, secret, None)


def assume(role_arn, service, session, region):
    """A session of a role for an AWS service, if the role's trust policy allows that service."""
    role = iam_backends[ACCOUNT]["aws"].get_role_by_arn(role_arn)
    context = {"aws:sourceaccount": ACCOUNT}
    trust = role.assume_role_policy_document
    trust = json.loads(trust) if isinstance(trust, str) else trust
    trusted = any(
        statement["Effect"] == "Allow"
        and "sts:AssumeRole" in as_list(statement["Action"])
        and service in as_list(statement["Principal"].get("Service", []))
        and conditions_hold(statement.get("Condition"), context)
        for statement in as_list(trust["Statement"])
    )
    DECISIONS.record(f"service:{service}", "sts:AssumeRole", role_arn, trusted)
    if not trusted:
        raise PermissionError(f"{role_arn} does not trust {service}")
    return sts_backends[ACCOUNT]["aws"].assume_role(
        region_name=region,
        role_session_name=session[:64],
        role_arn=role_arn,
        policy=None,
        duration=3600,
        external_id=None,
    )


def bucket_statements(bucket):
    """The statements of a bucket's policy."""
    known = s3_backends[ACCOUNT]["aws"].buckets.get(bucket)
    policy = getattr(known, "policy", None)
    return as_list(json.loads(policy)["Statement"]) if policy else []


# ---------------------------------------------------------------- rules: functions of values


def is_allowed(identity, resource_policy, principal_arn, action, resource, context):
    """Whether statements of the caller, and of the resource itself, allow an action. A Deny wins."""
    allowed = False
    for statement, is_of_resource in [(s, False) for s in identity] + [(s, True) for s in resource_policy]:
        if is_of_resource and not _concerns(statement["Principal"], principal_arn):
            continue
        if _covers(statement, action, resource) and conditions_hold(statement.get("Condition"), context):
            if statement["Effect"] == "Deny":
                return False
            allowed = True
    return allowed


def _concerns(whom, arn):
    return whom == "*" or any(glob(pattern, arn) for pattern in as_list(whom.get("AWS", [])))


def _covers(statement, action, resource):
    if "Action" in statement:
        is_action = any(glob(pattern, action, ignore_case=True) for pattern in as_list(statement["Action"]))
    else:
        is_action = not any(glob(pattern, action, ignore_case=True) for pattern in as_list(statement["NotAction"]))
    if "Resource" in statement:
        is_resource = any(glob(pattern, resource) for pattern in as_list(statement["Resource"]))
    else:
        is_resource = not any(glob(pattern, resource) for pattern in as_list(statement["NotResource"]))
    return is_action and is_resource


COMPARISONS = {
    "StringEquals": operator.eq,
    "StringEqualsIgnoreCase": lambda have, want: have.lower() == want.lower(),
    "StringLike": lambda have, want: glob(want, have),
    "ArnEquals": lambda have, want: glob(want, have),
    "ArnLike": lambda have, want: glob(want, have),
    "Bool": lambda have, want: have.lower() == want.lower(),
    "NumericEquals": lambda have, want: float(have) == float(want),
    "NumericLessThan": lambda have, want: float(have) < float(want),
    "NumericLessThanEquals": lambda have, want: float(have) <= float(want),
    "NumericGreaterThan": lambda have, want: float(have) > float(want),
    "NumericGreaterThanEquals": lambda have, want: float(have) >= float(want),
}


def conditions_hold(conditions, context):
    """Whether all conditions of a statement hold. `context` has lower-case keys."""
    return all(
        _holds(name, as_list(wanted), context.get(key.lower()))
        for name, keys in (conditions or {}).items()
        for key, wanted in keys.items()
    )


def _holds(name, wanted, have):
    if name == "Null":
        return (have is None) == (str(wanted[0]).lower() == "true")
    quantifier, _, name = name.rpartition(":")
    is_optional, name = name.endswith("IfExists"), name.removesuffix("IfExists")
    is_negated, name = "Not" in name, name.replace("Not", "")
    if name not in COMPARISONS:
        raise Unreadable(f"condition operator {name}")
    if have is None:
        # A negated condition is true if there is no value to compare (IAM reference).
        return is_optional or is_negated or quantifier == "ForAllValues"
    compare = COMPARISONS[name]
    hits = [any(compare(str(one), _text(want)) for want in wanted) for one in as_list(have)]
    if is_negated:
        return not any(hits)
    return all(hits) if quantifier == "ForAllValues" else any(hits)


def _text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def glob(pattern, value, ignore_case=False):
    """Whether a value matches a pattern with `*` and `?`."""
    if "${" in pattern:
        raise Unreadable(f"policy variable in {pattern}")
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.fullmatch("".join(parts), value, re.DOTALL | (re.IGNORECASE if ignore_case else 0)) is not None


def as_list(value):
    return value if isinstance(value, list) else [value]


# ---------------------------------------------------------------- the record


class Decisions:
    """Every decision and its count."""

    def __init__(self):
        self._counts = collections.Counter()
        self._lock = threading.Lock()

    def record(self, entity, action, resource, allowed, key=""):
        with self._lock:
            self._counts[entity, action, resource, allowed, key] += 1

    def take(self):
        """All decisions since the last call."""
        with self._lock:
            taken, self._counts = self._counts, collections.Counter()
        names = ("principal", "action", "resource", "allowed", "key")
        return [{**dict(zip(names, decision)), "count": count} for decision, count in sorted(taken.items())]


DECISIONS = Decisions()


def decide(who, action, resource, context):
    """Decides, and records it."""
    if who.is_admin:
        return True
    of_resource = (
        bucket_statements(resource.removeprefix("arn:aws:s3:::").split("/")[0]) if action.startswith("s3:") else []
    )
    allowed = is_allowed(list(who.statements()), of_resource, who.arn, action, resource, context)
    for key in sorted({kind(key) for key in context.get("dynamodb:leadingkeys", [])}) or [""]:
        DECISIONS.record(who.entity, action, resource, allowed, key)
    return allowed


def kind(key):
    """The kind of an item: the pattern that policies have for it. Other keys are their own pattern."""
    return f"{key[:2]}*" if re.match(r"[a-z]#", key) else key
