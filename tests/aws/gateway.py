"""The data plane of the HTTP API: Terraform's routes, IAM authorization, and events of payload format 2.0."""

import base64
import datetime
import json
import re
import ssl
import uuid
from urllib.parse import parse_qsl, unquote

from moto.apigatewayv2.models import apigatewayv2_backends
from moto.s3.models import s3_backends

import certificates
import iam
import lambdas
import signature
from runtime_api import Loopback, Replies

TEXT_TYPES = re.compile(r"text/|application/(json|javascript|xml)")


class Gateway:
    """An HTTP server on loopback that answers like the API."""

    def __init__(self, functions, region):
        self._functions, self._region = functions, region
        self.server = Loopback(_handler(self, None))

    def open_domain(self, name, folder):
        """A listener for a custom domain with TLS, or mutual TLS if Terraform asks for it. Returns its port, and the file of
        the certificate authority that signed its certificate."""
        domain = apigatewayv2_backends[iam.ACCOUNT][self._region].domain_names[name]
        server = certificates.Authority("servers").issue(name, folder)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(server.certificate, server.key)
        trusted = (domain.mutual_tls_authentication or {}).get("truststoreUri")
        if trusted:
            bucket, _, key = trusted.removeprefix("s3://").partition("/")
            version = domain.mutual_tls_authentication.get("truststoreVersion")
            context.load_verify_locations(
                cadata=s3_backends[iam.ACCOUNT]["aws"].get_object(bucket, key, version_id=version).value.decode()
            )
            context.verify_mode = ssl.CERT_REQUIRED
        listener = Loopback(_handler(self, name), context)
        return {"port": listener.server_port, "authority": server.authority}

    def answer(self, request):
        """Status, headers and body."""
        api, path = self._api(request.domain), unquote(request.path)
        if api is None:
            return message(404, "Not Found")
        found = route_of(api, request.command, path)
        if not found:
            return message(404, "Not Found")
        route, parameters = found
        caller = None
        if route.authorization_type == "AWS_IAM":
            caller = self._caller(api, request, path)
            if caller is None:
                return message(403, "Forbidden")
        uri = api.integrations[route.target.split("/")[1]].to_json()["integrationUri"]
        arn = re.search(r"functions/(arn:.+)/invocations", uri)[1]
        if not lambdas.is_permitted(
            arn, self._region, "apigateway.amazonaws.com", self._arn(api, request.command, path)
        ):
            return message(500, "Internal Server Error")
        try:
            is_error, answer = self._functions.invoke(
                lambdas.find(arn, self._region),
                json.dumps(event(api, route, parameters, request, path, caller)).encode(),
            )
        except lambdas.Throttled:
            return message(503, "Service Unavailable")
        return message(500, "Internal Server Error") if is_error else response(json.loads(answer))

    def _api(self, domain):
        """The API of a custom domain; without one the only API, unless it answers on its domain only."""
        backend = apigatewayv2_backends[iam.ACCOUNT][self._region]
        if domain:
            return next(
                (
                    backend.apis[mapping.api_id]
                    for mapping in backend.api_mappings.values()
                    if mapping.domain_name == domain
                ),
                None,
            )
        apis = list(backend.apis.values())
        return apis[0] if len(apis) == 1 and not apis[0].disable_execute_api_endpoint else None

    def _arn(self, api, method, path):
        return f"arn:aws:execute-api:{self._region}:{iam.ACCOUNT}:{api.api_id}/$default/{method}{path}"

    def _caller(self, api, request, path):
        """The signer, if its policies allow this route; otherwise `None`."""
        try:
            signed = signature.read(request.query, request.fields)
            who = signed and iam.principal(signed.access_key)
            if not who or who.is_admin or signed.service != "execute-api" or signed.region != self._region:
                return None
            signature.verify(signed, who, request.command, request.path, request.query, request.fields, request.content)
        except signature.Refused:
            return None
        return who if iam.decide(who, "execute-api:Invoke", self._arn(api, request.command, path), {}) else None


def route_of(api, method, path):
    """The most specific route of a request, and its path parameters."""
    matches = []
    for route in api.routes.values():
        known_method, _, template = route.route_key.partition(" ")
        pattern = re.sub(r"\\{(\w+)\\\+\\}", r"(?P<\1>.+)", re.escape(template))
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", pattern)
        found = re.fullmatch(pattern, path) if known_method in (method, "ANY") else None
        if found:
            matches.append((-template.count("{"), len(template), route, found.groupdict()))
    return max(matches, key=lambda match: match[:2])[2:] if matches else None


def event(api, route, parameters, request, path, caller):
    """The request as the function sees it. The path is decoded, as an HTTP API does."""
    now, host = datetime.datetime.now(datetime.UTC), request.fields.get("host", "")
    content_type, body = request.fields.get("content-type", ""), request.content
    is_text = TEXT_TYPES.match(content_type) is not None
    context = {
        "accountId": iam.ACCOUNT,
        "apiId": api.api_id,
        "domainName": host,
        "domainPrefix": host.split(".")[0],
        "http": {
            "method": request.command,
            "path": path,
            "protocol": "HTTP/1.1",
            "sourceIp": "127.0.0.1",
            "userAgent": request.fields.get("user-agent", ""),
        },
        "requestId": str(uuid.uuid4()),
        "routeKey": route.route_key,
        "stage": "$default",
        "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
        "timeEpoch": int(now.timestamp() * 1000),
    }
    if request.client_certificate:
        context["authentication"] = {"clientCert": request.client_certificate}
    if caller:
        identity = {
            "accessKey": caller.access_key,
            "accountId": iam.ACCOUNT,
            "callerId": caller.user_id,
            "cognitoIdentity": None,
        }
        context["authorizer"] = {
            "iam": {**identity, "principalOrgId": "o-standin", "userArn": caller.arn, "userId": caller.user_id}
        }
    fields = {
        "version": "2.0",
        "routeKey": route.route_key,
        "rawPath": path,
        "rawQueryString": request.query,
        "headers": {
            **request.fields,
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "queryStringParameters": dict(parse_qsl(request.query, keep_blank_values=True)) or None,
        "requestContext": context,
        "pathParameters": parameters or None,
        "body": (body.decode() if is_text else base64.b64encode(body).decode()) if body else None,
        "isBase64Encoded": bool(body) and not is_text,
    }
    return {name: value for name, value in fields.items() if value is not None}


def response(answer):
    """The HTTP answer to the client for a function's answer."""
    if not isinstance(answer, dict) or "statusCode" not in answer:
        return 200, [("content-type", "application/json")], json.dumps(answer).encode()
    body = answer.get("body") or ""
    body = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
    headers = [
        (name, value) for name, value in (answer.get("headers") or {}).items() if name.lower() != "content-length"
    ]
    return answer["statusCode"], headers, body


def message(status, text):
    return status, [("content-type", "application/json")], json.dumps({"message": text}).encode()


def client_certificate(connection):
    """The event's part about the client certificate; `None` without one."""
    certificate = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
    if not certificate:
        return None

    def text(names):
        return ",".join(f"{'CN' if name == 'commonName' else name}={value}" for part in names for name, value in part)

    return {
        "clientCertPem": ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True)),
        "subjectDN": text(certificate["subject"]),
        "issuerDN": text(certificate["issuer"]),
        "serialNumber": certificate["serialNumber"],
        "validity": {"notBefore": certificate["notBefore"], "notAfter": certificate["notAfter"]},
    }


def _handler(gateway, domain_name):
    class Handler(Replies):
        domain = domain_name

        def handle_request(self):
            self.client_certificate = client_certificate(self.connection)
            self.content = self.body()
            self.fields = {}
            for name, value in self.headers.items():
                name = name.lower()
                self.fields[name] = f"{self.fields[name]},{value}" if name in self.fields else value
            self.path, _, self.query = self.path.partition("?")
            status, headers, body = gateway.answer(self)
            self.reply(status, body, headers)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request

    return Handler
