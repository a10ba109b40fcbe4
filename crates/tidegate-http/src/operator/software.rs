//! Updates in the words of Kaa's OTA orchestrator.
//!
//! An application is a product. A software is created as a draft; its `rolloutStrategy` is where the update stands,
//! and changing it is a transition. What Kaa does not document, such as the answer to a `PUT`, is ours.

use super::kaa_software::{self, is_same_content, offered_strategy, without_ours};
use serde_json::{Value, json};
use tidegate_core::{State, Transition, Version};
use tidegate_store::PublishStore;
use tidegate_store::record::UpdateRecord;
use tidegate_wire::definition::Definition;
use tidegate_wire::route::PublishRoute;
use tidegate_wire::{ApiError, ErrorCode, body_limits, strict_json};

use super::request as operator;
use super::{Answer, Call, PublishService, parse_version, unavailable};

impl<S: PublishStore> PublishService<S> {
    pub(crate) async fn show_software(&self, call: &Call<'_>, version: &Version) -> Answer {
        Ok((200, shown(&self.find(call, version).await?)))
    }

    pub(crate) async fn list_software(&self, call: &Call<'_>) -> Answer {
        self.must_exist(call).await?;
        let mut records = self.store.updates(&call.product).await.map_err(unavailable)?;
        records.sort_by(|a, b| b.version.cmp_precedence(&a.version));
        Ok((200, records.iter().map(shown).collect()))
    }

    /// Creates a draft as `POST updates` does, whatever the `rolloutStrategy`: who creates does not start.
    pub(crate) async fn create_software(&self, call: &Call<'_>) -> Answer {
        let sent = without_ours(&strict_json::parse(call.body, body_limits::OPERATOR)?);
        let (definition, mut notes) = kaa_software::definition(&sent)?;
        let definition = Definition::from_value(definition, &call.product)?;
        self.write_draft(call, &definition).await?;
        let record = self.find(call, &definition.semver()?).await?;
        let mut body = shown(&record);
        let strategy = sent["rolloutStrategy"].as_str().unwrap_or_default();
        if record.state == State::Draft && strategy != "suspended" {
            notes.push(format!("it is a draft, which nobody is given: PUT it with rolloutStrategy {strategy}"));
        }
        body["notes"].as_array_mut().into_iter().for_each(|all| all.extend(notes.drain(..).map(Value::String)));
        Ok((201, body))
    }

    /// Moves an update to where its `rolloutStrategy` says. Its content must be what it is.
    pub(crate) async fn put_software(&self, call: &Call<'_>, version: &Version) -> Answer {
        let mut sent = without_ours(&strict_json::parse(call.body, body_limits::OPERATOR)?);
        if let Some(fields) = sent.as_object_mut() {
            fields.entry("version").or_insert_with(|| json!(version.to_string()));
        }
        let (definition, _) = kaa_software::definition(&sent)?;
        let definition = Definition::from_value(definition, &call.product)?;
        if definition.semver()? != *version {
            return Err(ApiError::bad_field(format!(
                "version must be {version}, as in the path; got {}",
                definition.semver()?
            )));
        }
        let record = self.find(call, version).await?;
        let strategy = sent["rolloutStrategy"].as_str().unwrap_or_default();
        must_be_the_same(call, &record, &definition, &sent, strategy)?;
        let transition = match (strategy, record.state) {
            ("suspended", State::Active) => Some(Transition::Pause),
            ("suspended", _) | (_, State::Active) => None,
            (_, State::Paused) => Some(Transition::Resume),
            // Over: the refusal says so.
            (_, _) => Some(Transition::Activate),
        };
        if let Some(transition) = transition {
            let reason = format!("rolloutStrategy {strategy}");
            self.make_transition(call, version, transition, reason).await?;
        }
        Ok((200, shown(&self.find(call, version).await?)))
    }

    pub(crate) async fn withdraw_software(&self, call: &Call<'_>, version: &Version) -> Answer {
        let reason = operator::reason(&operator::object(call.body, &["reason"])?)?;
        self.make_transition(call, version, Transition::Withdraw, reason).await?;
        Ok((200, shown(&self.find(call, version).await?)))
    }
}

/// A software is the stored update when it makes the same definition, or when it is what we show of it. The latter
/// lets rollout knobs stand that a software cannot say; it must not call a targeted roll-out general.
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
    let edit = PublishRoute::EditUpdate.route();
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

fn shown(record: &UpdateRecord) -> Value {
    let stored = stored(record);
    let mut software = kaa_software::shown(&stored, record.state, &record.product);
    software["version"] = json!(record.version.to_string());
    software
}

/// A definition that cannot be read must not hide the others in a list.
fn stored(record: &UpdateRecord) -> Value {
    serde_json::from_str(&record.definition).unwrap_or_default()
}
