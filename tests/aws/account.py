"""The administrator's view of the account: clients, users of operators, and all that exists."""

import boto3
from botocore.config import Config

import iam

# Resources that a stack could leave behind: service, call, and the list in its answer.
LISTS = [
    ("lambda", "list_functions", "Functions"),
    ("lambda", "list_event_source_mappings", "EventSourceMappings"),
    ("apigatewayv2", "get_apis", "Items"),
    ("apigatewayv2", "get_domain_names", "Items"),
    ("dynamodb", "list_tables", "TableNames"),
    ("s3", "list_buckets", "Buckets"),
    ("secretsmanager", "list_secrets", "SecretList"),
    ("sqs", "list_queues", "QueueUrls"),
    ("sns", "list_topics", "Topics"),
    ("scheduler", "list_schedules", "Schedules"),
    ("events", "list_rules", "Rules"),
    ("logs", "describe_log_groups", "logGroups"),
    ("cloudwatch", "describe_alarms", "MetricAlarms"),
    ("cloudwatch", "list_dashboards", "DashboardEntries"),
    ("kms", "list_keys", "Keys"),
    ("acm", "list_certificates", "CertificateSummaryList"),
    ("iam", "list_roles", "Roles"),
    ("iam", "list_users", "Users"),
]


class Account:
    def __init__(self, endpoint, region):
        self._endpoint, self._region = endpoint, region
        self._made = {}

    def client(self, service, key=(iam.ADMIN_KEY, iam.ADMIN_SECRET, None)):
        """A client of the administrator, or of another key."""
        if (service, key) not in self._made:
            access_key, secret, token = key
            self._made[service, key] = boto3.session.Session().client(
                service,
                region_name=self._region,
                endpoint_url=self._endpoint,
                aws_access_key_id=access_key,
                aws_secret_access_key=secret,
                aws_session_token=token,
                # By default boto3 still presigns for S3 with signature version 2.
                config=Config(signature_version="s3v4") if service == "s3" else None,
            )
        return self._made[service, key]

    def as_role(self, arn):
        """A key of a role, for requests that its functions do not make."""
        session = self.client("sts").assume_role(RoleArn=arn, RoleSessionName="probe")["Credentials"]
        return session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"]

    def add_user(self, name, policy_arn):
        """An IAM user with one policy: its key and its ARN."""
        users = self.client("iam")
        arn = users.create_user(UserName=name)["User"]["Arn"]
        users.attach_user_policy(UserName=name, PolicyArn=policy_arn)
        key = users.create_access_key(UserName=name)["AccessKey"]
        return (key["AccessKeyId"], key["SecretAccessKey"], None), arn

    def remove_user(self, name, policy_arn):
        users = self.client("iam")
        for key in users.list_access_keys(UserName=name)["AccessKeyMetadata"]:
            users.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
        users.detach_user_policy(UserName=name, PolicyArn=policy_arn)
        users.delete_user(UserName=name)

    def empty(self, bucket):
        """Deletes every version of every object, because Terraform does not delete images."""
        s3 = self.client("s3")
        listed = s3.list_object_versions(Bucket=bucket)
        for version in listed.get("Versions", []) + listed.get("DeleteMarkers", []):
            s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])

    def leftovers(self):
        """All resources that exist."""
        found = []
        for service, call, name in LISTS:
            found += [f"{service} {call}: {thing}" for thing in getattr(self.client(service), call)().get(name, [])]
        found += [
            f"iam policy: {policy['Arn']}" for policy in self.client("iam").list_policies(Scope="Local")["Policies"]
        ]
        return found
