"""People who call the operator API: with signed requests, or with the `tidegate` command line."""

import dataclasses
import json
import os
import pathlib
import subprocess
import urllib.error
import urllib.request

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

CALL_TIMEOUT_S = 60


@dataclasses.dataclass
class Answer:
    status: int
    body: bytes
    headers: dict

    @property
    def json(self):
        return json.loads(self.body)


def send(method, url, body=None, headers=None):
    """One HTTP request. Any status is returned, not raised."""
    # Without it urllib labels the body as a form, and moto parses it as one.
    headers = {"content-type": "application/octet-stream", **(headers or {})} if body else headers or {}
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    # No proxy: everything is on loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=CALL_TIMEOUT_S) as answer:
            return Answer(answer.status, answer.read(), dict(answer.headers))
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read(), dict(error.headers))


@dataclasses.dataclass
class Operator:
    """A person with an access key."""

    key: tuple
    api: str
    region: str
    arn: str = ""

    def call(self, method, path, fields=None, service="execute-api"):
        body = b"" if fields is None else json.dumps(fields).encode()
        return send(method, self.api + path, body or None, self.signed(method, path, body, service))

    def signed(self, method, path, body=b"", service="execute-api"):
        """The headers of a signed request."""
        request = AWSRequest(method, self.api + path, data=body, headers={"content-type": "application/json"})
        SigV4Auth(Credentials(*self.key), service, self.region).add_auth(request)
        return dict(request.headers)


class CommandLine:
    """The `tidegate` command line with named profiles, as operators use it."""

    def __init__(self, binary, folder, api, region, keys):
        self._binary, self._folder = binary, pathlib.Path(folder)
        self._folder.mkdir(parents=True)
        lines = []
        for name, (access_key, secret, _) in keys.items():
            lines += [f"[{name}]", f"aws_access_key_id = {access_key}", f"aws_secret_access_key = {secret}", ""]
        (self._folder / "credentials").write_text("\n".join(lines))
        (self._folder / "config").write_text("")
        self._common = ["--api", api, "--region", region]

    def understands_profiles(self):
        return "--profile" in self._run(["--help"]).stdout

    def run(self, profile, *arguments):
        """Exit code and output."""
        done = self._run([*self._common, "--profile", profile, *arguments])
        return done.returncode, done.stdout + done.stderr

    def _run(self, arguments):
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "AWS_SHARED_CREDENTIALS_FILE": str(self._folder / "credentials"),
            "AWS_CONFIG_FILE": str(self._folder / "config"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        return subprocess.run(
            [self._binary, *arguments],
            cwd=self._folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CALL_TIMEOUT_S,
            check=False,
        )
