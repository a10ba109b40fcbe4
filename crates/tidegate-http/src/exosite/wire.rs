//! Exosite's OTAU: a device reads the resource `config_otau`, and writes its status to `otau_in`.
//!
//! The sources are Exosite's "Device OTA Update Schema" and HTTP device API. For parts that they do not describe, the
//! source is the behaviour of `murano-client` (`tests/wire/exosite-murano-client.txt`).

use lambda_http::http::HeaderMap;
use lambda_http::{Body, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value};
use tidegate_core::status::Status;
use tidegate_core::update::{File, Kind};
use tidegate_core::{DeviceId, ProductId, Timestamp, Update, Version};

use tidegate_engine::token::{Bearer, TokenKeys};
use tidegate_wire::body_limits;
use tidegate_wire::device_json::parse_version;
use tidegate_wire::exosite::{ExositeConfig, ExositeFile, ExositeKind};
use tidegate_wire::report::{Report, Subject, message_of};
use tidegate_wire::strict_json;
use tidegate_wire::{ApiError, ErrorCode};

/// The longest part of a file that an answer contains: Lambda answers at most 6 MB, of which base64 takes a quarter.
/// The answer for a longer part is a redirect to the bytes.
pub const LONGEST_PART_BYTES: u64 = 4 * 1024 * 1024;
/// The largest number of statuses in one write. A device that was offline sends its stored statuses together.
const MOST_STATUSES: usize = 16;

/// The device of a request, from `X-Exosite-CIK: <token>` or `Authorization: token <token>`.
///
/// # Errors
/// `unauthorized`.
pub fn caller(headers: &HeaderMap, keys: &TokenKeys) -> Result<Bearer, ApiError> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let in_authorization = || {
        let (scheme, token) = header("authorization")?.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("token").then_some(token)
    };
    let token = header("x-exosite-cik").or_else(in_authorization).ok_or_else(ApiError::unauthorized)?;
    keys.verify_named(token, addressed(headers)).ok_or_else(ApiError::unauthorized)
}

/// The product that the address names: the first label of the host, as in
/// `https://<product>.m2.exosite.io`. An address of one label or of numbers names none.
#[must_use]
pub fn addressed(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get("host")?.to_str().ok()?;
    let host = host.split(':').next()?;
    let (label, rest) = host.split_once('.')?;
    let is_number = rest.split('.').all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    (!label.is_empty() && !is_number).then_some(label)
}

/// A device that asks for its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// The product.
    pub product: ProductId,
    /// The device.
    pub device: DeviceId,
    /// True if the address contains the product, as it then does in every request.
    pub is_addressed: bool,
}

impl Activation {
    /// Reads an activation: `id=<device>`, or `vendor=…&model=<product>&sn=<device>` as
    /// older devices send it. The product is the `product` of the query, the `model`, or the one that
    /// the address names.
    ///
    /// # Errors
    /// `body_too_large` or `bad_field`.
    pub fn parse(body: &[u8], query: Option<&str>, headers: &HeaderMap) -> Result<Self, ApiError> {
        strict_json::check_length(body, body_limits::DEVICE)?;
        let body = text(body)?;
        let field = |name: &str| pairs(body).find(|(known, _)| known == name).map(|(_, value)| value);
        let device = field("id").or_else(|| field("sn")).unwrap_or_default();
        let device = DeviceId::new(device).map_err(|error| ApiError::bad_field(format!("id: {error}")))?;
        let addressed = addressed(headers);
        let product = query.map(str::to_string).or_else(|| field("model"));
        let product = product.or_else(|| addressed.map(str::to_string)).ok_or_else(|| {
            ApiError::bad_field("the product is missing: call https://<product>.…, or add ?product= to the path")
        })?;
        let is_addressed = addressed == Some(product.as_str());
        let product = ProductId::new(product).map_err(|error| ApiError::bad_field(format!("product: {error}")))?;
        Ok(Self { product, device, is_addressed })
    }
}

/// A write to a device's resources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Write {
    /// The statuses in `otau_in`, oldest first.
    pub statuses: Vec<Said>,
    /// The version in a `config_otau` that the device wrote back as an acknowledgement.
    pub acknowledged: Option<Version>,
}

/// One status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    version: Version,
    status: Status,
    message: Option<String>,
}

impl Write {
    /// Reads a write: `<resource>=<value>`. Values are percent-encoded, but for
    /// `murano-client`, which sends JSON as it is.
    ///
    /// # Errors
    /// `body_too_large`, `bad_json`, `bad_field` or `bad_version`.
    pub fn alias(body: &[u8]) -> Result<Self, ApiError> {
        strict_json::check_length(body, body_limits::DEVICE)?;
        let body = text(body)?;
        let mut write = Self::default();
        match body.split_once('=') {
            // JSON may hold every character that separates parts of a form, so it is the last part.
            Some((resource, value)) if value.trim_start().starts_with('{') => write.take(resource, value)?,
            _ => pairs(body).try_for_each(|(resource, value)| write.take(&resource, &value))?,
        }
        write.checked()
    }

    /// Reads a record of writes: `alias=<resource>&<time>=<value>&…`, several times over.
    ///
    /// # Errors
    /// `body_too_large`, `bad_json`, `bad_field` or `bad_version`.
    pub fn record(body: &[u8]) -> Result<Self, ApiError> {
        strict_json::check_length(body, body_limits::DEVICE)?;
        let (mut resource, mut values) = (String::new(), Vec::new());
        for (name, value) in pairs(text(body)?) {
            match name.parse::<f64>() {
                _ if name == "alias" => resource = value,
                // A time is only used to sort the writes.
                Ok(time) => values.push((time, resource.clone(), value)),
                Err(_) => {
                    return Err(ApiError::bad_field(format!(
                        "`{name:.32}` must be alias or a time in seconds since 1970"
                    )));
                }
            }
        }
        values.sort_by(|(a, ..), (b, ..)| a.total_cmp(b));
        let mut write = Self::default();
        values.iter().try_for_each(|(_, resource, value)| write.take(resource, value))?;
        write.checked()
    }

    /// Resources that do not exist are no errors in this protocol.
    fn take(&mut self, resource: &str, value: &str) -> Result<(), ApiError> {
        match resource {
            "otau_in" => self.statuses.push(Said::parse(value)?),
            "config_otau" if value.trim().is_empty() => {}
            "config_otau" => self.acknowledged = Some(version_in(&object(value)?)?),
            _ => {}
        }
        Ok(())
    }

    fn checked(self) -> Result<Self, ApiError> {
        match self.statuses.len() <= MOST_STATUSES {
            true => Ok(self),
            false => Err(ApiError::bad_field(format!("otau_in may be written {MOST_STATUSES} times at once"))),
        }
    }
}

impl Write {
    /// All statuses, oldest first. An acknowledgement counts as the first status.
    pub fn said(self) -> impl Iterator<Item = Said> {
        let acknowledged = self.acknowledged.map(|version| Said { version, status: Status::Init, message: None });
        acknowledged.into_iter().chain(self.statuses)
    }
}

impl Said {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let object = object(text)?;
        let name = object.get("status").and_then(Value::as_str);
        let name = name.ok_or_else(|| ApiError::bad_field("status is missing or not a string"))?;
        let status = Status::parse(name).ok_or_else(|| {
            let names = Status::names().collect::<Vec<_>>().join(", ");
            ApiError::bad_field(format!("status must be one of {names}; got `{name:.32}`"))
        })?;
        Ok(Self { version: version_in(&object)?, status, message: message_of(&object) })
    }

    /// The status as a report.
    #[must_use]
    pub fn report(&self, product: &ProductId, device: &DeviceId) -> Report {
        Report {
            device: device.clone(),
            product: product.clone(),
            about: Subject::Version(self.version.clone()),
            status: self.status,
            message: self.message.clone(),
            progress: None,
        }
    }

    /// The version that the device runs, if the status is `INSTALLED_VERSION`, which devices send at every boot.
    #[must_use]
    pub fn running(&self) -> Option<&Version> {
        (self.status == Status::InstalledVersion).then_some(&self.version)
    }
}

fn object(text: &str) -> Result<Map<String, Value>, ApiError> {
    match strict_json::parse(text.as_bytes(), body_limits::DEVICE)? {
        Value::Object(object) => Ok(object),
        _ => Err(ApiError::new(ErrorCode::BadJson, "the value must be a JSON object")),
    }
}

fn version_in(object: &Map<String, Value>) -> Result<Version, ApiError> {
    let version = object.get("version").and_then(Value::as_str);
    parse_version(version.ok_or_else(|| ApiError::bad_field("version is missing or not a string"))?)
}

fn text(body: &[u8]) -> Result<&str, ApiError> {
    std::str::from_utf8(body).map_err(|_| ApiError::bad_field("the body must be UTF-8"))
}

/// The parts of a form.
fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    let parts = text.trim().split('&').filter(|part| !part.is_empty());
    parts.map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (form_decoded(name), form_decoded(value))
    })
}

/// A value out of a form: `+` is a space, `%41` is `A`. A `%` without two hex digits stays as it is.
fn form_decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Encodes a value for a form.
fn form_encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Returns true if a read such as `?config_otau&otau_in` names `config_otau`.
#[must_use]
pub fn reads_config(query: &str) -> bool {
    pairs(query).any(|(name, _)| name == "config_otau")
}

/// The time that the device is ready to wait for a change, in milliseconds.
#[must_use]
pub fn request_timeout_ms(headers: &HeaderMap) -> Option<u64> {
    headers.get("request-timeout")?.to_str().ok()?.trim().parse().ok()
}

/// The time after which the device asks for changes: seconds since 1970, as in this protocol, or a date.
#[must_use]
pub fn if_modified_since_s(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get("if-modified-since")?.to_str().ok()?.trim();
    let date = || jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok().map(Timestamp::as_second);
    text.parse().ok().or_else(date)
}

/// An update as the value of `config_otau`. It names files by their ids for `/provision/download`.
#[must_use]
pub fn config_otau(update: &Update) -> ExositeConfig {
    let content = &update.content;
    let payload = content.payload.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let ids = || content.files.iter().map(|file| content_id(update, file)).collect::<Value>();
    let (kind, payload) = match (content.kind, payload, content.files.as_slice()) {
        (Kind::File, _, [file]) => (ExositeKind::File, content_id(update, file).into()),
        // The schema's FILE is one; several are a list of them.
        (Kind::File, ..) => (ExositeKind::UrlList, ids()),
        (Kind::Json, payload, _) => (ExositeKind::Json, payload.unwrap_or_else(|| Map::new().into())),
        (Kind::UrlList, Some(Value::Array(items)), _) => {
            (ExositeKind::UrlList, items.into_iter().map(|item| without_host(update, item)).collect())
        }
        (Kind::UrlList, payload, _) => (ExositeKind::UrlList, payload.unwrap_or_else(ids)),
    };
    let file =
        |file: &File| ExositeFile { id: content_id(update, file), sha256: file.sha256.clone(), size: file.size_bytes };
    ExositeConfig {
        description: content.description.clone(),
        files: content.files.iter().map(file).collect(),
        name: content.name.as_deref().unwrap_or(update.product.as_str()).to_string(),
        payload,
        kind,
        version: update.version.to_string(),
    }
}

/// The item of a list, or the id of the file if the item is the name of one of the update's files.
fn without_host(update: &Update, item: Value) -> Value {
    let file = item.as_str().and_then(|name| update.content.files.iter().find(|file| file.name == name));
    file.map_or(item, |file| content_id(update, file).into())
}

/// The id of a file. Clients save the file under it, so it contains the version.
#[must_use]
pub fn content_id(update: &Update, file: &File) -> String {
    format!("{}_{}", update.version, file.name)
}

/// The file of `update` with this id. The file's own name is also accepted.
#[must_use]
pub fn find_file<'a>(update: &'a Update, id: &str) -> Option<&'a File> {
    update.content.files.iter().find(|file| content_id(update, file) == id || file.name == id)
}

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The first byte.
    pub first: u64,
    /// The last byte.
    pub last: u64,
    /// True if the request asks for the whole file.
    pub is_whole: bool,
}

impl Part {
    /// Reads a `Range` of one range of bytes; any other is the whole file (RFC 9110, section 14.2).
    ///
    /// # Errors
    /// 416, when the range is beyond the file.
    pub fn parse(range: Option<&str>, size_bytes: u64) -> Result<Self, ApiError> {
        let whole = Self { first: 0, last: size_bytes.saturating_sub(1), is_whole: true };
        let Some((first, last)) = range.and_then(|text| text.trim().strip_prefix("bytes=")?.split_once('-')) else {
            return Ok(whole);
        };
        let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) if first <= last => (first, last.min(whole.last)),
            (Ok(first), Err(_)) if last.is_empty() => (first, whole.last),
            (Err(_), Ok(length)) if first.is_empty() && length > 0 => (size_bytes.saturating_sub(length), whole.last),
            _ => return Ok(whole),
        };
        if first >= size_bytes {
            let message = format!("the file has {size_bytes} bytes");
            return Err(ApiError::new(ErrorCode::BadRange, message));
        }
        Ok(Self { first, last, is_whole: false })
    }

    /// Its length.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

/// An answer with `config_otau` as a form value, and the time of its last change.
#[must_use]
pub fn value(update: &Update, changed_at: Timestamp) -> Response<Body> {
    let config = serde_json::to_string(&config_otau(update)).expect("texts, numbers and JSON values are JSON");
    let text = format!("config_otau={}", form_encoded(&config));
    let mut response = respond(200, "application/x-www-form-urlencoded; charset=utf-8", Body::Text(text));
    // A date has whole seconds. It is rounded down, so it never hides a change.
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&changed_at);
    if let Some(date) = date.ok().and_then(|date| date.parse().ok()) {
        response.headers_mut().insert("last-modified", date);
    }
    response
}

/// The answer without content: there is no offer, or a write was accepted.
#[must_use]
pub fn nothing() -> Response<Body> {
    respond(204, "text/plain; charset=utf-8", Body::Empty)
}

/// The answer if nothing changed while the device waited.
#[must_use]
pub fn not_modified() -> Response<Body> {
    respond(304, "text/plain; charset=utf-8", Body::Empty)
}

/// A text: a token, or a list.
#[must_use]
pub fn plain(media: &str, text: String) -> Response<Body> {
    respond(200, media, Body::Text(text))
}

/// A part of a file, or all of it.
#[must_use]
pub fn bytes(part: &Part, size_bytes: u64, bytes: Vec<u8>) -> Response<Body> {
    let status = if part.is_whole { 200 } else { 206 };
    let mut response = respond(status, "application/octet-stream", Body::Binary(bytes));
    let headers = response.headers_mut();
    headers.insert("accept-ranges", lambda_http::http::HeaderValue::from_static("bytes"));
    if let (false, Ok(range)) = (part.is_whole, format!("bytes {}-{}/{size_bytes}", part.first, part.last).parse()) {
        headers.insert("content-range", range);
    }
    response
}

/// An error with this protocol's status, and a sentence for a person.
#[must_use]
pub fn refuse(error: &ApiError) -> Response<Body> {
    let status = match error.code {
        // "409 Conflict if the serial number is not enabled for activation."
        ErrorCode::RegistrationClosed => 409,
        _ => error.status(),
    };
    let mut response = respond(status, "text/plain; charset=utf-8", Body::Text(error.to_string()));
    if let Some(seconds) = error.retry_after_s {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

fn respond(status: u16, media: &str, body: Body) -> Response<Body> {
    let length = body.len();
    let mut built = Response::builder().status(status).header("cache-control", "no-store");
    if length > 0 || status == 200 {
        built = built.header("content-type", media).header("content-length", length);
    }
    built.body(body).expect("a status and constant headers always build")
}

/// Error: the device may not fetch content with this id now.
#[must_use]
pub fn unknown_content() -> ApiError {
    let message = "there is no such content for this device now; read config_otau again";
    ApiError::new(ErrorCode::UnknownContent, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(write: Result<Write, ApiError>, expected: &str) {
        let got = match write {
            Ok(write) => {
                let statuses = write
                    .statuses
                    .iter()
                    .map(|said| format!("{} {} {}", said.version, said.status, said.message.as_deref().unwrap_or("-")));
                let acknowledged = write.acknowledged.iter().map(|version| format!("took {version}"));
                statuses.chain(acknowledged).collect::<Vec<_>>().join("; ")
            }
            Err(error) => error.to_string(),
        };
        assert!(got.starts_with(expected), "{got}");
    }

    #[test]
    fn json_is_read_as_murano_client_sends_it_and_as_a_form_holds_it() {
        let recorded = br#"otau_in={"version":"1.2.0","status":"INIT","message":""}"#;
        check(Write::alias(recorded), "1.2.0 INIT ");
        let raw = br#"otau_in={"version":"1.2.0","status":"TEST_ERROR","message":"a=1&b=2 50% of +3"}"#;
        check(Write::alias(raw), "1.2.0 TEST_ERROR a=1&b=2 50% of +3");
        let form = form_encoded(r#"{"version":"1.2.0","status":"INSTALL","message":"a b+ü"}"#);
        check(Write::alias(format!("data_in=7&otau_in={form}").as_bytes()), "1.2.0 INSTALL a b+ü");
        check(Write::alias(b"data_in=%7B%7D"), "");
        check(Write::alias(b""), "");
        check(Write::alias(br#"config_otau={"version":"1.2.0","type":"JSON","payload":{}}"#), "took 1.2.0");
        check(Write::alias(b"otau_in={}"), "status is missing");
        check(Write::alias(br#"otau_in={"version":"1.2.0","status":"DONE"}"#), "status must be one of INIT");
        check(Write::alias(br#"otau_in={"version":"1.2","status":"INIT"}"#), "version must be SemVer");
        check(Write::alias(b"otau_in=7"), "the value must be a JSON object");
        check(Write::alias(b"otau_in={"), "the body must be JSON");
        check(Write::alias(&vec![b'x'; 16 * 1024 + 1]), "the body must be at most");
        check(Write::alias(&[0xff]), "the body must be UTF-8");
    }

    #[test]
    fn records_are_read_in_the_order_of_their_times() {
        let status = |status: &str| form_encoded(&format!(r#"{{"version":"1.2.0","status":"{status}"}}"#));
        let body = format!("alias=otau_in&20={}&10.5={}&alias=data_in&5=1", status("INSTALL"), status("DOWNLOAD"));
        check(Write::record(body.as_bytes()), "1.2.0 DOWNLOAD -; 1.2.0 INSTALL -");
        check(Write::record(b"alias=otau_in&soon=1"), "`soon` must be alias or a time");
        let many = (0..17).map(|n| format!("&{n}={}", status("INIT"))).collect::<String>();
        check(Write::record(format!("alias=otau_in{many}").as_bytes()), "otau_in may be written 16 times");
    }

    fn headers(host: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("host", host.parse().unwrap());
        headers
    }

    #[test]
    fn an_activation_says_its_product_in_one_of_three_places() {
        let read = |body: &str, query: Option<&str>, host: &str| match Activation::parse(
            body.as_bytes(),
            query,
            &headers(host),
        ) {
            Ok(asked) => format!("{} {} {}", asked.product, asked.device, asked.is_addressed),
            Err(error) => error.to_string(),
        };
        assert_eq!(read("id=dev1", None, "lamp.m2.exosite.io:443"), "lamp dev1 true");
        assert_eq!(read("id=dev1", Some("door"), "lamp.m2.exosite.io"), "door dev1 false");
        assert_eq!(read("vendor=acme&model=door&sn=aa%3Abb", None, "127.0.0.1:80"), "door aa:bb false");
        assert!(read("id=dev1", None, "127.0.0.1:9490").starts_with("the product is missing"));
        assert!(read("id=dev1", None, "localhost:9490").starts_with("the product is missing"));
        assert!(read("", None, "lamp.m2.exosite.io").starts_with("id: a device id must be"));
    }

    #[test]
    fn a_range_is_one_range_of_bytes_or_everything() {
        let read = |range: &str| match Part::parse(Some(range), 100) {
            Ok(part) => format!("{}-{} {}", part.first, part.last, if part.is_whole { "whole" } else { "part" }),
            Err(error) => error.status().to_string(),
        };
        assert_eq!(read("bytes=0-9"), "0-9 part");
        assert_eq!(read("bytes=90-"), "90-99 part");
        assert_eq!(read("bytes=-10"), "90-99 part");
        assert_eq!(read("bytes=-1000"), "0-99 part");
        assert_eq!(read("bytes=50-1000"), "50-99 part");
        assert_eq!(read("bytes=100-"), "416");
        for ignored in ["bytes=0-1,5-6", "bytes=9-3", "lines=1-2", "bytes=-0", "bytes=x-"] {
            assert_eq!(read(ignored), "0-99 whole", "{ignored}");
        }
    }

    #[test]
    fn times_are_seconds_or_a_date() {
        let mut headers = HeaderMap::new();
        assert_eq!(if_modified_since_s(&headers), None);
        for (text, expected) in [("0", Some(0)), ("Fri, 15 Jun 2018 19:04:13 GMT", Some(1_529_089_453)), ("soon", None)]
        {
            headers.insert("if-modified-since", text.parse().unwrap());
            assert_eq!(if_modified_since_s(&headers), expected, "{text}");
        }
        headers.insert("request-timeout", "3000".parse().unwrap());
        assert_eq!(request_timeout_ms(&headers), Some(3000));
    }
}
