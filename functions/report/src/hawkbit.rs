//! hawkBit's feedback: on a deployment, on its cancellation, and on the question to the user.
//!
//! Feedback is about one reservation of a claim. What comes late, from a reservation that was followed
//! by another, is told that it is over and changes nothing.

use lambda_http::{Body, Request, Response};
use serde_json::json;
use tidegate_api::dialect::hawkbit::{
    self, ActionId, Feedback, Found, Resource, Route, gone, is_confirmed, unknown_action,
};
use tidegate_api::report::Report;
use tidegate_api::token::Proof;
use tidegate_api::{ApiError, ErrorCode};
use tidegate_core::claim::{Attempt, Movement};
use tidegate_core::outcome::Status;
use tidegate_core::{Claim, ClaimState, DeviceId, ProductId, State, Timestamp};
use tidegate_store::record::{ClaimKey, KnownDevice};
use tidegate_store::store::{Freshness, Stored};
use tidegate_store::{ReportStore, StoreError};

use crate::{MOST_TRIES, Recorded, ReportService, Runs, unavailable};

/// What a device says of an action.
enum Said {
    Feedback(Feedback),
    Consent,
}

impl<S: ReportStore> ReportService<S> {
    /// Answers one request.
    pub(crate) async fn hawkbit(&self, route: &Route, request: &Request, now: Timestamp) -> Response<Body> {
        match self.feedback(route, request, now).await {
            Ok(()) => hawkbit::respond(request, &json!({})),
            Err(error) => hawkbit::refuse(request, &error),
        }
    }

    async fn feedback(&self, route: &Route, request: &Request, now: Timestamp) -> Result<(), ApiError> {
        let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let (product, device, proof) = route.caller(request.method().as_str(), authorization, &self.keys)?;
        let body: &[u8] = request.body();
        let (action, said) = match route.resource {
            Resource::DeploymentFeedback(action) => (action, Said::Feedback(Feedback::deployment(body)?)),
            Resource::CancelFeedback(action) => (action, Said::Feedback(Feedback::cancellation(body)?)),
            Resource::ConfirmationFeedback(action) if is_confirmed(body)? => (action, Said::Consent),
            Resource::ConfirmationFeedback(action) => {
                let denied = Feedback::Status { status: Status::InstallAborted, message: None, progress: None };
                (action, Said::Feedback(denied))
            }
            _ => return Err(ApiError::new(ErrorCode::UnknownRoute, "there is nothing at this path")),
        };
        let heard = self.hear(&product, &device, proof, action, &said, now).await;
        match &heard {
            Ok(()) => {
                tracing::info!(%product, %device, %action, said = said.name(), message = said.message(), dialect = "hawkbit", "report")
            }
            Err(error) => {
                tracing::warn!(%product, %device, %action, said = said.name(), code = error.code.code(), dialect = "hawkbit", "report_refused")
            }
        }
        heard
    }

    async fn hear(
        &self,
        product: &ProductId,
        device: &DeviceId,
        proof: Proof,
        action: ActionId,
        said: &Said,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let down = |error: StoreError| unavailable(product, device, &error);
        for _ in 0..MOST_TRIES {
            let known = self.store.device(product, device, Freshness::Strong).await.map_err(down)?;
            self.accept(product, device, &known, proof).await?;
            let (update, claim) = match action.find(device, known.claims.iter().map(|(update, claim)| (update, claim)))
            {
                Found::Present(update, claim) => (update, claim),
                Found::Earlier => return Err(gone()),
                Found::Nothing => return Err(unknown_action()),
            };
            let key = ClaimKey { product: product.clone(), device: device.clone(), update: update.clone() };
            match self.take(&key, &known, claim, said, now).await {
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(down(error)),
                Ok(Recorded::Yes) => return Ok(()),
                Ok(Recorded::No(_)) => return Err(gone()),
            }
        }
        Err(down(StoreError::Conflict))
    }

    async fn take(
        &self,
        key: &ClaimKey,
        known: &KnownDevice,
        claim: &Claim,
        said: &Said,
        now: Timestamp,
    ) -> Stored<Recorded> {
        match said {
            Said::Feedback(Feedback::Status { status, message, progress }) => {
                let report = Report {
                    device: key.device.clone(),
                    product: key.product.clone(),
                    update: key.update.clone(),
                    status: *status,
                    message: message.clone(),
                    progress: *progress,
                };
                self.apply(key, claim, &report, Runs::Reported(&known.record_or_default()), now).await
            }
            Said::Feedback(Feedback::LetGo) => self.let_go(key, claim).await,
            Said::Consent => match claim.consent() {
                Some(after) => {
                    self.store.settle(key, claim, &after, Movement::default()).await?;
                    Ok(Recorded::Yes)
                }
                None if claim.state == ClaimState::Reserved => Ok(Recorded::Yes),
                None => Ok(Recorded::No("over")),
            },
        }
    }

    /// The device stopped before it installed anything. Where it was told to, the attempt is not
    /// held against it.
    async fn let_go(&self, key: &ClaimKey, claim: &Claim) -> Stored<Recorded> {
        if claim.state != ClaimState::Reserved {
            return Ok(Recorded::No("over"));
        }
        let update = self.store.update(&key.product, &claim.version).await?;
        let is_on = update.is_some_and(|update| matches!(update.state, State::Active | State::Completed));
        let attempt = if is_on { Attempt::Spent } else { Attempt::GivenBack };
        let Some((after, movement)) = claim.let_go(attempt) else {
            return Ok(Recorded::No("over"));
        };
        self.store.settle(key, claim, &after, movement).await?;
        Ok(Recorded::Yes)
    }
}

impl Said {
    fn name(&self) -> String {
        match self {
            Self::Feedback(Feedback::Status { status, .. }) => status.to_string(),
            Self::Feedback(Feedback::LetGo) => "let go".into(),
            Self::Consent => "consent".into(),
        }
    }

    fn message(&self) -> Option<&str> {
        match self {
            Self::Feedback(Feedback::Status { message, .. }) => message.as_deref(),
            _ => None,
        }
    }
}
