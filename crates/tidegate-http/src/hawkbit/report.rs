//! hawkBit's feedback: on a deployment, on its cancellation, and on the question to the user.
//!
//! Feedback is about one reservation of a claim. Late feedback, about a reservation that a later one has replaced, gets
//! the answer that the action is over. It changes nothing.

use lambda_http::{Body, Request, Response};
use tidegate_core::question::Question;
use tidegate_core::{DeviceId, ProductId, Timestamp};
use tidegate_engine::report::{About, Content, Found as FoundClaim, Report};
use tidegate_engine::token::Proof;
use tidegate_engine::{EngineError, NotRecorded, Recorded};
use tidegate_store::ReportStore;
use tidegate_store::record::KnownDevice;
use tidegate_wire::ioto::Empty;
use tidegate_wire::{ApiError, route};

use super::wire::{self, ActionId, Address, Feedback, Found, Resource, gone, is_confirmed, unknown_action};
use crate::dialect::{Dialect, ReportLog, authorization, refusal};
use crate::report_service::ReportService;

impl<S: ReportStore> ReportService<S> {
    /// Answers one request.
    pub(crate) async fn hawkbit(&self, found: &route::Found<'_>, request: &Request, now: Timestamp) -> Response<Body> {
        match self.feedback(found, request, now).await {
            Ok(()) => wire::respond(request, &Empty {}),
            Err(error) => wire::refuse(request, &error),
        }
    }

    async fn feedback(&self, found: &route::Found<'_>, request: &Request, now: Timestamp) -> Result<(), ApiError> {
        let address = Address::of(found).ok_or_else(unknown_action)?;
        let (product, device, proof) = address.caller(authorization(request), &self.keys)?;
        let body: &[u8] = request.body();
        if let Resource::ConfirmationFeedback(action) = address.resource {
            return self.reply((&product, &device), action, is_confirmed(body)?, proof, now).await;
        }
        let (action, content) = match address.resource {
            Resource::DeploymentFeedback(action) => (action, content_of(Feedback::deployment(body)?)),
            Resource::CancelFeedback(action) => (action, content_of(Feedback::cancellation(body)?)),
            _ => return Err(unknown_action()),
        };
        let find = |known: &KnownDevice| find(action, &device, known);
        let report =
            Report { product: &product, device: &device, about: About::Found(&find), content: &content, running: None };
        let recorded = answer(self.engine.record(&report, proof, now).await, (&product, &device));
        let (status, message) = words(&content);
        let log = ReportLog {
            dialect: Dialect::HawkBit,
            product: &product,
            device: &device,
            about: &action,
            status: &status,
            message,
        };
        log.write(&recorded);
        recorded.map(drop)
    }

    /// Records a user's answer to a question.
    async fn reply(
        &self,
        (product, device): (&ProductId, &DeviceId),
        action: ActionId,
        agrees: bool,
        proof: Proof,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let is_meant = |question: &Question| ActionId::of_question(device, question) == action;
        let recorded = self.engine.reply((product, device), is_meant, agrees, proof, now).await;
        let recorded = answer(recorded, (product, device));
        let status = if agrees { "consent" } else { "refusal" };
        ReportLog { dialect: Dialect::HawkBit, product, device, about: &action, status, message: None }
            .write(&recorded);
        recorded.map(drop)
    }
}

/// The result of a report in hawkBit's words: an action that is unknown, or that is over.
fn answer(
    recorded: Result<Recorded, EngineError>,
    (product, device): (&ProductId, &DeviceId),
) -> Result<Recorded, ApiError> {
    match recorded {
        Ok(Recorded::Yes) => Ok(Recorded::Yes),
        Ok(Recorded::No(NotRecorded::NoClaim)) => Err(unknown_action()),
        Ok(Recorded::No(_)) => Err(gone()),
        Err(error) => Err(refusal(product, device, error)),
    }
}

/// The claim of an action.
fn find(action: ActionId, device: &DeviceId, known: &KnownDevice) -> FoundClaim {
    match action.find(device, known.claims.iter().map(|(update, claim)| (update, claim))) {
        Found::Present(update, _) => FoundClaim::Present(update.clone()),
        Found::Earlier => FoundClaim::Earlier,
        Found::Nothing => FoundClaim::Nothing,
    }
}

fn content_of(feedback: Feedback) -> Content {
    match feedback {
        Feedback::Status { status, message, progress } => Content::Status { status, message, progress },
        Feedback::LetGo => Content::LetGo,
    }
}

/// Status and message of a report, for the log.
fn words(content: &Content) -> (String, Option<&str>) {
    match content {
        Content::Status { status, message, .. } => (status.to_string(), message.as_deref()),
        Content::LetGo => ("let go".into(), None),
    }
}
