//! Updates in the words of Kaa's OTA orchestrator.
//!
//! An application is a product. A software is created as a draft. Its `rolloutStrategy` is the state of the update, and
//! a change of it is a transition. Kaa documents only the list; the other calls, such as `PUT`, are our interpretation.

use super::kaa_software::{self, is_same_content, offered_strategy, without_ours};
use lambda_http::http::HeaderValue;
use lambda_http::http::header::LINK;
use serde_json::Value;
use tidegate_core::{State, Transition, Version};
use tidegate_engine::EngineError;
use tidegate_engine::control::{self, Changed};
use tidegate_store::PublishStore;
use tidegate_store::record::UpdateRecord;
use tidegate_store::store::Cause;
use tidegate_wire::definition::Definition;
use tidegate_wire::operator::Software;
use tidegate_wire::route::{PublishRoute, percent_encoded};
use tidegate_wire::{ApiError, ErrorCode, body_limits, strict_json};

use super::page::{Asked, fitting};
use super::{Answer, Call, PublishService, ok, refused, respond, respond_to_change};

impl<S: PublishStore> PublishService<S> {
    pub(crate) async fn list_software(&self, call: &Call<'_>) -> Answer {
        let Asked { limit, after } = call.page()?;
        let (records, next) = self.engine.updates(&call.product, after, limit).await.map_err(refused)?;
        // A record that cannot be read must not hide the others.
        let readable = records.iter().filter_map(|record| Some((record.name(), view(record).ok()?)));
        let (items, next) = fitting(readable, next);
        let mut answer = respond(200, &items)?;
        if let Some(next) = next {
            // The format is Kaa's, so its body has no room for this.
            let path = PublishRoute::ListSoftware.route().path(&[("app", call.product.as_str())]);
            let link = format!("<{path}?limit={limit}&after={}>; rel=\"next\"", percent_encoded(&next));
            let link = HeaderValue::try_from(link).map_err(|_| ApiError::unavailable(super::RETRY_AFTER_S))?;
            answer.headers_mut().insert(LINK, link);
        }
        Ok(answer)
    }

    pub(crate) async fn show_software(&self, call: &Call<'_>, version: &Version) -> Answer {
        ok(&view(&self.engine.update(&call.product, version).await.map_err(refused)?)?)
    }

    /// Creates a draft as the operator API does, with any `rolloutStrategy`: a create starts nothing.
    pub(crate) async fn create_software(&self, call: &Call<'_>) -> Answer {
        let sent = without_ours(&strict_json::parse(call.body, body_limits::OPERATOR)?);
        let (definition, notes) = kaa_software::definition(&sent)?;
        let definition = Definition::from_value(definition, &call.product)?;
        self.engine.create(&call.product, &definition, &call.actor(None)?).await.map_err(refused)?;
        let record = self.engine.update(&call.product, &definition.semver()?).await.map_err(refused)?;
        let mut software = view(&record)?;
        software.notes.extend(notes);
        let strategy = sent["rolloutStrategy"].as_str().unwrap_or_default();
        if record.state == State::Draft && strategy != "suspended" {
            let note = format!("it is a draft, which nobody is given: PUT it with rolloutStrategy {strategy}");
            software.notes.push(note);
        }
        respond(201, &software)
    }

    /// Moves an update to the state that its `rolloutStrategy` names. Its content must be unchanged.
    pub(crate) async fn put_software(&self, call: &Call<'_>, version: &Version) -> Answer {
        let mut sent = without_ours(&strict_json::parse(call.body, body_limits::OPERATOR)?);
        if let Some(fields) = sent.as_object_mut() {
            fields.entry("version").or_insert_with(|| version.to_string().into());
        }
        let (definition, _) = kaa_software::definition(&sent)?;
        let definition = Definition::from_value(definition, &call.product)?;
        if definition.semver()? != *version {
            return Err(ApiError::bad_field(format!(
                "version must be {version}, as in the path; got {}",
                definition.semver()?
            )));
        }
        let record = self.engine.update(&call.product, version).await.map_err(refused)?;
        let strategy = sent["rolloutStrategy"].as_str().unwrap_or_default();
        must_be_the_same(call, &record, &definition, &sent, strategy)?;
        let transition = match (strategy, record.state) {
            ("suspended", _) if control::may_open(&record) || record.is_paused_by_stop => Transition::Pause,
            ("suspended", _) | (_, State::Active) => return ok(&view(&record)?),
            (_, State::Paused) => Transition::Resume,
            // A finished update: the engine refuses the transition with the reason.
            (_, _) => Transition::Activate,
        };
        let actor = call.actor(Some(format!("rolloutStrategy {strategy}")))?;
        changed_software(self.engine.transition(&call.product, version, transition, &actor).await.map_err(refused)?)
    }

    pub(crate) async fn withdraw_software(&self, call: &Call<'_>, version: &Version) -> Answer {
        let actor = call.actor_with_reason()?;
        let changed = self.engine.transition(&call.product, version, Transition::Withdraw, &actor).await;
        changed_software(changed.map_err(refused)?)
    }
}

/// The answer to a change of an update, as a software.
fn changed_software(changed: Changed) -> Answer {
    respond_to_change(changed.shards_left == 0, &view(&changed.record)?)
}

/// Checks that a software has the content of the stored update: it gives the same definition, or it equals the software
/// that the service shows. The second case keeps rollout settings that a software cannot express. It must not change a
/// targeted roll-out to a general one.
fn must_be_the_same(
    call: &Call<'_>,
    record: &UpdateRecord,
    definition: &Definition,
    sent: &Value,
    strategy: &str,
) -> Result<(), ApiError> {
    let stored = stored(record);
    let is_as_shown =
        is_same_content(sent, &shown(record)) && ["suspended", offered_strategy(&stored)].contains(&strategy);
    if is_as_shown || record.definition == definition.to_store() {
        return Ok(());
    }
    let (product, version) = (call.product.as_str(), record.version.to_string());
    let edit = PublishRoute::EditCampaign.route();
    let path = edit.path(&[("product", product), ("version", &version)]);
    Err(ApiError::new(
        ErrorCode::ContentImmutable,
        format!(
            "{product} {version} has other content or filters, and only its rolloutStrategy may change here; POST a new \
             version, or {} {path} for the rollout",
            edit.method
        ),
    ))
}

/// An update as a software.
fn view(record: &UpdateRecord) -> Result<Software, ApiError> {
    serde_json::from_value(shown(record)).map_err(|error| {
        tracing::error!(product = %record.product, version = %record.version, %error, "update_unreadable");
        refused(EngineError::UnreadableUpdate { version: record.version.clone(), why: Cause::of(error) })
    })
}

fn shown(record: &UpdateRecord) -> Value {
    let mut software = kaa_software::shown(&stored(record), record.state, &record.product);
    software["version"] = record.version.to_string().into();
    software
}

/// A definition that cannot be read must not hide the others in a list.
fn stored(record: &UpdateRecord) -> Value {
    serde_json::from_str(&record.definition).unwrap_or_default()
}
