"""Verifies AWS Signature Version 4 in a header or in the query.

Written out rather than borrowed from botocore, because botocore signs and does not verify: it would choose
the headers to sign by itself, and so agree with a client that forgot one.
"""

import dataclasses
import datetime
import hashlib
import hmac
import re
from urllib.parse import parse_qsl, quote, unquote

# A header signature is valid for five minutes, as on AWS.
CLOCK_SKEW_S = 300


class Refused(Exception):
    """There is no valid signature. `code` is the error code of AWS."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True)
class Signed:
    """The fields of a signature."""

    access_key: str
    date: str
    region: str
    service: str
    headers: list
    signature: str
    at: datetime.datetime
    good_for_s: int | None  # of a presigned URL
    token: str | None

    @property
    def age_ms(self):
        return (datetime.datetime.now(datetime.UTC) - self.at).total_seconds() * 1000


def read(query, headers):
    """The signature of a request, `None` if it has none. `headers` has lower-case keys."""
    fields = dict(parse_qsl(query, keep_blank_values=True))
    if "X-Amz-Signature" in fields:
        credential, names, signature = (
            fields.get(f"X-Amz-{n}", "") for n in ("Credential", "SignedHeaders", "Signature")
        )
        at, good_for, token = (
            fields.get("X-Amz-Date", ""),
            int(fields.get("X-Amz-Expires", "0")),
            fields.get("X-Amz-Security-Token"),
        )
    else:
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^,]+),\s*SignedHeaders=([^,]+),\s*Signature=(\w+)",
            headers.get("authorization", ""),
        )
        if not found:
            return None
        credential, names, signature = found.groups()
        at, good_for, token = headers.get("x-amz-date", ""), None, headers.get("x-amz-security-token")
    try:
        access_key, date, region, service, _ = credential.split("/")
        at = datetime.datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    except ValueError:
        raise Refused("IncompleteSignature", "the credential or the date cannot be read") from None
    return Signed(access_key, date, region, service, names.split(";"), signature, at, good_for, token)


def verify(signed, who, method, path, query, headers, body):
    """Raises `Refused` unless the principal's secret signed exactly this request.

    `path` is as it was sent, still percent-encoded.
    """
    if signed.token != who.token:
        raise Refused("InvalidClientTokenId", "the security token included in the request is invalid")
    age_s = signed.age_ms / 1000
    if signed.good_for_s is not None and age_s > signed.good_for_s:
        raise Refused("AccessDenied", "Request has expired")
    if signed.good_for_s is None and abs(age_s) > CLOCK_SKEW_S:
        raise Refused("RequestTimeTooSkewed", "the request's time and the current time differ too much")
    if "host" not in signed.headers:
        raise Refused("SignatureDoesNotMatch", "host must be signed")
    if not hmac.compare_digest(signature(signed, who.secret, method, path, query, headers, body), signed.signature):
        raise Refused(
            "SignatureDoesNotMatch", "the request signature we calculated does not match the signature you provided"
        )


def signature(signed, secret, method, path, query, headers, body):
    """Step 1 to 3 of "Create a signed AWS API request"."""
    # 1. the canonical request; S3 alone does not encode the path once more
    canonical_path = path if signed.service == "s3" else quote(path, safe="/-_.~")
    fields = [pair.partition("=")[::2] for pair in query.split("&") if pair]
    fields = sorted((_again(name), _again(value)) for name, value in fields if name != "X-Amz-Signature")
    lines = [f"{name}:{' '.join(headers.get(name, '').split())}" for name in signed.headers]
    request = [
        method,
        canonical_path or "/",
        "&".join(f"{n}={v}" for n, v in fields),
        *lines,
        "",
        ";".join(signed.headers),
    ]
    request = "\n".join([*request, payload_hash(signed, headers, body)])
    # 2. the string to sign
    scope = f"{signed.date}/{signed.region}/{signed.service}/aws4_request"
    stamp = signed.at.strftime("%Y%m%dT%H%M%SZ")
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    # 3. the signature
    key = f"AWS4{secret}".encode()
    for part in (signed.date, signed.region, signed.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def payload_hash(signed, headers, body):
    """The signed hash of the body. Raises `Refused` if a header gives a wrong hash."""
    actual = hashlib.sha256(body).hexdigest()
    if signed.good_for_s is not None and signed.service == "s3":
        return headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
    claimed = headers.get("x-amz-content-sha256", actual)
    if re.fullmatch(r"[0-9a-f]{64}", claimed) and claimed != actual:
        raise Refused("SignatureDoesNotMatch", "x-amz-content-sha256 is not the body's hash")
    return claimed


def _again(text):
    return quote(unquote(text), safe="-_.~")
