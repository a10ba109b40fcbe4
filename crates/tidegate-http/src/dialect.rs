//! Parts that every dialect shares: its name, its errors, and the log lines of check-ins and reports.

use std::fmt;

use lambda_http::Request;
use tidegate_core::guidance::NoOffer;
use tidegate_core::{Device, DeviceId, ProductId};
use tidegate_engine::{CheckInResult, EngineError, Recorded};
use tidegate_store::StoreError;
use tidegate_wire::answer::opens;
use tidegate_wire::{ApiError, ErrorCode};

/// Wire format of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the protocols' own names
pub(crate) enum Dialect {
    Native,
    Ioto,
    HawkBit,
    Exosite,
    Kaa,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Ioto => "ioto",
            Self::HawkBit => "hawkbit",
            Self::Exosite => "exosite",
            Self::Kaa => "kaa",
        })
    }
}

/// The `Authorization` header of a request, if it is text.
pub(crate) fn authorization(request: &Request) -> Option<&str> {
    request.headers().get("authorization").and_then(|value| value.to_str().ok())
}

/// The answer to a device whose use case failed. A failure of the store is logged here, once. The answer contains no
/// internal details.
pub(crate) fn refusal(product: &ProductId, device: &DeviceId, error: EngineError) -> ApiError {
    match error {
        EngineError::UnknownProduct(_) => ApiError::new(ErrorCode::UnknownProduct, error.to_string()),
        EngineError::TokenRefused => ApiError::unauthorized(),
        EngineError::RegistrationClosed => ApiError::new(ErrorCode::RegistrationClosed, error.to_string()),
        EngineError::BadDefinition { code, message } => ApiError::new(code, message),
        EngineError::WrongState(_)
        | EngineError::NotEditable(_)
        | EngineError::ChangeUnderWay { .. }
        | EngineError::Replaced(_)
        | EngineError::EvidenceMoved { .. }
        | EngineError::Circle { .. }
        | EngineError::NotReopenable(_)
        | EngineError::NotDeletable(_)
        | EngineError::Verifying { .. }
        | EngineError::NotAdvanceable(_)
        | EngineError::ProductStopped(_)
        | EngineError::UnknownUpdate { .. }
        | EngineError::UnknownDevice(_)
        | EngineError::VersionExists { .. }
        | EngineError::VersionDeleted { .. }
        | EngineError::UpdateInUse { .. }
        | EngineError::ImageMissing { .. }
        | EngineError::ImageMismatch { .. }
        | EngineError::UnreadableUpdate { .. } => {
            // Errors of operators' use cases: no use case of a device returns them.
            tracing::error!(%product, %device, %error, "unexpected_refusal");
            ApiError::unavailable(retry_after_s(device))
        }
        EngineError::CredentialsEnding | EngineError::Busy => ApiError::unavailable(retry_after_s(device)),
        EngineError::Store(StoreError::Conflict | StoreError::Contended) => {
            // Other requests were faster; the device sends this again.
            tracing::warn!(%product, %device, "store_contended");
            ApiError::unavailable(retry_after_s(device))
        }
        EngineError::Store(error) => {
            tracing::error!(%product, %device, %error, "store_failed");
            ApiError::unavailable(retry_after_s(device))
        }
    }
}

/// Seconds after which a device tries again, spread over a minute by its id, so that a fleet does not come back in one
/// second.
fn retry_after_s(device: &DeviceId) -> u32 {
    let spread = device.as_str().bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    30 + spread % 60
}

/// Logs the result of a check-in. Nearly all offer nothing, and a line of log is a third of what such a check-in costs,
/// so those are logged at debug level.
pub(crate) fn log_check_in(dialect: Dialect, device: &Device, result: &CheckInResult) {
    let Device { product, id, version, .. } = device;
    match result {
        CheckInResult::Offer(offered) => {
            tracing::info!(%product, device = %id, %version, %dialect, offer = %offered.update.version, "check_in");
        }
        CheckInResult::Held(held) => {
            tracing::debug!(%product, device = %id, %version, %dialect, reason = held.reason().name(), "check_in");
        }
        CheckInResult::Asked(asked) => {
            let asks = &asked.update.version;
            tracing::debug!(%product, device = %id, %version, %dialect, %asks, "check_in");
        }
        CheckInResult::Nothing(NoOffer { reason, opens_at, .. }) => {
            let (reason, opens_at) = (reason.name(), opens_at.map(opens));
            tracing::debug!(%product, device = %id, %version, %dialect, reason, opens_at, "check_in");
        }
    }
}

/// Logs a check-in of a device that has never sent its version.
pub(crate) fn log_no_version(dialect: Dialect, product: &ProductId, device: &DeviceId) {
    tracing::debug!(%product, %device, %dialect, reason = "no_version", "check_in");
}

/// Subject and words of a report, for the log.
pub(crate) struct ReportLog<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) product: &'a ProductId,
    pub(crate) device: &'a DeviceId,
    /// The update or the version, or the number that the dialect gives the action.
    pub(crate) about: &'a dyn fmt::Display,
    pub(crate) status: &'a str,
    pub(crate) message: Option<&'a str>,
}

impl ReportLog<'_> {
    /// Logs the result of a report.
    pub(crate) fn write(&self, recorded: &Result<Recorded, ApiError>) {
        let Self { dialect, product, device, about, status, message } = self;
        match recorded {
            Ok(recorded) => {
                tracing::info!(%product, %device, update = %about, status, ?recorded, %dialect, "report");
                // Whatever a device says: it may be about persons.
                tracing::debug!(%product, %device, update = %about, message, "report_message");
            }
            Err(error) => {
                let code = error.code.code();
                tracing::warn!(%product, %device, update = %about, status, code, %dialect, "report_refused");
            }
        }
    }
}

/// The subject of a report and the text of its status, as [`ReportLog`] takes them.
pub(crate) fn log_of_update<'a>(
    dialect: Dialect,
    report: &'a tidegate_wire::report::Report,
    status: &'a str,
) -> ReportLog<'a> {
    ReportLog {
        dialect,
        product: &report.product,
        device: &report.device,
        about: &report.about,
        status,
        message: report.message.as_deref(),
    }
}
