//! The HTTP client of the SDK that answers from a [`Play`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use serde_json::Value;
use tidegate_cloud::{DynamoDbAnswer, InProcessDynamoDb, REGION};
use tokio::time::{Instant, sleep};

use super::play::{OnTheWire, Play, Reply};
use super::refusals;
use super::request::Request;
use super::{Kind, Trouble, Units};

/// A DynamoDB that plays [`Trouble`]. Clones are the same one.
#[derive(Clone)]
pub struct TroubledDynamoDb(Arc<Mutex<Play>>);

impl TroubledDynamoDb {
    /// Stands before a database.
    #[must_use]
    pub fn before(dynamodb: InProcessDynamoDb, trouble: Trouble) -> Self {
        Self(Arc::new(Mutex::new(Play::new(dynamodb, trouble))))
    }

    /// Stands before a new database in memory.
    ///
    /// # Panics
    /// When SQLite has no memory.
    #[must_use]
    pub fn in_memory(trouble: Trouble) -> Self {
        Self::before(InProcessDynamoDb::in_memory().expect("SQLite opens a database in memory"), trouble)
    }

    /// A client of the SDK, with the SDK's own retries.
    #[must_use]
    pub fn client(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::from_conf(self.config().build())
    }

    /// The configuration of a client, to which a test may add interceptors, time-outs and retries.
    #[must_use]
    pub fn config(&self) -> aws_sdk_dynamodb::config::Builder {
        aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(Credentials::new("local", "local", None, None, "tidegate-trouble"))
            .endpoint_url("http://dynamodb.invalid")
            .http_client(self.clone())
    }

    /// Plays other trouble from now on, from its seed.
    pub fn play(&self, trouble: Trouble) {
        self.lock().change(trouble);
    }

    /// Applies a write between the next two pages of a Query or Scan. `body` is the JSON of the operation.
    pub fn write_between_pages(&self, operation: &str, body: Value) {
        self.lock().between_pages.push_back(Request::new(operation, body));
    }

    /// Applies all late duplicates that have not come yet.
    pub fn apply_late_duplicates(&self) {
        self.lock().finish(Instant::now());
    }

    /// Units that requests have cost until now.
    #[must_use]
    pub fn units(&self) -> Units {
        self.lock().units.clone()
    }

    /// Takes the units until now, and counts anew.
    #[must_use]
    pub fn take_units(&self) -> Units {
        std::mem::take(&mut self.lock().units)
    }

    /// Number of times that each kind of trouble was played.
    #[must_use]
    pub fn played(&self) -> BTreeMap<Kind, u64> {
        self.lock().played.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Play> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = read(&request)?;
        let (there, on_the_wire, back, time_out) = {
            let mut play = self.lock();
            (play.way(), play.on_the_wire(), play.way(), play.trouble.time_out)
        };
        pause(there).await;
        if on_the_wire == OnTheWire::RequestLost {
            pause(time_out).await;
            return Err(timed_out());
        }
        let mut answer = refusals::server_error();
        if on_the_wire != OnTheWire::FailsBefore {
            let reply = self.lock().answer(&request, Instant::now());
            let Reply { answer: of_dynamodb, after } = reply;
            pause(after).await;
            if on_the_wire != OnTheWire::FailsAfter {
                answer = of_dynamodb;
            }
        }
        if on_the_wire == OnTheWire::AnswerLost {
            pause(time_out).await;
            return Err(timed_out());
        }
        pause(back).await;
        response(answer)
    }
}

impl fmt::Debug for TroubledDynamoDb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TroubledDynamoDb")
    }
}

impl HttpClient for TroubledDynamoDb {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for TroubledDynamoDb {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().exchange(request))
    }
}

/// Even a sleep of no time lets other tasks run first, so no time means no sleep.
async fn pause(time: std::time::Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

fn read(request: &HttpRequest) -> Result<Request, ConnectorError> {
    let target = request.headers().get("x-amz-target").unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or(target);
    let body = request.body().bytes().unwrap_or_default();
    let body = serde_json::from_slice(body).map_err(|error| ConnectorError::user(error.into()))?;
    Ok(Request::new(operation, body))
}

fn response(answer: DynamoDbAnswer) -> Result<HttpResponse, ConnectorError> {
    let status = answer.status.try_into().map_err(|error| ConnectorError::other(Box::new(error), None))?;
    let mut response = HttpResponse::new(status, answer.body.into());
    response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
    Ok(response)
}

fn timed_out() -> ConnectorError {
    ConnectorError::timeout("no answer came within the time-out".into())
}
