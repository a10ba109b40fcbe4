"""Tests of the stand-in itself. If it allowed too much, tests with it would show nothing."""

import contextlib
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile

from botocore.exceptions import ClientError

import actions
import flow
import grants
import iam
import lambdas
import refusals
import signature
import stack
import stream
from account import Account
from gateway import response, route_of
from operators import Answer, Operator, send

REGION = "eu-west-1"
TABLE = f"arn:aws:dynamodb:{REGION}:{iam.ACCOUNT}:table/lamps"


def allow(action, resource, **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action, resource, **more):
    return {**allow(action, resource, **more), "Effect": "Deny"}


def for_keys(*keys):
    return {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": list(keys)}}


class Rules(unittest.TestCase):
    """The evaluator: functions of values."""

    def check(self, statements, action, resource, expected, of_resource=(), **context):
        context = {name.replace("_", ":", 1): value for name, value in context.items()}
        got = iam.is_allowed(statements, list(of_resource), "arn:aws:iam::1:role/a", action, resource, context)
        self.assertEqual(got, expected, f"{statements} {action} {resource} {context}")

    def test_nothing_is_allowed_that_is_not_granted(self):
        self.check([], "s3:GetObject", "arn:aws:s3:::b/k", False)
        self.check([allow("s3:GetObject", "arn:aws:s3:::b/k")], "s3:GetObject", "arn:aws:s3:::b/k", True)
        self.check([allow("s3:GetObject", "arn:aws:s3:::b/k")], "s3:PutObject", "arn:aws:s3:::b/k", False)
        self.check([allow("s3:GetObject", "arn:aws:s3:::b/k")], "s3:GetObject", "arn:aws:s3:::b/k2", False)

    def test_wildcards(self):
        images = [allow(["s3:Get*"], ["arn:aws:s3:::b/images/*"])]
        self.check(images, "s3:GetObjectVersion", "arn:aws:s3:::b/images/lamp/1", True)
        self.check(images, "s3:GetObject", "arn:aws:s3:::b/truststore/ca", False)
        self.check(images, "s3:GetObject", "arn:aws:s3:::b/images", False)
        self.check([allow("S3:getobject", "*")], "s3:GetObject", "x", True)
        self.check([allow("s3:GetObject", "arn:aws:s3:::b/?")], "s3:GetObject", "arn:aws:s3:::b/ab", False)
        self.check([allow("s3:GetObject", "arn:aws:s3:::b.c/*")], "s3:GetObject", "arn:aws:s3:::bxc/k", False)

    def test_a_table_is_not_its_index(self):
        self.check([allow("dynamodb:Query", TABLE)], "dynamodb:Query", f"{TABLE}/index/versions", False)
        self.check([allow("dynamodb:Query", f"{TABLE}/index/*")], "dynamodb:Query", TABLE, False)

    def test_deny_wins_wherever_it_stands(self):
        both = [deny("s3:*", "*"), allow("s3:GetObject", "*")]
        self.check(both, "s3:GetObject", "k", False)
        self.check(both[::-1], "s3:GetObject", "k", False)
        everyone = {**deny("s3:*", "*"), "Principal": "*"}
        self.check([allow("s3:GetObject", "*")], "s3:GetObject", "k", False, of_resource=[everyone])
        other = {**deny("s3:*", "*"), "Principal": {"AWS": "arn:aws:iam::1:role/b"}}
        self.check([allow("s3:GetObject", "*")], "s3:GetObject", "k", True, of_resource=[other])

    def test_conditions(self):
        tls = [allow("s3:*", "*"), deny("s3:*", "*", Condition={"Bool": {"aws:SecureTransport": "false"}})]
        self.check(tls, "s3:GetObject", "k", True, aws_securetransport="true")
        self.check(tls, "s3:GetObject", "k", False, aws_securetransport="false")
        young = [allow("s3:*", "*"), deny("s3:*", "*", Condition={"NumericGreaterThan": {"s3:signatureAge": "900000"}})]
        self.check(young, "s3:GetObject", "k", True, s3_signatureage="900000")
        self.check(young, "s3:GetObject", "k", False, s3_signatureage="900001")
        named = [allow("s3:*", "*", Condition={"StringEquals": {"a:b": ["x", "y"]}})]
        self.check(named, "s3:GetObject", "k", True, a_b="y")
        self.check(named, "s3:GetObject", "k", False, a_b="z")
        self.check(named, "s3:GetObject", "k", False)
        optional = [allow("s3:*", "*", Condition={"StringEqualsIfExists": {"a:b": "x"}})]
        self.check(optional, "s3:GetObject", "k", True)
        self.check([allow("s3:*", "*", Condition={"StringNotEquals": {"a:b": "x"}})], "s3:GetObject", "k", True)

    def test_what_is_not_understood_is_an_error_and_no_answer(self):
        with self.assertRaises(iam.Unreadable):
            iam.conditions_hold({"DateLessThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}, {})
        with self.assertRaises(iam.Unreadable):
            iam.glob("arn:aws:s3:::b/${aws:username}/*", "arn:aws:s3:::b/ada/k")

    def test_a_transaction_needs_the_actions_of_its_items(self):
        item = {"TableName": "lamps", "Key": {"pk": {"S": "1"}}}
        body = json.dumps({"TransactItems": [{"Put": item}, {"Update": item}, {"ConditionCheck": item}]}).encode()
        needed = actions.needed(
            "dynamodb", REGION, "POST", "/", "", {"x-amz-target": "DynamoDB_20120810.TransactWriteItems"}, body
        )
        self.assertEqual(
            [action for action, _, _ in needed],
            ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:ConditionCheckItem"],
        )
        self.assertEqual({resource for _, resource, _ in needed}, {TABLE})

    def test_a_version_of_an_object_is_an_action_of_its_own(self):
        ((action, resource, _),) = actions.needed(
            "s3", REGION, "GET", "/b/images/a%2Bb", "versionId=1&X-Amz-Date=x", {}, b""
        )
        self.assertEqual((action, resource), ("s3:GetObjectVersion", "arn:aws:s3:::b/images/a+b"))

    def test_an_upload_in_parts_needs_the_right_to_write_the_object(self):
        for method, path, query, expected in [
            ("POST", "/b/k", "uploads", "PutObject"),
            ("PUT", "/b/k", "partNumber=1&uploadId=u", "PutObject"),
            ("POST", "/b/k", "uploadId=u", "PutObject"),
            ("GET", "/b/k", "uploadId=u", "ListMultipartUploadParts"),
            ("DELETE", "/b/k", "uploadId=u", "AbortMultipartUpload"),
            ("GET", "/b", "uploads&prefix=k", "ListBucketMultipartUploads"),
        ]:
            ((action, _, _),) = actions.needed("s3", REGION, method, path, query, {}, b"")
            self.assertEqual(action, f"s3:{expected}", f"{method} {query}")

    def test_a_grant_that_nobody_needed_is_found(self):
        granted = list(
            grants.granted("role", json.dumps({"Statement": [allow(["s3:GetObject", "s3:PutObject"], ["b/*"])]}))
        )
        used = {"principal": "role", "action": "s3:GetObject", "resource": "b/k", "allowed": True, "key": ""}
        self.assertEqual(grants.unused(granted, [used]), [("role", ("s3:PutObject",), "b/*", ())])
        self.assertEqual(len(grants.unused(granted, [{**used, "allowed": False}])), 2)
        self.assertEqual(len(grants.unused(granted, [{**used, "principal": "other"}])), 2)


    def test_each_action_and_each_kind_of_item_of_a_statement_must_be_used(self):
        statement = allow(["dynamodb:GetItem", "dynamodb:Query"], TABLE, Condition=for_keys("d#*", "p#*"))
        granted = list(grants.granted("role", json.dumps({"Statement": [statement]})))

        def used(action, key):
            return {"principal": "role", "action": action, "resource": TABLE, "allowed": True, "key": key}

        both = [used("dynamodb:GetItem", "d#*"), used("dynamodb:Query", "p#*")]
        self.assertEqual(grants.unused(granted, both), [])
        (left,) = grants.unused(granted, [used("dynamodb:GetItem", "d#*"), used("dynamodb:GetItem", "p#*")])
        self.assertEqual(grants.text(left), f"role dynamodb:Query {TABLE} d#* or p#*")
        (left,) = grants.unused(granted, [used("dynamodb:GetItem", "d#*"), used("dynamodb:Query", "d#*")])
        self.assertEqual(grants.text(left), f"role dynamodb:GetItem or dynamodb:Query {TABLE} p#*")

    def test_a_statement_is_for_some_kinds_of_items(self):
        devices = [allow("dynamodb:UpdateItem", TABLE, Condition=for_keys("d#*"))]
        for keys, expected in ((["d#lamp#1"], True), (["s#lamp#1#00"], False), (["d#lamp#1", "p#lamp"], False)):
            self.check(devices, "dynamodb:UpdateItem", TABLE, expected, dynamodb_leadingkeys=keys)

    def test_every_request_names_its_partition_keys_and_attributes(self):
        def context(operation, **fields):
            target = {"x-amz-target": f"DynamoDB_20120810.{operation}"}
            return [
                more for _, _, more in actions.needed("dynamodb", REGION, "POST", "/", "", target, json.dumps(fields).encode())
            ]

        key = {"pk": {"S": "p#lamp"}, "sk": {"S": "head"}}
        item = {"TableName": "lamps", "Key": key}
        for operation, fields, expected in (
            ("GetItem", item, ["p#lamp"]),
            ("PutItem", {"TableName": "lamps", "Item": {**key, "x": {"N": "1"}}}, ["p#lamp"]),
            ("UpdateItem", item, ["p#lamp"]),
            ("DeleteItem", item, ["p#lamp"]),
            ("BatchGetItem", {"RequestItems": {"lamps": {"Keys": [key, {**key, "pk": {"S": "d#lamp#1"}}]}}}, ["d#lamp#1", "p#lamp"]),
            ("BatchWriteItem", {"RequestItems": {"lamps": [{"PutRequest": {"Item": key}}]}}, ["p#lamp"]),
        ):
            self.assertEqual(context(operation, **fields)[0]["dynamodb:leadingkeys"], expected, operation)
        query = {"TableName": "lamps", "ExpressionAttributeValues": {":p": {"S": "t#lamp"}, ":s": {"S": "!"}}}
        for text, names in (("pk = :p AND begins_with(sk, :s)", {}), ("sk > :s AND #k = :p", {"#k": "pk"})):
            asked = context("Query", **query, KeyConditionExpression=text, ExpressionAttributeNames=names)
            self.assertEqual(asked[0]["dynamodb:leadingkeys"], ["t#lamp"], text)
        two = [{"Put": {"TableName": "lamps", "Item": key}}, {"Update": {**item, "Key": {**key, "pk": {"S": "x#lamp"}}}}]
        asked = context("TransactWriteItems", TransactItems=two)
        self.assertEqual([one["dynamodb:leadingkeys"] for one in asked], [["p#lamp"], ["x#lamp"]])
        with self.assertRaises(actions.Unreadable):
            context("Query", **query, KeyConditionExpression="begins_with(pk, :p)")
        written = {
            "UpdateExpression": "SET claims.#c = if_not_exists(claims.#c, :a), rev = rev + :b REMOVE was",
            "ConditionExpression": "attribute_exists(pk) AND NOT (#on IN (:a, :b))",
            "ExpressionAttributeNames": {"#c": "7", "#on": "on"},
        }
        asked = context("UpdateItem", **item, **written)
        self.assertEqual(asked[0]["dynamodb:attributes"], ["claims", "on", "pk", "rev", "sk", "was"])


class Refused(unittest.TestCase):
    """Writes that DynamoDB refuses by chance or because a partition is busy."""

    def writes(self, operation, *keys):
        specs = [{"TableName": "lamps", "Key": {"pk": {"S": pk}, "sk": {"S": "x"}}} for pk in keys]
        fields = {"TransactItems": [{"Update": spec} for spec in specs]} if operation == "TransactWriteItems" else specs[0]
        return operation, refusals.writes(operation, fields, lambda _: ["pk", "sk"]), TABLE

    def kind(self, body):
        return body and body["__type"].partition("#")[2]

    def test_only_items_that_a_transaction_named_are_held(self):
        refused = refusals.Refusals(chance=1.0)
        self.assertIsNone(refused.refuse(*self.writes("UpdateItem", "s#1")))
        self.assertIsNone(refused.refuse(*self.writes("TransactWriteItems", "d#1", "s#1")))
        for operation in ("UpdateItem", "PutItem", "DeleteItem"):
            self.assertEqual(self.kind(refused.refuse(*self.writes(operation, "s#1"))), "TransactionConflictException")
        self.assertIsNone(refused.refuse(*self.writes("UpdateItem", "t#1")))
        self.assertIsNone(refused.refuse(*self.writes("GetItem", "s#1")))
        cancelled = refused.refuse(*self.writes("TransactWriteItems", "d#2", "s#1"))
        self.assertEqual(self.kind(cancelled), "TransactionCanceledException")
        self.assertEqual([reason["Code"] for reason in cancelled["CancellationReasons"]], ["None", "TransactionConflict"])

    def test_the_chance_is_what_it_says_and_the_seed_repeats_it(self):
        def refused(seed):
            some = refusals.Refusals(seed, 0.2)
            some.refuse(*self.writes("TransactWriteItems", "s#1"))
            return [some.refuse(*self.writes("UpdateItem", "s#1")) is not None for _ in range(1000)]

        self.assertTrue(150 < sum(refused(1)) < 250)
        self.assertEqual(refused(1), refused(1))
        self.assertNotEqual(refused(1), refused(2))

    def test_a_partition_key_takes_its_units_a_second_and_no_other_suffers(self):
        now = [0.0]
        refused = refusals.Refusals(units=10, clock=lambda: now[0])
        hot, other = self.writes("UpdateItem", "s#1"), self.writes("UpdateItem", "s#2")
        kinds = set()
        for _ in range(5):
            self.assertIsNone(refused.refuse(*hot))
            refused.spend(hot[1], [2])
        for _ in range(50):
            body = refused.refuse(*hot)
            kinds.add(self.kind(body))
            (reasons,) = [value for name, value in body.items() if name.lower() == "throttlingreasons"]
            self.assertEqual(reasons[0]["reason"], "TableWriteKeyRangeThroughputExceeded")
        self.assertEqual(kinds, {"ThrottlingException", "ProvisionedThroughputExceededException"})
        self.assertIsNone(refused.refuse(*other))
        cancelled = refused.refuse(*self.writes("TransactWriteItems", "s#2", "s#1"))
        self.assertEqual([reason["Code"] for reason in cancelled["CancellationReasons"]], ["None", "ThrottlingError"])
        now[0] = 1.01
        self.assertIsNone(refused.refuse(*hot))

    def test_a_transaction_costs_twice(self):
        self.assertEqual([refusals.units(size, "UpdateItem") for size in (0, 1024, 1025)], [1, 1, 2])
        self.assertEqual(refusals.units(1025, "TransactWriteItems"), 4)


class Signatures(unittest.TestCase):
    def test_the_example_of_the_signature_documentation(self):
        """GET ?lifecycle of the S3 reference, "Examples: Signature Calculations"."""
        headers = {
            "host": "examplebucket.s3.amazonaws.com",
            "x-amz-content-sha256": signature.hashlib.sha256(b"").hexdigest(),
            "x-amz-date": "20130524T000000Z",
        }
        headers["authorization"] = (
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
            "SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        )
        signed = signature.read("lifecycle", headers)
        secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
        self.assertEqual(signature.signature(signed, secret, "GET", "/", "lifecycle", headers, b""), signed.signature)
        self.assertNotEqual(signature.signature(signed, secret, "GET", "/", "lifecycl", headers, b""), signed.signature)
        self.assertNotEqual(
            signature.signature(signed, secret, "PUT", "/", "lifecycle", headers, b""), signed.signature
        )

    def test_a_body_that_is_not_the_signed_one_is_refused(self):
        signed = signature.Signed("k", "20130524", REGION, "execute-api", ["host"], "", None, None, None)
        with self.assertRaises(signature.Refused):
            signature.payload_hash(signed, {"x-amz-content-sha256": "0" * 64}, b"other")


class Shapes(unittest.TestCase):
    def test_the_most_specific_route_answers(self):
        class Api:
            routes = {
                key: type("Route", (), {"route_key": key}) for key in ("GET /p/{id}", "GET /p/new", "ANY /{all+}")
            }

        check = lambda method, path, key: self.assertEqual(route_of(Api, method, path)[0].route_key, key)  # noqa: E731
        check("GET", "/p/new", "GET /p/new")
        check("GET", "/p/7", "GET /p/{id}")
        check("GET", "/p/7/x", "ANY /{all+}")
        self.assertEqual(route_of(Api, "GET", "/p/7")[1], {"id": "7"})

    def test_a_filter_chooses_records_by_their_keys(self):
        def one(sk):
            return {"eventName": "INSERT", "dynamodb": {"Keys": {"pk": {"S": "d#lamp#1"}, "sk": {"S": sk}}}}

        criteria = {"Filters": [{"Pattern": json.dumps({"dynamodb": {"Keys": {"sk": {"S": ["device", {"prefix": "update#"}]}}}})}]}
        self.assertEqual([stream.passes(criteria, one(sk)) for sk in ("device", "update#1.0.0", "doc")], [True, True, False])
        self.assertTrue(stream.passes(None, one("doc")))
        begins = {"Filters": [{"Pattern": json.dumps({"dynamodb": {"Keys": {"pk": {"S": [{"prefix": "d#"}]}}}})}]}
        self.assertTrue(stream.passes(begins, one("doc")))
        with self.assertRaises(iam.Unreadable):
            stream.passes({"Filters": [{"Pattern": json.dumps({"eventName": [{"exists": True}]})}]}, one("doc"))

    def test_an_answer_in_base64_is_bytes(self):
        self.assertEqual(response({"statusCode": 200, "body": "aGk=", "isBase64Encoded": True}), (200, [], b"hi"))

    def test_a_bootstrap_that_is_not_executable_stays_so(self):
        for mode in (0o755, 0o644):
            zipped = io.BytesIO()
            with zipfile.ZipFile(zipped, "w") as archive:
                entry = zipfile.ZipInfo("bootstrap")
                entry.external_attr = mode << 16
                archive.writestr(entry, b"#!/bin/sh\n")
            with tempfile.TemporaryDirectory() as folder:
                lambdas.unpack(zipped.getvalue(), folder)
                self.assertEqual((pathlib.Path(folder) / "bootstrap").stat().st_mode & 0o777, mode)

    def test_protection_is_lifted_where_it_is_and_nowhere_else(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "a.tf"
            path.write_text(
                'resource "t" "kept" {\n  lifecycle {\n    prevent_destroy = true\n  }\n}\n\nresource "t" "other" {\n}\n'
            )
            stack.lift_protection(pathlib.Path(folder))
            override = (pathlib.Path(folder) / "a_lift_override.tf").read_text()
            self.assertIn('"kept"', override)
            self.assertNotIn('"other"', override)


PK_AND_SK = {
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
    "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in (("pk", "HASH"), ("sk", "RANGE"))],
    "BillingMode": "PAY_PER_REQUEST",
}


def script(path):
    """A zip for Lambda with a Python script as its `bootstrap`."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        archive.writestr(entry, f"#!{sys.executable}\n{path.read_text()}")
    return zipped.getvalue()


class Waiting(unittest.TestCase):
    """How the flow waits: for numbers, and for a stop that is complete."""

    def world(self, *answers):
        class Person:
            left, asked = list(answers), []

            def call(self, *call):
                self.asked.append(call)
                status, body = self.left.pop(0) if len(self.left) > 1 else self.left[0]
                return Answer(status, json.dumps(body).encode(), {})

        person = Person()
        return flow.World(flow.Checks(), None, {}, "", "", REGION, {"publisher": person, "viewer": person}, None, None), person

    def test_a_stop_is_asked_for_until_nothing_is_left(self):
        left = {"state": "active", "wanted": "pause", "shards_left": 2}
        world, person = self.world((202, left), (202, {**left, "shards_left": 1}), (200, {"state": "paused"}))
        answer, _ = world.steer("publisher", "POST", "/updates/1.0.0/pause", {"reason": "x"})
        self.assertEqual((answer, world.checks.failed), ({"state": "paused"}, []))
        self.assertEqual(len(set(map(str, person.asked))), 1)

    def test_a_stop_that_comes_too_early_is_a_failure(self):
        world, _ = self.world((200, {"state": "paused"}))
        with contextlib.redirect_stdout(io.StringIO()):
            world.stop("publisher", "/stop", "x")
        self.assertEqual(len(world.checks.failed), 1)

    def test_numbers_are_waited_for(self):
        late = {"offered": 1, "as_of": "2026-01-01T00:00:00Z"}
        world, person = self.world((200, {"offered": 0}), (200, {"offered": 0}), (200, late))
        self.assertEqual((world.counted("1.0.0", offered=1), world.checks.failed), (late, []))
        self.assertEqual(len(person.asked), 3)

    def test_an_item_grows_older_and_nothing_else_of_it_changes(self):
        now, times = 1_800_000_000, {"seen": "1800000000", "at": "1799999999000", "ns": "1800000000000000000"}
        item = {name: {"N": text} for name, text in times.items()}
        item |= {"rev": {"N": "7"}, "id": {"S": "quiet-1"}, "was": {"S": "2027-01-15T08:00:00Z"}}
        claim = {"e": {"N": "3"}, "at": {"N": "1800000000"}, "list": {"L": [{"N": "1800000000"}]}}
        moved = flow.older({**item, "claims": {"M": {"1": {"M": claim}}}}, 420, now)
        self.assertEqual([moved[name]["N"] for name in times], ["1799999580", "1799999579000", "1799999580000000000"])
        self.assertEqual((moved["rev"], moved["id"], moved["was"]), ({"N": "7"}, {"S": "quiet-1"}, {"S": "2027-01-15T07:53:00Z"}))
        moved = moved["claims"]["M"]["1"]["M"]
        self.assertEqual((moved["e"], moved["at"], moved["list"]["L"]), ({"N": "3"}, {"N": "1799999580"}, [{"N": "1799999580"}]))


class OverHttp(unittest.TestCase):
    """Answers of a running stand-in to a role and to an unknown caller."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        command = [
            sys.executable,
            str(pathlib.Path(__file__).with_name("standin.py")),
            cls.folder.name,
            "--region",
            REGION,
        ]
        cls.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        addresses = json.loads(cls.process.stdout.readline())
        cls.endpoint, cls.gateway = addresses["endpoint"], addresses["gateway"]
        cls.account = Account(cls.endpoint, REGION)
        tables, buckets, roles = (cls.account.client(service) for service in ("dynamodb", "s3", "iam"))
        keys = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "other")]
        schema = [{"AttributeName": "pk", "KeyType": "HASH"}]
        index = {
            "IndexName": "versions",
            "KeySchema": [{"AttributeName": "other", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
        for name in ("lamps", "doors"):
            tables.create_table(
                TableName=name,
                AttributeDefinitions=keys,
                KeySchema=schema,
                BillingMode="PAY_PER_REQUEST",
                GlobalSecondaryIndexes=[index],
            )
        buckets.create_bucket(Bucket="bytes", CreateBucketConfiguration={"LocationConstraint": REGION})
        tls = {
            **deny("s3:*", ["arn:aws:s3:::bytes/*"], Condition={"Bool": {"aws:SecureTransport": "false"}}),
            "Principal": "*",
        }
        buckets.put_bucket_policy(Bucket="bytes", Policy=json.dumps({"Version": "2012-10-17", "Statement": [tls]}))
        for key in ("images/a", "private/a"):
            buckets.put_object(Bucket="bytes", Key=key, Body=b"hi")
        may = [
            allow(["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"], [TABLE]),
            allow(["s3:GetObject", "s3:PutObject"], ["arn:aws:s3:::bytes/images/*"]),
            allow(["lambda:InvokeFunction"], [f"arn:aws:lambda:{REGION}:{iam.ACCOUNT}:function:f:live"]),
        ]
        cls.roles = {}
        for name, statements in (("some", may), ("lister", [*may, allow(["s3:ListBucket"], ["arn:aws:s3:::bytes"])])):
            arn = roles.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
            roles.put_role_policy(
                RoleName=name,
                PolicyName="p",
                PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements}),
            )
            cls.roles[name] = cls.account.as_role(arn)

    def role(self, name, *statements, is_arn=False):
        """The key of a new role with these statements, or its ARN."""
        roles = self.account.client("iam")
        trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
        arn = roles.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        roles.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document)
        return arn if is_arn else self.account.as_role(arn)

    @classmethod
    def tearDownClass(cls):
        cls.process.communicate(timeout=20)  # the end of its standard input ends it
        cls.folder.cleanup()

    def code(self, service, operation, key=None, **arguments):
        try:
            getattr(self.account.client(service, key or self.roles["some"]), operation)(**arguments)
        except ClientError as error:
            return error.response["Error"]["Code"]
        return "allowed"

    def test_dynamodb(self):
        key, denied = {"pk": {"S": "1"}}, "AccessDeniedException"
        query = {"KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": "1"}}}
        for operation, arguments, expected in (
            ("get_item", {"TableName": "lamps", "Key": key}, "allowed"),
            ("get_item", {"TableName": TABLE, "Key": key}, "allowed"),
            ("get_item", {"TableName": "doors", "Key": key}, denied),
            ("put_item", {"TableName": "lamps", "Item": key}, "allowed"),
            ("delete_item", {"TableName": "lamps", "Key": key}, denied),
            ("update_item", {"TableName": "lamps", "Key": key}, denied),
            ("query", {"TableName": "lamps", **query}, "allowed"),
            (
                "query",
                {
                    "TableName": "lamps",
                    "IndexName": "versions",
                    "KeyConditionExpression": "other = :p",
                    "ExpressionAttributeValues": {":p": {"S": "1"}},
                },
                denied,
            ),
            ("scan", {"TableName": "lamps"}, denied),
            ("transact_write_items", {"TransactItems": [{"Put": {"TableName": "lamps", "Item": key}}]}, "allowed"),
            (
                "transact_write_items",
                {
                    "TransactItems": [
                        {"Put": {"TableName": "lamps", "Item": key}},
                        {"Delete": {"TableName": "lamps", "Key": {"pk": {"S": "2"}}}},
                    ]
                },
                denied,
            ),
            ("transact_write_items", {"TransactItems": [{"Put": {"TableName": "doors", "Item": key}}]}, denied),
            ("list_tables", {}, denied),
        ):
            self.assertEqual(self.code("dynamodb", operation, **arguments), expected, f"{operation} {arguments}")

    def test_s3(self):
        for operation, arguments, expected in (
            ("get_object", {"Key": "images/a"}, "allowed"),
            ("get_object", {"Key": "private/a"}, "AccessDenied"),
            ("get_object", {"Key": "images/a", "VersionId": "null"}, "AccessDenied"),
            ("put_object", {"Key": "images/b", "Body": b"x"}, "allowed"),
            ("put_object", {"Key": "private/b", "Body": b"x"}, "AccessDenied"),
            ("delete_object", {"Key": "images/b"}, "AccessDenied"),
            ("list_objects_v2", {}, "AccessDenied"),
            # Only callers that may list get 404.
            ("get_object", {"Key": "images/none"}, "AccessDenied"),
            ("head_object", {"Key": "images/none"}, "403"),
        ):
            self.assertEqual(
                self.code("s3", operation, Bucket="bytes", **arguments), expected, f"{operation} {arguments}"
            )
        self.assertEqual(
            self.code("s3", "get_object", self.roles["lister"], Bucket="bytes", Key="images/none"), "NoSuchKey"
        )
        self.assertEqual(self.code("s3", "head_object", self.roles["lister"], Bucket="bytes", Key="images/none"), "404")
        # A deleted object does not exist, although its versions do.
        buckets = self.account.client("s3")
        buckets.put_bucket_versioning(Bucket="bytes", VersioningConfiguration={"Status": "Enabled"})
        buckets.delete_object(Bucket="bytes", Key="images/b")
        self.assertEqual(self.code("s3", "get_object", Bucket="bytes", Key="images/b"), "AccessDenied")
        self.assertEqual(
            self.code("s3", "get_object", self.roles["lister"], Bucket="bytes", Key="images/b"), "NoSuchKey"
        )

    def test_presigned_urls(self):
        def url(key, seconds=60):
            return self.account.client("s3", self.roles["some"]).generate_presigned_url(
                "get_object", Params={"Bucket": "bytes", "Key": key}, ExpiresIn=seconds
            )

        good = url("images/a")
        self.assertEqual(send("GET", good).body, b"hi")
        self.assertEqual(send("GET", good, headers={"x-standin-plain-http": "1"}).status, 403)
        self.assertEqual(send("GET", good.replace("images/a", "images/b")).status, 403)
        self.assertEqual(send("PUT", good, b"x").status, 403)
        self.assertEqual(send("GET", url("private/a")).status, 403)
        self.assertEqual(send("GET", url("images/a", -60)).status, 403)
        self.assertEqual(send("GET", f"{self.endpoint}/bytes/images/a").status, 403)

    def test_other_services(self):
        self.assertEqual(self.code("iam", "list_roles"), "AccessDenied")
        self.assertEqual(self.code("secretsmanager", "get_secret_value", SecretId="any"), "AccessDeniedException")
        self.assertEqual(self.code("lambda", "invoke", FunctionName="f"), "AccessDeniedException")
        self.assertEqual(self.code("lambda", "invoke", FunctionName="f", Qualifier="live"), "ResourceNotFoundException")
        self.assertEqual(self.code("sts", "get_caller_identity"), "allowed")

    def test_keys_that_are_not_good(self):
        access_key, secret, token = self.roles["some"]
        for key in (
            (access_key, "x" * 40, token),
            (access_key, secret, "other"),
            (access_key, secret, None),
            ("AKIAUNKNOWN000000000", secret, None),
        ):
            self.assertNotEqual(
                self.code("dynamodb", "get_item", key, TableName="lamps", Key={"pk": {"S": "1"}}), "allowed"
            )

    def test_decisions_are_recorded_once_with_their_number(self):
        send("GET", f"{self.endpoint}/standin/decisions")
        for _ in range(3):
            self.code("dynamodb", "scan", TableName="lamps")
        self.code("dynamodb", "get_item", TableName="lamps", Key={"pk": {"S": "1"}})
        self.account.client("dynamodb").scan(TableName="lamps")  # the administrator's are nobody's business
        taken = [
            (d["action"], d["allowed"], d["count"]) for d in send("GET", f"{self.endpoint}/standin/decisions").json
        ]
        self.assertEqual(taken, [("dynamodb:GetItem", True, 1), ("dynamodb:Scan", False, 3)])
        self.assertEqual(send("GET", f"{self.endpoint}/standin/decisions").json, [])

    def test_the_kind_of_each_item_decides(self):
        name, denied = "roll", "AccessDeniedException"
        arn = TABLE.replace("lamps", name)
        self.account.client("dynamodb").create_table(TableName=name, **PK_AND_SK)
        attributes = {"ForAllValues:StringEquals": {"dynamodb:Attributes": ["catalog_name", "pk", "sk"]}}
        key = self.role(
            "devices",
            allow(["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"], arn, Condition=for_keys("d#*")),
            allow("dynamodb:UpdateItem", arn, Condition={**for_keys("p#*"), **attributes}),
        )

        def item(pk):
            return {"pk": {"S": pk}, "sk": {"S": "x"}}

        def put(pk):
            return {"Put": {"TableName": name, "Item": item(pk)}}

        def query(pk):
            return {"KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": pk}}}

        def update(attribute):
            return {"UpdateExpression": f"SET {attribute} = :v", "ExpressionAttributeValues": {":v": {"N": "1"}}}

        for operation, arguments, expected in (
            ("get_item", {"Key": item("d#lamp#1")}, "allowed"),
            ("get_item", {"Key": item("s#lamp#1#00")}, denied),
            ("put_item", {"Item": item("d#lamp#1")}, "allowed"),
            ("put_item", {"Item": item("x#lamp")}, denied),
            ("query", query("d#lamp#1"), "allowed"),
            ("query", query("t#lamp"), denied),
            ("update_item", {"Key": item("p#lamp"), **update("catalog_name")}, "allowed"),
            ("update_item", {"Key": item("p#lamp"), **update("stopped")}, denied),
            ("scan", {}, denied),
        ):
            self.assertEqual(self.code("dynamodb", operation, key, TableName=name, **arguments), expected, f"{operation} {arguments}")
        before = send("GET", f"{self.endpoint}/standin/transactions").json
        for pks, expected in ((["d#lamp#1", "d#lamp#2"], "allowed"), (["d#lamp#1", "s#lamp#1#00"], denied)):
            self.assertEqual(self.code("dynamodb", "transact_write_items", key, TransactItems=[put(pk) for pk in pks]), expected, pks)
        after = send("GET", f"{self.endpoint}/standin/transactions").json
        self.assertEqual({kinds: count for kinds, count in after.items() if kinds not in before}, {"d#* d#*": 1})

    def test_a_service_can_be_down_for_roles(self):
        send("POST", f"{self.endpoint}/standin/outages/s3")
        try:
            client = self.account.client("s3", self.roles["some"])
            with self.assertRaises(ClientError) as raised:
                client.get_object(Bucket="bytes", Key="images/a")
            self.assertEqual(raised.exception.response["ResponseMetadata"]["HTTPStatusCode"], 503)
            self.assertEqual(self.code("dynamodb", "get_item", TableName="lamps", Key={"pk": {"S": "1"}}), "allowed")
            self.account.client("s3").get_object(Bucket="bytes", Key="images/a")
        finally:
            send("POST", f"{self.endpoint}/standin/outages/none")
        self.assertEqual(self.code("s3", "get_object", Bucket="bytes", Key="images/a"), "allowed")

    def test_writes_meet_transactions_and_busy_partitions(self):
        key = {"pk": {"S": "held"}}
        put = {"Put": {"TableName": "lamps", "Item": key}}
        self.assertEqual(self.code("dynamodb", "transact_write_items", TransactItems=[put]), "allowed")
        send("POST", f"{self.endpoint}/standin/conflicts/1")
        try:
            self.assertEqual(self.code("dynamodb", "put_item", TableName="lamps", Item=key), "TransactionConflictException")
            self.assertEqual(self.code("dynamodb", "get_item", TableName="lamps", Key=key), "allowed")
            client = self.account.client("dynamodb", self.roles["some"])
            with self.assertRaises(client.exceptions.TransactionCanceledException) as raised:
                client.transact_write_items(TransactItems=[put])
            self.assertEqual(raised.exception.response["CancellationReasons"][0]["Code"], "TransactionConflict")
            # The administrator's writes are no part of the test.
            self.account.client("dynamodb").put_item(TableName="lamps", Item=key)
        finally:
            send("POST", f"{self.endpoint}/standin/conflicts/0")
        self.assertEqual(self.code("dynamodb", "put_item", TableName="lamps", Item=key), "allowed")
        self.assertGreaterEqual(send("GET", f"{self.endpoint}/standin/refusals").json["conflicts"], 2)

    def test_every_change_is_counted_once_from_the_stream(self):
        """Two stream shards, batches that fail and come again: the sums are those of the table."""
        name = "fleet"
        arn, tables, functions = TABLE.replace("lamps", name), self.account.client("dynamodb"), self.account.client("lambda")
        made = tables.create_table(
            TableName=name, **PK_AND_SK, StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        )
        read = [f"dynamodb:{read}" for read in stream.READS]
        role = self.role(
            "count",
            allow(["dynamodb:GetItem", "dynamodb:PutItem"], arn, Condition=for_keys("t#*")),
            allow(read, f"{arn}/stream/*"),
            allow(["logs:CreateLogStream", "logs:PutLogEvents"], f"arn:aws:logs:{REGION}:{iam.ACCOUNT}:log-group:/aws/lambda/count:*"),
            is_arn=True,
        )
        self.account.client("logs").create_log_group(logGroupName="/aws/lambda/count")
        function = functions.create_function(
            FunctionName="count", Runtime="provided.al2023", Role=role, Handler="bootstrap", Publish=True, Timeout=30,
            Code={"ZipFile": script(pathlib.Path(__file__).with_name("fake_count.py"))},
            Environment={"Variables": {"TIDEGATE_TABLE": name}},
        )  # fmt: skip
        alias = functions.create_alias(FunctionName="count", Name="live", FunctionVersion=function["Version"])["AliasArn"]
        pattern = json.dumps({"dynamodb": {"Keys": {"sk": {"S": ["device"]}}}})

        def device(number, version):
            return {"pk": {"S": f"d#lamp#{number}"}, "sk": {"S": "device"}, "version": {"S": version}}

        for number in range(20):  # what was there before the function counts too
            tables.put_item(TableName=name, Item=device(number, "v1"))
        send("POST", f"{self.endpoint}/standin/repeats/0.5")
        send("GET", f"{self.endpoint}/standin/decisions")
        mapping = functions.create_event_source_mapping(
            EventSourceArn=made["TableDescription"]["LatestStreamArn"], FunctionName=alias, StartingPosition="TRIM_HORIZON",
            BatchSize=7, MaximumBatchingWindowInSeconds=5, TumblingWindowInSeconds=100, MaximumRetryAttempts=-1,
            FilterCriteria={"Filters": [{"Pattern": pattern}]},
        )  # fmt: skip
        self.assertEqual(mapping["FunctionArn"], alias)
        for number in range(20, 40):
            # An update makes an item too, and that is one record.
            key = {part: device(number, "")[part] for part in ("pk", "sk")}
            tables.update_item(
                TableName=name, Key=key, UpdateExpression="SET #v = :v",
                ExpressionAttributeNames={"#v": "version"}, ExpressionAttributeValues={":v": {"S": "v1"}},
            )  # fmt: skip
            tables.put_item(TableName=name, Item={**device(number, "v9"), "sk": {"S": "doc"}})
        for number in range(0, 40, 2):
            tables.put_item(TableName=name, Item=device(number, "v2"))
        for number in range(0, 40, 4):
            tables.delete_item(TableName=name, Key={key: device(number, "")[key] for key in ("pk", "sk")})
        # A transaction that fails leaves no record, nor does a write that changes nothing.
        condition = {"TableName": name, "Key": device(99, "") | {}, "ConditionExpression": "attribute_exists(pk)"}
        condition["Key"].pop("version")
        with self.assertRaises(tables.exceptions.TransactionCanceledException):
            tables.transact_write_items(
                TransactItems=[{"Put": {"TableName": name, "Item": device(50, "v1")}}, {"ConditionCheck": condition}]
            )
        tables.put_item(TableName=name, Item=device(1, "v1"))

        def status():
            return send("GET", f"{self.endpoint}/standin/stream").json

        end = time.monotonic() + 60
        while (status()["waiting"] or not status()["finals"]) and time.monotonic() < end:
            time.sleep(0.1)
        reached = status()
        self.assertEqual(reached["waiting"], 0, reached)
        for at_least_once in ("batches", "repeated", "failed", "finals"):
            self.assertGreater(reached[at_least_once], 0, reached)
        tallies = tables.query(
            TableName=name, KeyConditionExpression="pk = :p", ExpressionAttributeValues={":p": {"S": "t#lamp"}}
        )["Items"]
        self.assertEqual({tally["sk"]["S"] for tally in tallies}, set(stream.SHARD_IDS))
        sums = {v: sum(int(tally.get(v, {"N": "0"})["N"]) for tally in tallies) for v in ("v1", "v2", "v9")}
        self.assertEqual(sums, {"v1": 20, "v2": 10, "v9": 0})
        decisions = send("GET", f"{self.endpoint}/standin/decisions").json
        self.assertEqual([d for d in decisions if not d["allowed"]], [])
        self.assertEqual({d["action"] for d in decisions if d["resource"].endswith(made["TableDescription"]["LatestStreamLabel"])}, set(read))

        lines = (pathlib.Path(self.folder.name) / "count.log").read_text().splitlines()
        events = [json.loads(line)["event"] for line in lines if line.startswith("{")]
        shape = {"Records", "window", "state", "shardId", "eventSourceARN", "isFinalInvokeForWindow", "isWindowTerminatedEarly"}
        self.assertTrue(all(set(event) == shape for event in events))
        self.assertEqual({event["Records"] for event in events if event["isFinalInvokeForWindow"]}, {0})
        functions.delete_event_source_mapping(UUID=mapping["UUID"])

    def test_a_failed_transaction_changes_nothing(self):
        tables, key = self.account.client("dynamodb"), {"pk": {"S": "tx"}}
        condition = {"TableName": "lamps", "Key": {"pk": {"S": "none"}}, "ConditionExpression": "attribute_exists(pk)"}
        with self.assertRaises(tables.exceptions.TransactionCanceledException) as raised:
            tables.transact_write_items(
                TransactItems=[{"Put": {"TableName": "lamps", "Item": key}}, {"ConditionCheck": condition}]
            )
        self.assertEqual(
            [reason["Code"] for reason in raised.exception.response["CancellationReasons"]],
            ["None", "ConditionalCheckFailed"],
        )
        self.assertNotIn("Item", tables.get_item(TableName="lamps", Key=key))

    def test_the_gateway_has_nothing_before_there_is_an_api(self):
        self.assertEqual(
            Operator(self.roles["some"], self.gateway, REGION).call("GET", "/v1/products/lamp").status, 404
        )


if __name__ == "__main__":
    unittest.main()
