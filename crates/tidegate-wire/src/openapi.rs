//! The API description: `openapi.yaml`, made from [`ROUTES`], the types of this crate and [`operation`].
//!
//! A schema is never written here. What a type does not say of itself, such as an example, is in [`operation`].

mod operation;

use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use self::operation::{Answer, Body, Content, Operation};
use crate::error::{ErrorBody, ErrorCode};
use crate::route::{Caller, HEALTH_PATH, Interface, ROUTES, Route, Tag};
use crate::{answer, definition, device_json, exosite, hawkbit, ioto, kaa, operator, report, schema};

const INTRODUCTION: &str = "\
Devices check in and report; operators publish and steer. All bodies are JSON in UTF-8, all times are RFC 3339 in UTC, \
and a unit is the last part of a name: `check_again_after_s` is in seconds. `size` and `*_bytes` are in bytes.

**For authors of devices.** These rules hold for every answer to a device, and agents in the field depend on them:

- An answer is `200` with a JSON object unless it is an error. It is never `204`, never empty and never a redirect. \
The exceptions are hawkBit's artifacts and Exosite's devices, whose protocol is one of forms and texts.
- JSON is compact: there are no spaces and no line breaks between tokens, so a string search finds `\"url\":\"`. The flat \
`url` comes before any nested one, and a field that has no value is left out: there is never `\"url\":null`.
- `Content-Length` is always there. On the local cloud it is spelled so, and never the last header.
- A presigned URL is at most 3,800 characters long. Send it exactly as it came, with a plain `GET`. It carries its own \
signature: send no `Authorization` with it. It is good for at most 15 minutes (`expires_at`). To resume after that, check \
in again: the offer is the same, with a fresh URL, and costs no second place.
- Ioto agents are answered exactly `{\"url\",\"checksum\",\"version\",\"update\"}` or `{}`.
- A body is at most 16 KiB, 16 levels deep, with at most 256 keys and array elements together. A key may not be given \
twice, and a number must be less than 2^63 in size.
- Ignore fields that you do not know: answers may gain some.

**Errors** are `{\"error\":{\"code\",\"message\"}}`. Programs depend on the status and the code; the message is for the person \
who reads it and may change. No error body is ever one of the two texts on which an Ioto agent erases its own identity. \
`unknown_route` (404) answers a path that is not in this file, and `wrong_method` (405) a method. API Gateway and the local \
front door also answer by themselves, with `{\"message\":\"…\"}`: 400 for a request that is not HTTP, 403 for an operator \
route without a good signature or key, 413 above 10 MiB, 500 and 503 when a function fails or is slow.
";

/// The sections of the description, in the order of the file.
#[must_use]
pub fn sections() -> Vec<(&'static str, Value)> {
    vec![
        ("openapi", json!("3.1.1")),
        ("info", info()),
        ("servers", servers()),
        ("tags", Tag::ALL.into_iter().map(tag).chain([local_tag()]).collect()),
        ("paths", paths()),
        ("security", json!([{"operatorSigV4": []}, {"operatorKey": []}])),
        ("components", components()),
    ]
}

/// The whole description as one value.
#[must_use]
pub fn document() -> Value {
    sections().into_iter().map(|(name, section)| (name.to_owned(), section)).collect::<Map<_, _>>().into()
}

fn info() -> Value {
    json!({
        "title": "Tidegate",
        "version": env!("CARGO_PKG_VERSION"),
        "summary": "Over-the-air updates that never let one device too many through, and say why when they say no.",
        "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        "description": INTRODUCTION,
    })
}

fn servers() -> Value {
    json!([
        {
            "url": "https://{api}.execute-api.{region}.amazonaws.com",
            "description": "Deployed.",
            "variables": {"api": {"default": "a1b2c3d4e5"}, "region": {"default": "eu-west-1"}},
        },
        local_server(),
    ])
}

fn local_server() -> Value {
    json!({"url": "http://127.0.0.1:8080", "description": "The local cloud, `tidegate dev`."})
}

fn tag(tag: Tag) -> Value {
    let description = match tag {
        Tag::Devices => "The device API.",
        Tag::Ioto => "The device API for unmodified Ioto agents and updaters.",
        Tag::Hawkbit => {
            "The device API for clients of hawkBit's DDI. The tenant is the product, the controller is the device, and an \
             action is one reservation of its claim."
        }
        Tag::Exosite => "The device API for devices of Exosite's Murano, with OTAU and its fifteen statuses.",
        Tag::Kaa => {
            "The device API for endpoints of Kaa. An application version is a product, and the id of a configuration is a \
             version."
        }
        Tag::Updates => "Publishing updates, and steering their rollouts.",
        Tag::Fleet => "The devices of a product.",
        Tag::Product => "The settings and the audit log of a product.",
        Tag::Software => "Publishing updates in the words of Kaa's OTA orchestrator.",
    };
    json!({"name": tag.name(), "description": description})
}

fn local_tag() -> Value {
    json!({"name": "local", "description": "Only on the local cloud."})
}

fn paths() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.template).or_insert_with(|| json!({"parameters": path_parameters(route)}));
        path[route.method.to_lowercase()] = operation_object(route, &operation::of(route.id));
    }
    paths.insert(HEALTH_PATH.into(), health());
    for path in paths.values_mut() {
        if path["parameters"] == json!([]) {
            path.as_object_mut().into_iter().for_each(|fields| drop(fields.remove("parameters")));
        }
    }
    Value::Object(paths)
}

fn path_parameters(route: &Route) -> Value {
    route.parameters().map(|name| json!({"$ref": format!("#/components/parameters/{name}")})).collect()
}

fn operation_object(route: &Route, operation: &Operation) -> Value {
    let mut object = json!({
        "operationId": route.id.operation_id(),
        "tags": [route.tag.name()],
        "summary": route.id.summary(),
        "responses": responses(route, operation),
    });
    if !operation.description.is_empty() {
        object["description"] = json!(operation.description);
    }
    if let Some(security) = security(route.caller) {
        object["security"] = security;
    }
    if !operation.parameters.is_empty() {
        object["parameters"] = operation.parameters.clone().into();
    }
    if let Some(body) = &operation.body {
        object["requestBody"] = request_body(body);
    }
    object
}

/// `None` is the operator's, which the whole description has.
fn security(caller: Caller) -> Option<Value> {
    match caller {
        Caller::Anyone | Caller::PathToken => Some(json!([])),
        Caller::DeviceToken => Some(json!([{"deviceToken": []}])),
        Caller::TargetToken => Some(json!([{"targetToken": []}])),
        Caller::Cik => Some(json!([{"exositeCik": []}, {"exositeToken": []}])),
        Caller::Operator => None,
    }
}

fn request_body(body: &Body) -> Value {
    match body {
        Body::Json { schema, is_required, examples } => {
            json!({"required": is_required, "content": {"application/json": media(&reference(schema), examples)}})
        }
        Body::Form { example } => {
            let media = json!({"schema": {"type": "string"}, "example": example});
            json!({"required": true, "content": {"application/x-www-form-urlencoded": media}})
        }
    }
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// A schema with its examples by name.
fn media(schema: &Value, examples: &[(&'static str, Value)]) -> Value {
    let mut media = json!({"schema": schema});
    if !examples.is_empty() {
        let named = examples.iter().map(|(name, value)| ((*name).to_owned(), json!({"value": value})));
        media["examples"] = named.collect::<Map<_, _>>().into();
    }
    media
}

fn responses(route: &Route, operation: &Operation) -> Value {
    let mut responses = Map::new();
    for answer in &operation.answers {
        responses.insert(answer.status.to_string(), response(answer));
    }
    let statuses = operation.errors.iter().map(|code| status_in(route.interface(), *code));
    for status in statuses.collect::<std::collections::BTreeSet<_>>() {
        let codes = operation.errors.iter().filter(|code| status_in(route.interface(), **code) == status).copied();
        responses.insert(status.to_string(), error_response(route.interface(), status, &codes.collect::<Vec<_>>()));
    }
    Value::Object(responses)
}

fn response(answer: &Answer) -> Value {
    let mut response = json!({"description": answer.description});
    match &answer.content {
        Content::Nothing => {}
        Content::Json { schema, examples } => {
            response["content"] = json!({"application/json": media(&reference(schema), examples)});
        }
        Content::JsonList { schema } => {
            response["content"] =
                json!({"application/json": {"schema": {"type": "array", "items": reference(schema)}}});
        }
        Content::Texts(media_types) => {
            let text = |media: &&str| ((*media).to_owned(), json!({"schema": {"type": "string"}}));
            response["content"] = media_types.iter().map(text).collect::<Map<_, _>>().into();
        }
        Content::Redirect => {
            response["headers"] =
                json!({"Location": {"required": true, "schema": {"type": "string", "format": "uri"}}});
        }
    }
    response
}

/// The status of an error in the words of an interface.
fn status_in(interface: Interface, code: ErrorCode) -> u16 {
    match (interface, code) {
        (Interface::Exosite, ErrorCode::RegistrationClosed) => 409,
        _ => code.status(),
    }
}

fn error_response(interface: Interface, status: u16, codes: &[ErrorCode]) -> Value {
    let description = codes.iter().map(|code| format!("`{code}`: {}.", code.sentence())).collect::<Vec<_>>().join(" ");
    let own = match interface {
        Interface::Native | Interface::Ioto | Interface::Operator | Interface::Software => error_schema(codes),
        Interface::Hawkbit => reference("HawkbitError"),
        Interface::Kaa => reference("KaaStatus"),
        Interface::Exosite => json!({"type": "string"}),
    };
    // What the gateway answers by itself before it asks a function, or instead of its answer.
    let is_gateways = matches!(status, 403 | 413 | 503);
    let content = match interface {
        Interface::Exosite => json!({"text/plain": {"schema": own}}),
        Interface::Ioto if status == 403 => json!({"application/json": {"schema": own}}),
        _ if is_gateways => json!({"application/json": {"schema": {"anyOf": [reference("GatewayMessage"), own]}}}),
        _ => json!({"application/json": {"schema": own}}),
    };
    let mut response = json!({"description": description, "content": content});
    if status == 503 {
        response["headers"] = json!({"Retry-After": {"$ref": "#/components/headers/RetryAfter"}});
    }
    response
}

fn error_schema(codes: &[ErrorCode]) -> Value {
    let mut schema = reference("Error");
    let codes = codes.iter().map(|code| code.code()).collect::<Vec<_>>();
    schema["properties"] = json!({"error": {"properties": {"code": {"enum": codes}}}});
    schema
}

fn health() -> Value {
    json!({
        "servers": [local_server()],
        "get": {
            "operationId": "health",
            "tags": ["local"],
            "summary": "Says that the local cloud is up. The front door answers; no function has this route.",
            "security": [],
            "responses": {"200": {"description": "It is up.", "content": {"application/json": {"schema": {
                "type": "object", "required": ["ok"], "properties": {"ok": {"const": true}},
            }}}}},
        },
    })
}

fn components() -> Value {
    json!({
        "securitySchemes": security_schemes(),
        "parameters": parameters(),
        "headers": {"RetryAfter": {
            "description": "Seconds after which the same request may succeed. They differ between devices, so that a fleet does not come back at once.",
            "schema": {"type": "integer", "minimum": 10, "maximum": 89},
        }},
        "responses": {
            "UnknownRoute": error_response(Interface::Native, 404, &[ErrorCode::UnknownRoute]),
            "WrongMethod": error_response(Interface::Native, 405, &[ErrorCode::WrongMethod]),
        },
        "schemas": schemas(),
    })
}

fn security_schemes() -> Value {
    let header = |name: &str, description: &str| json!({"type": "apiKey", "in": "header", "name": name, "description": description});
    let mut sig_v4 = header(
        "Authorization",
        "An AWS Signature Version 4 for `execute-api`. IAM says who may call what. The audit log holds the caller's ARN.",
    );
    sig_v4["x-amazon-apigateway-authtype"] = json!("awsSigv4");
    json!({
        "deviceToken": header(
            "Authorization",
            "`<token>`, `bearer <token>` or `Bearer <token>`; at most 190 characters. A device token is \
             `d1.<key>[-<generation>].<base64url HMAC-SHA256>`, bound to product and device id. A product token (`p1.…`) \
             is good for every device of a product that accepts such tokens.",
        ),
        "targetToken": header(
            "Authorization",
            "`TargetToken <device token>`, or `GatewayToken <product token>` if the product accepts such tokens.",
        ),
        "exositeCik": header(
            "X-Exosite-CIK",
            "The CIK that `/provision/activate` answers, or `<product>~<device>~<device token>`.",
        ),
        "exositeToken": header("Authorization", "`token <CIK>`."),
        "operatorSigV4": sig_v4,
        "operatorKey": {
            "type": "http", "scheme": "bearer",
            "description": "The local cloud only. The key is in `.tidegate/operator.key`.",
        },
    })
}

fn parameters() -> Value {
    let path = |name: &str, schema: &str, description: &str, example: &str| {
        let parameter = json!({
            "name": name, "in": "path", "required": true, "description": description, "schema": reference(schema),
            "example": example,
        });
        (name.to_owned(), parameter)
    };
    let mut parameters = Map::from_iter([
        path("product", "ProductId", "The product's id.", "lamp"),
        path("version", "Version", "The update's version. Build metadata is ignored; `+` is written `%2B`.", "1.1.0"),
        path("device", "DeviceId", "The device's id.", "lamp-1"),
        path("tag", "TagName", "The name of a tag. A policy reads it as `tags.<name>`.", "site"),
        path("app", "ProductId", "Kaa's application: the product's id.", "lamp"),
        path("app_version", "ProductId", "Kaa's application version: the product's id.", "lamp"),
        path("tenant", "ProductId", "hawkBit's tenant: the product's id.", "lamp"),
        path("controller", "DeviceId", "hawkBit's controller: the device's id.", "lamp-1"),
        path("action", "HawkbitActionId", "The number of the action, and of its software module.", "1193046471"),
        path("file", "FileName", "The name of the file.", "lamp.bin"),
    ]);
    parameters.insert("token".into(), json!({
        "name": "token", "in": "path", "required": true,
        "description": "`<product>~<device>~<device token>`. The product may be left out, as in `~lamp-1~d1.k1.…`; a CIK is good too.",
        "schema": {"type": "string", "maxLength": 384},
        "example": "~lamp-1~d1.k1.0Q3wC6hVq0m9mJm4l0Yd0m1c3M8Z8l6m5v2t9r7xQkE",
    }));
    parameters.insert(
        "request".into(),
        json!({
            "name": "request", "in": "path", "required": true,
            "description": "The number of the request, as over MQTT. It has no meaning here.",
            "schema": {"type": "string"},
            "example": "42",
        }),
    );
    Value::Object(parameters)
}

/// Every schema by its name.
fn schemas() -> Value {
    let mut found = Vec::new();
    macro_rules! collect {
        ($($Type:ty),* $(,)?) => {
            $(
                found.push((<$Type as ToSchema>::name().into_owned(), <$Type as utoipa::PartialSchema>::schema()));
                <$Type as ToSchema>::schemas(&mut found);
            )*
        };
    }
    collect!(
        schema::ProductId,
        schema::DeviceId,
        schema::UpdateId,
        schema::Version,
        schema::Sha256,
        schema::TagName,
        schema::FileName,
        schema::FileSize,
        schema::TokenText,
        schema::HawkbitActionId,
        schema::Time,
        schema::SignedUrl,
        schema::State,
        schema::ObjectionCode,
        schema::ReportStatus,
        ErrorBody,
        ErrorCode,
        device_json::DeviceJsonBody,
        answer::NativeAnswer,
        report::ReportBody,
        report::ReportAnswer,
        ioto::IotoAnswer,
        ioto::IotoReport,
        ioto::Empty,
        ioto::RegistrationRequest,
        ioto::Registered,
        hawkbit::HawkbitPoll,
        hawkbit::HawkbitDeployment,
        hawkbit::HawkbitConfirmation,
        hawkbit::HawkbitCancel,
        hawkbit::HawkbitConfirmations,
        hawkbit::HawkbitError,
        hawkbit::HawkbitConfigData,
        hawkbit::HawkbitFeedback,
        hawkbit::HawkbitConfirmationFeedback,
        exosite::ExositeConfig,
        exosite::ExositeStatus,
        kaa::KaaConfigRequest,
        kaa::KaaAnswer,
        kaa::KaaApplied,
        kaa::KaaStatus,
        definition::Definition,
        operator::UpdateView,
        operator::UpdateList,
        operator::Created,
        operator::PartsAsked,
        operator::UploadedParts,
        operator::CampaignChange,
        operator::Reason,
        operator::Resume,
        operator::Advance,
        operator::Reopen,
        operator::Rollback,
        operator::Deleted,
        operator::Metrics,
        operator::Product,
        operator::ProductChange,
        operator::ProductStopped,
        operator::ProductResumed,
        operator::DeviceView,
        operator::DeviceList,
        operator::Retried,
        operator::Pin,
        operator::Tag,
        operator::Forgotten,
        operator::Devices,
        operator::RetryMany,
        operator::ManyChanged,
        operator::UpdateDevices,
        operator::Reasons,
        operator::VersionList,
        operator::AuditLog,
        operator::DeviceDeleted,
        operator::DeviceExport,
        operator::ValueChange,
        operator::Receipt,
        operator::Token,
        operator::Revoked,
        operator::Software,
        operator::SoftwareDefinition,
    );
    let mut schemas = found.into_iter().map(|(name, schema)| (name, value(&schema))).collect::<Map<_, _>>();
    schemas.insert(
        "GatewayMessage".into(),
        json!({
            "type": "object",
            "description": "An error that API Gateway, or the local front door, answers by itself.",
            "required": ["message"],
            "properties": {"message": {"type": "string", "enum": [
                "Bad Request", "Forbidden", "Request Entity Too Large", "Internal Server Error", "Service Unavailable",
            ]}},
        }),
    );
    if let Some(codes) = schemas.get_mut("ErrorCode") {
        // The derive sees the names of the variants, which a macro made.
        codes["enum"] = api_codes().map(ErrorCode::code).collect();
        codes["description"] = json!(error_table());
    }
    let names = schemas.keys().cloned().collect::<Vec<_>>();
    for name in names {
        let merged = merged(&schemas, &schemas[&name]);
        schemas.insert(name, merged);
    }
    strict(&mut schemas);
    Value::Object(schemas)
}

/// The error codes, but for those that only a dialect answers.
fn api_codes() -> impl Iterator<Item = ErrorCode> {
    ErrorCode::ALL.iter().copied().filter(|code| !code.is_of_a_dialect())
}

/// The error codes as a table.
fn error_table() -> String {
    let rows = api_codes().map(|code| format!("| `{code}` | {} | {} |\n", code.status(), code.sentence()));
    format!("| Code | Status | Meaning |\n|---|---|---|\n{}", rows.collect::<String>())
}

fn value(schema: &RefOr<Schema>) -> Value {
    serde_json::to_value(schema).expect("a schema is JSON")
}

/// A struct with a flattened field is one object with the properties of both. Readers, and a validator that closes
/// objects, have no use for the parts.
fn merged(schemas: &Map<String, Value>, schema: &Value) -> Value {
    let Some(parts) = schema["allOf"].as_array() else {
        return schema.clone();
    };
    let mut whole = json!({"type": "object", "properties": {}, "required": []});
    if let Some(description) = schema.get("description") {
        whole["description"] = description.clone();
    }
    for part in parts {
        let (properties, required) = fields_of(schemas, part);
        whole["properties"].as_object_mut().into_iter().for_each(|all| all.extend(properties.clone()));
        whole["required"]
            .as_array_mut()
            .into_iter()
            .for_each(|all| all.extend(required.iter().map(|name| json!(name))));
    }
    whole
}

/// The properties of an object, and which of them are required. Of alternatives, those that all of them require.
fn fields_of(schemas: &Map<String, Value>, schema: &Value) -> (Map<String, Value>, Vec<String>) {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        return fields_of(schemas, &schemas[name]);
    }
    if let Some(alternatives) = schema["oneOf"].as_array() {
        let mut alternatives = alternatives.iter().map(|alternative| fields_of(schemas, alternative));
        let first = alternatives.next().unwrap_or_default();
        return alternatives.fold(first, |(mut properties, mut required), (more, also)| {
            properties.extend(more);
            required.retain(|name| also.contains(name));
            (properties, required)
        });
    }
    let whole = merged(schemas, schema);
    let properties = whole["properties"].as_object().cloned().unwrap_or_default();
    let required = whole["required"].as_array().into_iter().flatten();
    (properties, required.filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Bodies of operators are closed: a field that does not exist is refused.
fn strict(schemas: &mut Map<String, Value>) {
    for name in [
        "UpdateDefinition",
        "File",
        "Rollout",
        "OpeningWindow",
        "Group",
        "Phase",
        "Limits",
        "HealthGate",
        "CampaignChange",
        "Reason",
        "ProductChange",
        "Advance",
        "PhaseAdvance",
        "Pin",
        "Tag",
        "Devices",
        "RetryMany",
    ] {
        if let Some(schema) = schemas.get_mut(name) {
            schema["additionalProperties"] = json!(false);
        }
    }
    let change = definition_change(schemas);
    schemas.insert("DefinitionChange".into(), change);
    // Bodies in which clients in the field have fields of their own.
    for name in [
        "DeviceJson",
        "Report",
        "IotoReport",
        "RegistrationRequest",
        "HawkbitConfigData",
        "HawkbitFeedback",
        "HawkbitStatus",
        "HawkbitResult",
        "HawkbitConfirmationFeedback",
        "KaaConfigRequest",
        "KaaApplied",
        "SoftwareDefinition",
    ] {
        if let Some(schema) = schemas.get_mut(name) {
            schema["additionalProperties"] = json!(true);
        }
    }
    // Parts that are merged into what they are a part of.
    schemas.remove("DefinitionView");
    schemas.remove("Counters");
}

/// A change of a draft: any field of a definition but the version, and a reason.
fn definition_change(schemas: &Map<String, Value>) -> Value {
    let mut change = schemas.get("UpdateDefinition").cloned().unwrap_or_default();
    let reason = schemas.get("Reason").and_then(|schema| schema["properties"].get("reason")).cloned();
    if let Some(fields) = change["properties"].as_object_mut() {
        fields.remove("version");
        fields.extend(reason.map(|reason| ("reason".into(), reason)));
    }
    if let Some(schema) = change.as_object_mut() {
        schema.remove("required");
        schema.insert("minProperties".into(), json!(1));
        schema.insert(
            "description".into(),
            json!(
                "A change of a draft, or of what a published update says of itself. What is not given stays as it is."
            ),
        );
    }
    change
}

/// The route table for Terraform: `infra/routes.json`, one route a line.
#[must_use]
pub fn routes_json() -> String {
    let line = |route: &Route| {
        let authorization = if route.caller == Caller::Operator { "AWS_IAM" } else { "NONE" };
        format!(
            r#"  {{ "method": "{}", "path": "{}", "function": "{}", "authorization": "{authorization}" }}"#,
            route.method,
            route.template,
            route.function.name(),
        )
    };
    format!("[\n{}\n]\n", ROUTES.iter().map(line).collect::<Vec<_>>().join(",\n"))
}
