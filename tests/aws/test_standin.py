"""Tests of the stand-in itself. If it allowed too much, tests with it would show nothing."""

import io
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest
import zipfile

from botocore.exceptions import ClientError

import actions
import grants
import iam
import lambdas
import signature
import stack
from account import Account
from gateway import response, route_of
from operators import Operator, send

REGION = "eu-west-1"
TABLE = f"arn:aws:dynamodb:{REGION}:{iam.ACCOUNT}:table/lamps"


def allow(action, resource, **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action, resource, **more):
    return {**allow(action, resource, **more), "Effect": "Deny"}


class Rules(unittest.TestCase):
    """The evaluator: functions of values."""

    def check(self, statements, action, resource, expected, of_resource=(), **context):
        context = {name.replace("_", ":"): value for name, value in context.items()}
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
        self.check([allow("dynamodb:Query", TABLE)], "dynamodb:Query", f"{TABLE}/index/listing", False)
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
        item = {"TableName": "lamps", "Key": {}}
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

    def test_a_grant_that_nobody_needed_is_found(self):
        granted = list(
            grants.granted("role", json.dumps({"Statement": [allow(["s3:GetObject", "s3:PutObject"], ["b/*"])]}))
        )
        used = {"principal": "role", "action": "s3:GetObject", "resource": "b/k", "allowed": True}
        self.assertEqual(grants.unused(granted, [used]), [("role", "s3:PutObject", "b/*")])
        self.assertEqual(len(grants.unused(granted, [{**used, "allowed": False}])), 2)
        self.assertEqual(len(grants.unused(granted, [{**used, "principal": "other"}])), 2)


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
            "IndexName": "listing",
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
                    "IndexName": "listing",
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
