//! The audit log.

use tidegate_store::PublishStore;
use tidegate_wire::operator::{AuditEntry, AuditLog};

use super::{Answer, Call, PublishService, ok, refused};

impl<S: PublishStore> PublishService<S> {
    /// The product's log, oldest entry first; only about one subject, with `?version=`.
    pub(crate) async fn audit(&self, call: &Call<'_>) -> Answer {
        let log = self.engine.audit(&call.product, call.parameter("version")).await.map_err(refused)?;
        let entries = log.into_iter().map(|entry| AuditEntry {
            at: entry.at,
            who: entry.who,
            action: entry.action,
            version: entry.subject,
            from: entry.from,
            to: entry.to,
            reason: entry.reason,
        });
        ok(&AuditLog { entries: entries.collect() })
    }
}
