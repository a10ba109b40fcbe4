//! Description of each route beside its path: the body, the answers, the errors and examples.

use serde_json::{Value, json};

use crate::error::ErrorCode;
use crate::error::ErrorCode::{
    BadField, BadJson, BadRange, BadVersion, BodyTooLarge, ChangeUnderWay, Circle, Conflict, ContentImmutable,
    EvidenceMoved, Forbidden, Gone, ImageMismatch, ImageMissing, PolicyInvalid, ProductStopped, RegistrationClosed,
    Unauthorized, Unavailable, UnknownAction, UnknownContent, UnknownDevice, UnknownField, UnknownProduct,
    UnknownUpdate, UpdateInUse, Verifying, VersionExists, WrongState,
};
use crate::operator::{DEFAULT_PAGE, LARGEST_PAGE};
use crate::route::{CheckRoute, PublishRoute, ReportRoute, RouteId};

/// One operation.
#[derive(Debug, Default)]
pub(super) struct Operation {
    pub(super) description: &'static str,
    /// Parameters of the query and headers.
    pub(super) parameters: Vec<Value>,
    pub(super) body: Option<Body>,
    pub(super) answers: Vec<Answer>,
    pub(super) errors: Vec<ErrorCode>,
}

/// The body of a request.
#[derive(Debug)]
pub(super) enum Body {
    /// JSON with the name of its schema.
    Json { schema: &'static str, is_required: bool, examples: Examples },
    /// A form.
    Form { example: &'static str },
}

/// An answer that is no error.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) description: &'static str,
    pub(super) content: Content,
}

/// The content of an answer.
#[derive(Debug)]
pub(super) enum Content {
    /// No body.
    Nothing,
    /// JSON with the name of its schema.
    Json { schema: &'static str, examples: Examples },
    /// A JSON list with the name of its elements' schema.
    JsonList { schema: &'static str },
    /// Texts of these media types.
    Texts(&'static [&'static str]),
    /// No body, and an address.
    Redirect,
}

type Examples = Vec<(&'static str, Value)>;

impl Operation {
    fn about(description: &'static str) -> Self {
        Self { description, ..Self::default() }
    }

    fn takes(mut self, schema: &'static str, examples: impl Into<Examples>) -> Self {
        self.body = Some(Body::Json { schema, is_required: true, examples: examples.into() });
        self
    }

    fn may_take(mut self, schema: &'static str, examples: impl Into<Examples>) -> Self {
        self.body = Some(Body::Json { schema, is_required: false, examples: examples.into() });
        self
    }

    fn takes_form(mut self, example: &'static str) -> Self {
        self.body = Some(Body::Form { example });
        self
    }

    fn answers(self, schema: &'static str, description: &'static str, examples: impl Into<Examples>) -> Self {
        self.answers_with(200, description, Content::Json { schema, examples: examples.into() })
    }

    fn answers_with(mut self, status: u16, description: &'static str, content: Content) -> Self {
        self.answers.push(Answer { status, description, content });
        self
    }

    fn fails(mut self, errors: &[ErrorCode]) -> Self {
        for error in errors {
            if !self.errors.contains(error) {
                self.errors.push(*error);
            }
        }
        self
    }

    fn with(mut self, parameter: Value) -> Self {
        self.parameters.push(parameter);
        self
    }
}

/// The operation of a route.
pub(super) fn of(route: RouteId) -> Operation {
    match route {
        RouteId::Check(route) => of_check(route),
        RouteId::Report(route) => of_report(route),
        RouteId::Publish(route) => of_publish(route),
    }
}

const SHA256: &str = "4e329ba3588b5a485665ba8b2b3e8ed4cd980f06eda452eb0cd29e1d809b6423";
const IMAGE: &str = "https://images.example/images/lamp/4e329ba3588b5a485665ba8b2b3e8ed4cd980f06eda452eb0cd29e1d809b6423?X-Amz-Signature=5b1e";
const UPDATE: &str = "lamp.18617c0e305c49f644fb";
const API: &str = "https://a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com";
const TOKEN: &str = "d1.k1.0Q3wC6hVq0m9mJm4l0Yd0m1c3M8Z8l6m5v2t9r7xQkE";

fn of_check(route: CheckRoute) -> Operation {
    match route {
        CheckRoute::Check => Operation::about(
            "The body is the device's `device.json`: its identity, and anything else that policies may ask about. Nested \
             fields are asked for by their dotted name (`site.region`).\n\n\
             The answer is the newest update that no rule objects to, or the objection to the newest one. Asking again is \
             always safe: a device has one claim on an update, however often it asks. A check-in with the offered version \
             counts as a success, so a device need not report. Come back after `check_again_after_s`.",
        )
        .takes("DeviceJson", device_jsons())
        .answers("CheckAnswer", "An update, or the reason why there is none.", [
            ("offer", json!({
                "url": IMAGE, "checksum": SHA256, "version": "1.1.0", "update": UPDATE, "size": 20, "name": "Warmer light",
                "kind": "file", "files": [{"name": "lamp.bin", "url": IMAGE, "sha256": SHA256, "size": 20}],
                "expires_at": "2026-01-02T03:19:05Z", "check_again_after_s": 3600,
            })),
            ("nothing", json!({"check_again_after_s": 86400, "reason": "up_to_date"})),
            ("later", json!({"check_again_after_s": 5012, "reason": "not_in_phase", "opens_at": "2026-01-02T04:24:00Z"})),
        ])
        .fails(&[BadJson, BadField, BadVersion, Unauthorized, UnknownProduct, BodyTooLarge, Unavailable]),
        CheckRoute::CheckIoto => Operation::about(
            "The same decision as `/v1/check`, with two differences: updates without a file are never offered, and a version \
             that is not SemVer 2.0 is answered `{}`, because these agents can do nothing with the news.",
        )
        .takes("DeviceJson", device_jsons())
        .answers("IotoAnswer", "Exactly four flat fields, or none.", [
            ("offer", json!({"url": IMAGE, "checksum": SHA256, "version": "1.1.0", "update": UPDATE})),
            ("nothing", json!({})),
        ])
        .fails(&[BadJson, BadField, Unauthorized, UnknownProduct, BodyTooLarge, Unavailable]),
        CheckRoute::Register => Operation::about(
            "A device that knows the product's id gets a token, so a product must open its registration first. A device whose \
             tokens an operator has revoked cannot get a new one here. Agents put their own prefix in front of the path, as in \
             `/api/device/register`; any prefix is taken, except one below `/v1/products/`.",
        )
        .takes("RegistrationRequest", [("lamp", json!({"id": "lamp-1", "product": "lamp", "name": "Lamp"}))])
        .answers("Registered", "The address to check in at, and the device's token.", [(
            "lamp",
            json!({
                "api": API, "cloudName": "tidegate", "cloudType": "dedicated", "id": "lamp-1", "product": "lamp",
                "registered": true, "token": TOKEN,
            }),
        )])
        .fails(&[BadJson, BadField, RegistrationClosed, BodyTooLarge, Unavailable]),

        CheckRoute::HawkbitPoll => Operation::about(
            "The same decision as `/v1/check`, about the attributes that the controller last sent with `configData`, and the \
             version that it last reported. An update reserves its place here; asking again gives the same links and spends \
             nothing. A link to `cancelAction` stands alone until the controller has answered it, or its claim has expired.",
        )
        .answers("HawkbitPoll", "What to do, as links, and when to ask again.", [
            ("update", json!({
                "_links": {"deploymentBase": {"href": format!("{API}/lamp/controller/v1/lamp-1/deploymentBase/1193046471")}},
                "config": {"polling": {"sleep": "01:00:00"}},
            })),
            ("new", json!({
                "_links": {"configData": {"href": format!("{API}/lamp/controller/v1/lamp-1/configData")}},
                "config": {"polling": {"sleep": "00:01:00"}},
            })),
        ])
        .fails(&[Unauthorized, UnknownProduct, Unavailable]),
        CheckRoute::HawkbitConfigData => Operation::about(
            "The attribute that the product names (`version_attribute`, `sw_version` by default) is the version; the others \
             are for policies. A version that is not SemVer 2.0 is kept for operators to look at, and gets no update.",
        )
        .takes("HawkbitConfigData", [(
            "swupdate",
            json!({
                "id": "", "time": "20261121T011704",
                "status": {"execution": "closed", "result": {"finished": "success"}, "details": [""]},
                "data": {"sw_version": "1.0.0", "hw_revision": "1.0"},
            }),
        )])
        .answers("Empty", "The attributes are stored.", [("nothing", json!({}))])
        .fails(&[BadJson, BadField, Unauthorized, UnknownProduct, BodyTooLarge, Unavailable]),
        CheckRoute::HawkbitDeployment => Operation::about(
            "Outside the opening windows of the rollout `maintenanceWindow` is `unavailable` and `update` is `skip`: fetch, \
             and do not install yet.",
        )
        .answers("HawkbitDeployment", "The files, and how to handle them.", [(
            "forced",
            json!({"deployment": hawkbit_content(), "id": "1193046471"}),
        )])
        .fails(ACTION),
        CheckRoute::HawkbitInstalled => {
            Operation::about("").answers("HawkbitDeployment", "The files.", []).fails(ACTION)
        }
        CheckRoute::HawkbitCancel => Operation::about("")
            .answers("HawkbitCancel", "The action to stop.", [(
                "stop",
                json!({"cancelAction": {"stopId": "1193046471"}, "id": "1193046471"}),
            )])
            .fails(ACTION),
        CheckRoute::HawkbitConfirmations => Operation::about("")
            .answers("HawkbitConfirmations", "A link to what awaits consent, if there is any.", [(
                "none",
                json!({"autoConfirm": {"active": false}}),
            )])
            .fails(&[Unauthorized, UnknownProduct, Unavailable]),
        CheckRoute::HawkbitConfirmation => {
            Operation::about("").answers("HawkbitConfirmation", "The files.", []).fails(ACTION)
        }
        CheckRoute::HawkbitArtifacts => Operation::about("")
            .answers_with(200, "The files.", Content::JsonList { schema: "HawkbitArtifact" })
            .fails(ACTION),
        CheckRoute::HawkbitDownload | CheckRoute::HawkbitDownloadHead => Operation::about(
            "The address is signed anew each time; asking again spends nothing. Do not send `Authorization` to that address: \
             libcurl and others leave it out on another host.",
        )
        .answers_with(302, "The address of the bytes, for at most 15 minutes. `Range` is for that address.", Content::Redirect)
        .fails(ACTION),

        CheckRoute::ExositeRead => Operation::about(
            "The same decision as `/v1/check`, about the version that the device last wrote to `otau_in` with \
             `INSTALLED_VERSION`. Reading again gives the same update and spends nothing. With `Request-Timeout` or \
             `If-Modified-Since` the answer without an update is 304; where the deployment lets requests wait, it comes after \
             the wait, of at most 20 seconds. A resource that does not exist is not an error.\n\n\
             The value of `config_otau` is JSON, percent-encoded: an `ExositeConfig`.",
        )
        .with(json!({"name": "config_otau", "in": "query", "description": "The resource to read.", "allowEmptyValue": true, "schema": {"type": "string"}}))
        .with(json!({"name": "Request-Timeout", "in": "header", "description": "How long to wait for an update, in milliseconds.", "schema": {"type": "integer", "minimum": 0}}))
        .with(json!({"name": "If-Modified-Since", "in": "header", "description": "Seconds since 1970, or a date.", "schema": {"type": "string"}}))
        .answers_with(200, "What to install, percent-encoded.", Content::Texts(&["application/x-www-form-urlencoded"]))
        .answers_with(204, "Nothing is to be installed.", Content::Nothing)
        .answers_with(304, "Nothing has changed.", Content::Nothing)
        .fails(&[Unauthorized, UnknownProduct, Unavailable]),
        CheckRoute::ExositeActivate => Operation::about(
            "`id=<device>`, or `vendor=…&model=<product>&sn=<device>`. The product is the first label of the host \
             (`https://lamp.updates.example.com`), the `model`, or the `product` of the query. It must have opened its \
             registration. A CIK has exactly 40 characters, because `murano-client` takes any other for a failure: \
             `<product>~<device>~<MAC>`, or `~<device>~<MAC>` if the host names the product. If the names leave no 16 \
             characters to the MAC, it is `<product>~<device>~<device token>`, which is longer.",
        )
        .with(json!({"name": "product", "in": "query", "description": "The product's id.", "schema": {"$ref": "#/components/schemas/ProductId"}}))
        .takes_form("id=dev1")
        .answers_with(200, "The CIK.", Content::Texts(&["text/plain"]))
        .fails(&[BadField, RegistrationClosed, BodyTooLarge, Unavailable]),
        CheckRoute::ExositeDownload => Operation::about(
            "Without `id` the answer is a list of the ids that the device may fetch now. A whole file of at most 4 MiB, or a \
             `Range` of at most that, is answered with its bytes; anything longer with a redirect to them, so a client that \
             does not follow redirects asks for parts. Fetching again spends nothing.",
        )
        .with(json!({"name": "id", "in": "query", "description": "The id of the file.", "schema": {"type": "string"}, "example": "1.1.0_lamp.bin"}))
        .with(json!({"name": "info", "in": "query", "description": "`true`: its media type, size, time and SHA-256 instead of the bytes.", "schema": {"type": "string"}}))
        .with(json!({"name": "Range", "in": "header", "description": "The part of the file.", "schema": {"type": "string"}, "example": "bytes=0-65535"}))
        .answers_with(200, "The bytes, or the list.", Content::Texts(&["application/octet-stream", "text/csv"]))
        .answers_with(206, "The part of the file.", Content::Texts(&["application/octet-stream"]))
        .answers_with(302, "The address of the bytes.", Content::Redirect)
        .fails(&[Unauthorized, UnknownProduct, UnknownContent, BadRange, Unavailable]),

        CheckRoute::KaaConfig | CheckRoute::KaaConfigNumbered => Operation::about(
            "The same decision as `/v1/check`. `configId` is the version that the endpoint runs, and asking with it says that \
             it is applied. Without it, the decision is about the version that the endpoint last said.",
        )
        .may_take("KaaConfigRequest", [("running", json!({"configId": "1.0.0", "observe": true}))])
        .answers("KaaAnswer", "The configuration to apply, or `{}`.", [
            ("update", json!({
                "config": {"link": IMAGE, "checksum": SHA256, "size": 20}, "configId": "1.1.0", "reasonPhrase": "ok",
                "statusCode": 200,
            })),
            ("unchanged", json!({})),
        ])
        .fails(&[BadJson, BadField, BadVersion, Unauthorized, UnknownProduct, BodyTooLarge, Unavailable]),
    }
}

const ACTION: &[ErrorCode] = &[Unauthorized, UnknownProduct, UnknownAction, Gone, Unavailable];

fn device_jsons() -> Examples {
    vec![
        ("smallest", json!({"id": "lamp-1", "product": "lamp", "version": "1.0.0"})),
        (
            "with attributes",
            json!({
                "id": "lamp-1", "product": "lamp", "version": "1.0.0", "memory": "512", "beta": true,
                "site": {"region": "eu", "tags": ["a", "b"]},
            }),
        ),
    ]
}

fn hawkbit_content() -> Value {
    let href = format!("{API}/lamp/controller/v1/lamp-1/softwaremodules/1193046471/artifacts/lamp.swu");
    json!({
        "chunks": [{
            "artifacts": [{
                "_links": {"download": {"href": href}, "download-http": {"href": href}},
                "filename": "lamp.swu",
                "hashes": {
                    "md5": "0cc175b9c0f1b6a831c399e269772661", "sha1": "2ad4d3d1ff2d2bc2b4a5d5e8d3a3b6a1f0c9e8d7",
                    "sha256": SHA256,
                },
                "size": 20,
            }],
            "name": "Warmer light", "part": "os", "version": "1.1.0",
        }],
        "download": "forced", "update": "forced",
    })
}

fn of_report(route: ReportRoute) -> Operation {
    match route {
        ReportRoute::Report => Operation::about(
            "Statuses may be skipped and repeated; an outcome counts once. `INSTALL_SUCCESS` and `INSTALLED_VERSION` are a \
             word of success, accepted at any time; a check-in with the new version proves it. `TEST_ERROR` and \
             `INSTALL_ERROR` are a failure of this attempt. `DOWNLOAD_ERROR` is no evidence against the update; the device \
             is offered it again soon. `INSTALL_ABORTED` says that the device decided against it; it is asked again a week \
             later, and four times at most. Every other status is progress.",
        )
        .takes("Report", [
            ("success", json!({"id": "lamp-1", "product": "lamp", "version": "1.1.0", "status": "INSTALL_SUCCESS"})),
            ("progress", json!({
                "id": "lamp-1", "product": "lamp", "update": UPDATE, "status": "DOWNLOAD_STEP", "progress": 40,
            })),
            ("failure", json!({
                "id": "lamp-1", "product": "lamp", "version": "1.1.0", "status": "INSTALL_ERROR",
                "message": "flash is read-only",
            })),
        ])
        .answers("ReportAnswer", "The report is handled.", [
            ("recorded", json!({"recorded": true})),
            ("again", json!({"recorded": false, "reason": "said_before"})),
        ])
        .fails(&[BadJson, BadField, BadVersion, Unauthorized, BodyTooLarge, Unavailable]),
        ReportRoute::ReportIoto => Operation::about(
            "The product is read from the update's id. The answer is `{}` whether or not the report changed anything.",
        )
        .takes("IotoReport", [
            ("value", json!({"success": true, "id": "lamp-1", "update": UPDATE})),
            ("word", json!({"success": "true", "id": "lamp-1", "update": UPDATE})),
        ])
        .answers("Empty", "The report is handled.", [("nothing", json!({}))])
        .fails(&[BadJson, BadField, Unauthorized, BodyTooLarge, Unavailable]),
        ReportRoute::HawkbitFeedback => Operation::about(
            "`closed` with `success` or `failure` ends the action; \"Skipped Update.\" in `details` does not, whatever else the \
             feedback says. `canceled` lets go of the action. Everything else is progress; `rejected` too, which means \"not \
             now\". An outcome counts once: after it, and after the action's reservation was followed by another, the answer \
             is 410.",
        )
        .takes("HawkbitFeedback", [("closed", hawkbit_feedback())])
        .answers("Empty", "The feedback is recorded.", [("nothing", json!({}))])
        .fails(FEEDBACK),
        ReportRoute::HawkbitCancelFeedback => Operation::about(
            "`closed` with `success`, or `canceled`, lets go of the action. Everything else says that the controller goes on \
             with it.",
        )
        .takes("HawkbitFeedback", [("closed", hawkbit_feedback())])
        .answers("Empty", "The feedback is recorded.", [("nothing", json!({}))])
        .fails(FEEDBACK),
        ReportRoute::HawkbitConfirmationFeedback => Operation::about(
            "`confirmed` opens the action to be installed. `denied` says that the user does not want it now.",
        )
        .takes("HawkbitConfirmationFeedback", [("confirmed", json!({"confirmation": "confirmed"}))])
        .answers("Empty", "The decision is recorded.", [("nothing", json!({}))])
        .fails(FEEDBACK),
        ReportRoute::ExositeWrite => Operation::about(
            "`otau_in=<JSON>` with an `ExositeStatus`; `INSTALLED_VERSION`, sent at every boot, is also the version that the \
             device runs. `config_otau=…` written back is a status `INIT`. A value may be percent-encoded or plain JSON. \
             Statuses may be skipped and repeated, and an outcome counts once. A status of a version that the device was not \
             offered changes nothing, and is no error.",
        )
        .takes_form("otau_in={\"version\":\"1.1.0\",\"status\":\"INSTALL_SUCCESS\",\"message\":\"\"}")
        .answers_with(204, "The status is handled.", Content::Nothing)
        .fails(EXOSITE_WRITE),
        ReportRoute::ExositeRecord => Operation::about(
            "`alias=otau_in&<seconds since 1970>=<percent-encoded value>`, repeated at most 16 times. The values are taken in the \
             order of their times.",
        )
        .takes_form("alias=otau_in&1=%7B%22version%22%3A%221.1.0%22%2C%22status%22%3A%22INSTALL%22%7D")
        .answers_with(204, "The statuses are handled.", Content::Nothing)
        .fails(EXOSITE_WRITE),
        ReportRoute::KaaApplied | ReportRoute::KaaAppliedNumbered => Operation::about(
            "A `statusCode` of 200 to 299, or none, is a success, and the version that the endpoint runs. Any other is a failure \
             of this attempt. An outcome counts once. A failure of a version that the endpoint was not offered is 404.",
        )
        .takes("KaaApplied", [
            ("applied", json!({"configId": "1.1.0"})),
            ("rejected", json!({"configId": "1.1.0", "statusCode": 400, "reasonPhrase": "no space"})),
        ])
        .answers("KaaStatus", "The result is handled.", [("ok", json!({"reasonPhrase": "ok", "statusCode": 200}))])
        .fails(&[BadJson, BadField, BadVersion, Unauthorized, UnknownProduct, UnknownUpdate, BodyTooLarge, Unavailable]),
    }
}

const FEEDBACK: &[ErrorCode] =
    &[BadJson, BadField, Unauthorized, UnknownProduct, UnknownAction, Gone, BodyTooLarge, Unavailable];
const EXOSITE_WRITE: &[ErrorCode] =
    &[BadJson, BadField, BadVersion, Unauthorized, UnknownProduct, BodyTooLarge, Unavailable];

fn hawkbit_feedback() -> Value {
    json!({
        "id": 1_193_046_471, "time": "20261121T011710",
        "status": {"execution": "closed", "result": {"finished": "success"}, "details": []},
    })
}

/// Errors of a call with a product's name in the path.
const NAMED: &[ErrorCode] = &[BadField, Forbidden, Unavailable];
/// Errors of a call with a product's name and a version in the path.
const VERSIONED: &[ErrorCode] = &[BadField, BadVersion, Forbidden, UnknownProduct, UnknownUpdate, Unavailable];
/// Errors of a body with a reason.
const REASON: &[ErrorCode] = &[BadJson, UnknownField, BodyTooLarge];

#[allow(clippy::too_many_lines, reason = "one entry for each route")]
fn of_publish(route: PublishRoute) -> Operation {
    let update = |operation: Operation| operation.answers("Update", "The update in its present state.", []);
    let steered = |operation: Operation| {
        let left = Content::Json { schema: "Update", examples: Vec::new() };
        update(operation)
            .answers_with(202, "The change is wanted, and some shards are not shut yet. The service goes on.", left)
            .fails(VERSIONED)
            .fails(REASON)
            .fails(&[WrongState, Conflict, ChangeUnderWay, ProductStopped])
    };
    let order = |operation: Operation| {
        let operation = operation.answers("Device", "The device with its orders.", []);
        operation.fails(NAMED).fails(REASON).fails(&[UnknownDevice])
    };
    let many = |operation: Operation| {
        let example = json!({"changed": 1, "unchanged": [], "next": null});
        operation.answers("ManyChanged", "The devices that changed.", [("one", example)]).fails(VERSIONED).fails(REASON)
    };
    let transition = |description: &'static str| steered(Operation::about(description).may_take("Reason", reasons()));
    match route {
        PublishRoute::ShowProduct => Operation::about("A product needs no creation; it exists with its first update.")
            .answers("Product", "The product's settings.", products())
            .fails(NAMED)
            .fails(&[UnknownProduct]),
        PublishRoute::EditProduct => Operation::about("A setting that is not named stays as it is.")
            .may_take("ProductChange", [("open", json!({"registration": "open", "reason": "first fleet"}))])
            .answers("Product", "The product's settings.", products())
            .fails(NAMED)
            .fails(REASON)
            .fails(&[UnknownProduct]),
        PublishRoute::StopProduct => Operation::about(
            "Once this has answered, no device gets an update of the product or a URL, even if nothing else can be written. \
             Every active rollout is paused. With 202, the rollouts in `left` are not paused yet; the service goes on.",
        )
        .may_take("Reason", reasons())
        .answers("ProductStopped", "The rollouts that the stop has paused.", [(
            "stopped",
            json!({"paused": ["1.1.0"], "left": []}),
        )])
        .answers_with(202, "Devices get nothing any more; some rollouts are not paused yet.", Content::Json {
            schema: "ProductStopped",
            examples: Vec::new(),
        })
        .fails(NAMED)
        .fails(REASON)
        .fails(&[UnknownProduct]),
        PublishRoute::ResumeStopped => {
            Operation::about("Resumes the rollouts that the stop has paused. A rollout that an operator paused stays paused.")
                .may_take("Reason", reasons())
                .answers("ProductResumed", "The rollouts that go on.", [(
                    "resumed",
                    json!({"resumed": ["1.1.0"], "left": []}),
                )])
                .answers_with(202, "The product goes on; some rollouts are not resumed yet.", Content::Json {
                    schema: "ProductResumed",
                    examples: Vec::new(),
                })
                .fails(NAMED)
                .fails(REASON)
                .fails(&[UnknownProduct])
        }
        PublishRoute::IssueProductToken => Operation::about(
            "The token is good only while the product accepts such tokens (`product_tokens`), and only for devices that never \
             had a token of their own. It is computed, so issuing it again gives the same one until it is revoked.",
        )
        .may_take("Reason", reasons())
        .answers("Token", "The token.", tokens())
        .fails(NAMED)
        .fails(REASON)
        .fails(&[UnknownProduct]),
        PublishRoute::RevokeProductToken => {
            Operation::about("From then on the product refuses the tokens that were issued before. Issue a new one.")
                .may_take("Reason", reasons())
                .answers("Revoked", "The tokens are revoked.", [("revoked", json!({"revoked": true, "was_known": true}))])
                .fails(NAMED)
                .fails(REASON)
                .fails(&[UnknownProduct, Conflict])
        }
        PublishRoute::ShowAudit => paged(Operation::about("The log is kept by month. A page reads three months at most."))
            .with(json!({
                "name": "version", "in": "query", "description": "Only entries about this version, device or product.",
                "schema": {"type": "string"}, "example": "1.1.0",
            }))
            .answers("AuditLog", "A page of the log, newest entry first.", [(
                "paused",
                json!({"next": null, "items": [{"changes": [],
                    "at": "2026-01-02T03:04:05.678901Z", "who": "arn:aws:iam::123456789012:user/ada", "action": "pause",
                    "version": "1.1.0", "from": "active", "to": "paused", "reason": "two lamps went dark",
                }]}),
            )])
            .fails(NAMED)
            .fails(&[UnknownProduct]),
        PublishRoute::CreateUpdate => Operation::about(
            "Send each file with a `PUT` to its upload's `url`, with exactly its `headers`: the URL is good for one hour, and \
             for these bytes only. Files that are stored already have no upload. Repeating the same create is safe and gives \
             fresh URLs; the same version with other content is `version_exists`. A version that differs only in build \
             metadata is the same update.",
        )
        .takes("UpdateDefinition", definitions())
        .answers_with(201, "The draft, or the update that the same create made before.", Content::Json {
            schema: "Created",
            examples: vec![("draft", json!({
                "id": UPDATE, "version": "1.1.0", "state": "draft",
                "uploads": [{
                    "name": "lamp.bin", "method": "PUT", "url": IMAGE,
                    "headers": {
                        "content-length": "20",
                        "x-amz-checksum-sha256": "TjKbo1iLWkhWZbqLKz6O1M2YDwbtpFLrDNKeHYCbZCM=",
                    },
                }],
            }))],
        })
        .fails(NAMED)
        .fails(REASON)
        .fails(&[BadVersion, PolicyInvalid, VersionExists, Conflict]),
        PublishRoute::ListUpdates => paged(Operation::about(""))
            .answers("UpdateList", "A page of updates, without metrics.", [])
            .fails(NAMED)
            .fails(&[UnknownProduct]),
        PublishRoute::ShowUpdate => update(Operation::about("")).fails(VERSIONED),
        PublishRoute::EditUpdate => update(
            Operation::about(
                "A draft: any field but `version`; what is not given stays as it is, and `rollout` is merged into the present \
                 one. To get uploads for other files, create it again with the whole definition. A published update: only \
                 `reports_as`, whatever became of its campaigns.",
            )
            .takes("DefinitionChange", [
                ("draft", json!({"policy": "region == \"eu\"", "rollout": {"limits": {"max_devices": 100}}})),
                ("published", json!({"reports_as": ["2.0.0-factory"], "reason": "the image says so"})),
            ]),
        )
        .fails(VERSIONED)
        .fails(REASON)
        .answers_with(202, "It is wanted, and not written yet.", Content::Json {
            schema: "Update",
            examples: Vec::new(),
        })
        .fails(&[PolicyInvalid, ContentImmutable, Conflict, ChangeUnderWay]),
        PublishRoute::EditCampaign => update(
            Operation::about(
                "`rollout` is merged into the present one: objects field by field; any other value, lists and `null` too, \
                 replaces the present one. Limits are in force when this answers. The devices that another policy admits are \
                 counted within the hour; the audit log has their number before and after. Content never changes: publish a new \
                 version for that.",
            )
            .takes("CampaignChange", [
                ("slower", json!({"rollout": {"limits": {"max_per_period": 100}}, "reason": "support is busy"})),
                ("unlimited", json!({"rollout": {"limits": {"max_devices": null}}})),
                ("narrower", json!({"policy": "region == \"eu\" && board != 3", "reason": "board 3 fails"})),
            ]),
        )
        .fails(VERSIONED)
        .fails(REASON)
        .answers_with(202, "Some shards are not shut yet. Repeat the call.", Content::Json {
            schema: "Update",
            examples: Vec::new(),
        })
        .fails(&[PolicyInvalid, WrongState, ContentImmutable, Conflict, ChangeUnderWay, ProductStopped]),
        PublishRoute::UploadParts => Operation::about(
            "For files of more than 5 GiB, which S3 does not take in one request, and for any file whose upload should go on \
             after an interruption. Send each part with a `PUT` to its `url`, with exactly its `headers`, and call this again, \
             until there are no parts: then they have become one object. What is stored of an upload is kept for seven days. \
             A file of more than 1 GiB is then read and compared, which takes some seconds for a gigabyte; until that is done, \
             the update names it in `verifying`.",
        )
        .takes("PartsAsked", [("image", json!({"name": "lamp.bin"}))])
        .answers("UploadedParts", "The parts that are to be sent next.", [
            ("begun", json!({"name": "lamp.bin", "size": 16_777_236, "stored": 16_777_216, "parts": [{
                "offset": 16_777_216, "size": 20, "url": IMAGE, "headers": {"content-length": "20"},
            }]})),
            ("stored", json!({"name": "lamp.bin", "size": 16_777_236, "stored": 16_777_236, "parts": []})),
        ])
        .fails(VERSIONED)
        .fails(&[BadJson, BadField, UnknownField, WrongState]),
        PublishRoute::DeleteUpdate => Operation::about(
            "A draft can be deleted; its version is free again. An update that was withdrawn an hour ago can be deleted too, if no device \
             runs it or is watched in it and no open rollback names it; its version is never free again, so that no device \
             takes two images for the same. Its claims are dropped and its counts end. Images that no update names any more \
             are hidden within two days, and removed 35 days later.",
        )
            .may_take("Reason", reasons())
            .answers("Deleted", "The update is deleted.", [
                ("draft", json!({"deleted": "1.1.0", "state": "draft"})),
                ("withdrawn", json!({"deleted": "1.0.0", "state": "withdrawn"})),
            ])
            .fails(VERSIONED)
            .fails(REASON)
            .fails(&[WrongState, UpdateInUse, ChangeUnderWay, Conflict]),
        PublishRoute::ActivateUpdate => transition(
            "From `draft` or `scheduled` to `active`. Every file must be uploaded, and its bytes must be the announced ones: a file of up to 1 GiB \
             is read now; a larger one is read by the service after its upload, and until then the answer is `verifying`.",
        )
        .fails(&[ImageMissing, ImageMismatch, Verifying]),
        PublishRoute::PauseUpdate => transition(
            "From `active` to `paused`. Once this has answered 200, no device gets the update or a URL, also one that had \
             the offer. The URLs that devices have end within fifteen minutes.",
        ),
        PublishRoute::ResumeUpdate => steered(
            Operation::about(
                "From `paused` or `held` to `active`. A held update takes `acknowledge`: the numbers of devices in the metrics that \
                 the operator has seen. If one of them is larger by now, nothing is changed. The devices that are offered the \
                 update from then on are another test of the health gate.",
            )
            .may_take("Resume", resumes()),
        )
        .fails(&[EvidenceMoved]),
        PublishRoute::AdvanceUpdate => steered(
            Operation::about(
                "For a phase that begins on evidence: an operator begins it without waiting for the evidence, or gives the \
                 approval that it asks for.",
            )
            .takes("Advance", [("second", json!({"phase": 2, "seen": {"failed": 1}, "reason": "looks good"}))]),
        )
        .fails(&[EvidenceMoved]),
        PublishRoute::CompleteUpdate => transition("From `active`, `paused` or `held` to `completed`."),
        PublishRoute::AbortUpdate => transition(
            "From `scheduled`, `active`, `paused`, `held` or `completed` to `aborted`. Once this has answered 200, no device gets the update or a URL.",
        ),
        PublishRoute::WithdrawUpdate => transition("From every state but `withdrawn`. It can be reopened."),
        PublishRoute::ReopenUpdate => steered(
            Operation::about(
                "From `completed`, `aborted` or `withdrawn` to `active`, in another campaign: devices are offered the update anew, \
                 and its counters begin at 0. Devices that failed in an earlier campaign are left out, unless \
                 `rollout.include_failed` is true.",
            )
            .may_take("Reopen", reopens()),
        )
        .fails(&[BadVersion, PolicyInvalid, Circle, ImageMissing, ImageMismatch]),
        PublishRoute::RollBackTo => steered(
            Operation::about(
                "Another campaign of a published update, which takes devices back to it: only devices that run one of the \
                 versions in `from`, and these before any upgrade. The rollouts of those versions are aborted, and the update's \
                 own one is completed, before it opens. Repeating the call goes on with it.",
            )
            .takes("Rollback", rollbacks()),
        )
        .fails(&[BadVersion, PolicyInvalid, Circle, ImageMissing, ImageMismatch]),
        PublishRoute::ShowMetrics => Operation::about("")
            .answers("Metrics", "The counters, the health gate's evidence, and the counters over time.", [(
                "running",
                json!({
                    "state": "active", "as_of": "2026-01-02T03:04:00Z", "offered": 12, "in_flight": 3, "installed": 1,
                    "proved": 8, "soaked": 5, "failed": 1, "reverted": 0, "lost": 0, "not_taken": 0, "declined": 0,
                    "transfer_failed": 0, "left": 0, "voided": 0, "places": 500,
                    "deferred": {"not_targeted": 40},
                    "health": {
                        "verdict": "continue", "threshold": 200.0, "min_failures": 3,
                        "channels": [
                            {
                                "name": "failed", "bad": 1, "of": 12, "tolerated_percent": 1.0, "evidence": 3.2,
                                "is_off": false,
                            },
                            {
                                "name": "lost", "bad": 0, "of": 12, "tolerated_percent": 2.0, "evidence": 0.6,
                                "is_off": false,
                            },
                            {
                                "name": "not_taken", "bad": 0, "of": 12, "tolerated_percent": 20.0, "evidence": 0.2,
                                "is_off": false,
                            },
                        ],
                        "sentence": "1 of 12 devices failed; tolerated 1 %; evidence 3.2 of 200",
                    },
                    "series": [{
                        "at": "2026-01-02T03:04:00Z", "offered": 12, "in_flight": 3, "proved": 8, "failed": 1,
                        "reverted": 0, "lost": 0,
                    }],
                }),
            )])
            .fails(VERSIONED),
        PublishRoute::RetryUpdate => many(Operation::about(
            "At most 500 devices at a time: repeat it with `after` until `next` is `null`. Whatever they did before no longer \
             keeps the update from them. They stay counted as they were until the new attempt has an outcome.",
        )
        .takes("RetryMany", [("failed", json!({"state": "failed", "reason": "the server was down"}))])),
        PublishRoute::VoidDevices => many(Operation::about(
            "What became of these devices says nothing of the update any more: they leave the counts of the health gate until \
             they get another attempt. A rollout that is held stays held until an operator resumes it.",
        )
        .takes("Devices", [("two", json!({"devices": ["lamp-1", "lamp-2"], "reason": "a broken test bench"}))])),
        PublishRoute::AssignUpdate => many(Operation::about(
            "A policy asks for it with `assigned`, which is true for the devices that the update is assigned to. The devices \
             must have checked in.",
        )
        .takes("Devices", [("one", json!({"devices": ["lamp-1"], "reason": "a customer asked"}))])),
        PublishRoute::UnassignUpdate => {
            many(Operation::about("").takes("Devices", [("one", json!({"devices": ["lamp-1"], "reason": "not needed"}))]))
        }
        PublishRoute::ListUpdateDevices => paged(Operation::about("The list is as new as the count, a few seconds old."))
            .with(json!({
                "name": "state", "in": "query", "required": true, "description": "What became of the devices.",
                "schema": {"$ref": "#/components/schemas/Outcome"}, "example": "failed",
            }))
            .answers("UpdateDevices", "A page of devices.", [(
                "one",
                json!({
                    "items": [{
                        "id": "lamp-1", "state": "failed", "message": "flash is read-only", "attempts": 1,
                        "at": "2026-01-02T03:04:00Z",
                    }],
                    "next": null,
                }),
            )])
            .fails(VERSIONED),
        PublishRoute::ShowReasons => Operation::about("Alike messages are counted together.")
            .answers("Reasons", "The reasons, the most frequent first.", [(
                "one",
                json!({
                    "items": [{"state": "failed", "message": "block # of # is bad", "devices": 12}], "complete": true,
                }),
            )])
            .fails(VERSIONED),
        PublishRoute::ListVersions => paged(Operation::about(""))
            .answers("VersionList", "One entry for each version, by the devices' last check-in.", [(
                "two",
                json!({"next": null, "items": [{"version": "1.0.0", "devices": 40}, {"version": "1.1.0", "devices": 8}]}),
            )])
            .fails(NAMED)
            .fails(&[UnknownProduct]),
        PublishRoute::ListDevices => paged(Operation::about(""))
            .with(json!({
                "name": "version", "in": "query", "required": true, "description": "The version that the devices run.",
                "schema": {"$ref": "#/components/schemas/Version"}, "example": "1.0.0",
            }))
            .answers("DeviceList", "A page of devices.", [(
                "last",
                json!({"items": ["lamp-1", "lamp-2"], "next": null}),
            )])
            .fails(NAMED),
        PublishRoute::ShowDevice => {
            Operation::about("").answers("Device", "The device.", []).fails(NAMED).fails(&[UnknownDevice])
        }
        PublishRoute::Why => Operation::about("Nothing is recorded.")
            .with(json!({
                "name": "at", "in": "query",
                "description": "Decide as at this time instead of now, with the claims and limits of now.",
                "schema": {"type": "string", "format": "date-time"}, "example": "2026-01-02T03:04:05Z",
            }))
            .answers("Receipt", "The receipt.", [])
            .fails(NAMED)
            .fails(&[BadVersion, UnknownDevice]),
        PublishRoute::RetryDevice => Operation::about(
            "Whatever the device did before no longer keeps an update from it: failures, a fall-back, a no of its user, a cloned \
             id. It stays counted as it was until the new attempt has an outcome. A claim that is under way, or that has proved \
             the update, stays as it is.",
        )
        .may_take("Reason", reasons())
        .answers("Retried", "The device may try these updates again.", [("one", json!({"retried": ["1.1.0"]}))])
        .fails(NAMED)
        .fails(REASON)
        .fails(&[UnknownDevice, Unavailable]),
        PublishRoute::HoldDevice => order(Operation::about(
            "An update that the device has not installed yet is taken back at its next check-in.",
        )
        .may_take("Reason", reasons())),
        PublishRoute::PinDevice => order(Operation::about(
            "The device is offered this version, if its policy admits the device, and no other one.",
        )
        .takes("Pin", [("stay", json!({"version": "1.0.0", "reason": "in a measurement"}))]))
        .fails(&[BadVersion]),
        PublishRoute::ReleaseDevice => {
            order(Operation::about("What the hold or the pin took back may come at once.").may_take("Reason", reasons()))
        }
        PublishRoute::DeleteDevice => Operation::about(
            "Its version, attributes, claims, orders and questions are gone at once; the numbers follow within seconds, as of a \
             device that was never there. Its tokens are good for nothing, and the product's shared token does not speak for \
             it. It may come back only after an operator issues it a token. The audit log keeps what operators did.",
        )
        .may_take("Reason", reasons())
        .answers("DeviceDeleted", "The device is deleted.", [("deleted", json!({"deleted": true}))])
        .fails(NAMED)
        .fails(REASON)
        .fails(&[UnknownDevice, Conflict]),
        PublishRoute::ExportDevice => paged(Operation::about("The pages are those of the audit log."))
            .answers("DeviceExport", "The device, and what operators did with it.", [])
            .fails(NAMED)
            .fails(&[UnknownProduct, UnknownDevice]),
        PublishRoute::ForgetDevice => Operation::about(
            "For another device with the same id. Its claims are removed: it counts in no outcome any more, holds no place, and \
             may get every update again. It keeps its token, its tags and its attributes.",
        )
        .may_take("Reason", reasons())
        .answers("Forgotten", "The claims are removed.", [("one", json!({"forgotten": ["1.1.0"]}))])
        .fails(NAMED)
        .fails(REASON)
        .fails(&[UnknownDevice]),
        PublishRoute::TagDevice => order(Operation::about(
            "A device has at most 8 tags of 256 bytes together. It cannot tag itself: `tags.site` in a policy is never what a \
             device says.",
        )
        .takes("Tag", [("site", json!({"value": "berlin", "reason": "installed"}))])),
        PublishRoute::UntagDevice => order(Operation::about("").may_take("Reason", reasons())),
        PublishRoute::IssueToken => Operation::about(
            "The token is computed, so issuing it again gives the same one until it is revoked. The device need not be known \
             yet.",
        )
        .may_take("Reason", reasons())
        .answers("Token", "The token.", tokens())
        .fails(NAMED)
        .fails(REASON)
        .fails(&[Conflict]),
        PublishRoute::RevokeToken => Operation::about(
            "From then on the device cannot register itself either; issue it a token.",
        )
        .may_take("Reason", reasons())
        .answers("Revoked", "The tokens are revoked.", [("revoked", json!({"revoked": true, "was_known": true}))])
        .fails(NAMED)
        .fails(REASON)
        .fails(&[Conflict]),
        PublishRoute::ListSoftware => paged(Operation::about(
            "If there are more, the header `link` has the address of the next page (RFC 8288), with `rel=\"next\"`.",
        ))
            .answers_with(200, "A page of updates, newest version first.", Content::JsonList { schema: "Software" })
            .fails(NAMED)
            .fails(&[UnknownProduct]),
        PublishRoute::CreateSoftware => Operation::about(
            "The update is a draft, whatever its `rolloutStrategy` is; `PUT` starts it. `notes` name what could not be carried. \
             Repeating the same create is safe; the same version with other content is `version_exists`.",
        )
        .takes("SoftwareDefinition", softwares())
        .answers_with(201, "The draft.", Content::Json { schema: "Software", examples: vec![("draft", software())] })
        .fails(NAMED)
        .fails(&[BadJson, UnknownField, BadVersion, PolicyInvalid, VersionExists, Conflict, BodyTooLarge]),
        PublishRoute::ShowSoftware => Operation::about("").answers("Software", "The update.", []).fails(VERSIONED),
        PublishRoute::PutSoftware => Operation::about(
            "`suspended` pauses an active update; `general` and `targeted` activate a draft and resume a paused update. An \
             update that is in that state already stays as it is. Everything else must be as it was created, or as `GET` shows \
             it: content never changes.",
        )
        .takes("SoftwareDefinition", softwares())
        .answers("Software", "The update in its present state.", [])
        .fails(VERSIONED)
        .fails(REASON)
        .fails(&[PolicyInvalid, ContentImmutable, WrongState, ImageMissing, ImageMismatch, Conflict]),
        PublishRoute::WithdrawSoftware => Operation::about("It stays in the list.")
            .may_take("Reason", reasons())
            .answers("Software", "The update in its present state.", [])
            .fails(VERSIONED)
            .fails(REASON)
            .fails(&[WrongState, Conflict]),
    }
}

/// An operation that answers a page of a list.
fn paged(operation: Operation) -> Operation {
    operation
        .with(json!({
            "name": "limit", "in": "query", "description": "Most items of the page. A page also ends before 1 MB.",
            "schema": {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": DEFAULT_PAGE},
        }))
        .with(json!({
            "name": "after", "in": "query", "description": "The `next` of the page before.", "schema": {"type": "string"},
        }))
}

fn reasons() -> Examples {
    vec![("reason", json!({"reason": "two lamps went dark"}))]
}

fn resumes() -> Examples {
    vec![
        ("paused", json!({"reason": "the licence server is up again"})),
        ("held", json!({"reason": "a known defect of the first batch", "acknowledge": {"failed": 4, "lost": 1}})),
    ]
}

fn reopens() -> Examples {
    vec![
        ("again", json!({"reason": "the boot loader is mended"})),
        ("europe", json!({"policy": "region == \"eu\"", "rollout": {"phases": []}, "reason": "only here it is good"})),
    ]
}

fn rollbacks() -> Examples {
    vec![("back", json!({"from": ["1.2.0"], "reason": "1.2.0 loses the clock"}))]
}

fn products() -> Examples {
    let closed = json!({
        "product": "lamp", "product_tokens": "refuse", "registration": "closed", "version_attribute": "sw_version",
        "proof": "check_in",
        "poll_s": 86_400, "boot_grace_s": 3600, "apply_within_s": 691_200, "watch_s": 864_000,
    });
    vec![("closed", closed)]
}

fn tokens() -> Examples {
    vec![("device", json!({"token": TOKEN}))]
}

fn definitions() -> Examples {
    vec![
        ("smallest", json!({"version": "1.1.0", "files": [{"name": "lamp.bin", "sha256": SHA256, "size": 20}]})),
        (
            "staged",
            json!({
                "version": "2.4.0",
                "name": "Warmer light",
                "labels": {"commit": "5b1e2f0"},
                "compatible_from": ["^2.0", ">=1.9.0, <2.0.0"],
                "policy": "region == \"eu\" && memory >= 256",
                "files": [{"name": "rootfs.swu", "sha256": SHA256, "size": 1_048_576}],
                "rollout": {
                    "starts_at": "2026-01-05T08:00:00Z",
                    "windows": [{"cron": "0 22 * * *", "duration_s": 21600, "time_zone": "Europe/Berlin"}],
                    "groups": [{"policy": "stage == \"test\"", "starts_at": "2026-01-02T08:00:00Z"}],
                    "phases": [
                        {"starts_at": "2026-01-05T08:00:00Z", "percent": 5},
                        {"starts_at": "2026-01-07T08:00:00Z", "percent": 100},
                    ],
                    "limits": {"max_devices": 10000, "max_per_period": 1000, "period_s": 3600, "max_in_flight": 500},
                    "health": {"tolerated_failed_percent": 1, "min_failures": 3},
                },
            }),
        ),
    ]
}

fn softwares() -> Examples {
    vec![(
        "targeted",
        json!({
            "version": "2.0.0", "specification": {"link": "https://example.com/lamp-2.0.0.bin"},
            "metadata": {"commit": "5b1e2f0"}, "upgradableFrom": ["1.0.0", "1.1.0"], "rolloutStrategy": "targeted",
            "filters": [{"filterId": "f1", "rolloutDate": "2026-03-02T06:00:00Z"}],
        }),
    )]
}

fn software() -> Value {
    json!({
        "version": "2.0.0", "specification": {"link": "https://example.com/lamp-2.0.0.bin"},
        "metadata": {"commit": "5b1e2f0"}, "upgradableFrom": ["1.0.0", "1.1.0"], "rolloutStrategy": "suspended",
        "filters": [], "state": "draft",
        "notes": ["it is a draft, which nobody is given: PUT it with rolloutStrategy general"],
    })
}
