//! `GET audit`: who did what, and why.

use serde_json::json;
use tidegate_core::State;
use tidegate_store::PublishStore;

use super::{Answer, Call, PublishService, unavailable};

impl<S: PublishStore> PublishService<S> {
    /// The product's log, oldest first; of one update, with `?version=`.
    pub(crate) async fn audit(&self, call: &Call<'_>) -> Answer {
        let log = self.store.audit_log(&call.product).await.map_err(unavailable)?;
        if log.is_empty() {
            self.must_exist(call).await?;
        }
        let wanted = call.parameter("version");
        let entries = log.iter().filter(|entry| wanted.is_none_or(|version| entry.subject == version)).map(|entry| {
            json!({
                "at": entry.at.to_string(),
                "who": entry.who,
                "action": entry.action,
                "version": entry.subject,
                "from": entry.from.map(State::name),
                "to": entry.to.map(State::name),
                "reason": entry.reason,
            })
        });
        Ok((200, json!({"entries": entries.collect::<Vec<_>>()})))
    }
}
