//! The audit log.

use tidegate_store::PublishStore;
use tidegate_store::record;
use tidegate_wire::ApiError;
use tidegate_wire::operator::{AuditEntry, AuditLog, ValueChange};

use super::page::{Asked, fitting};
use super::{Answer, Call, PublishService, ok, refused};

impl<S: PublishStore> PublishService<S> {
    /// A page of the product's log, newest entry first; only about one subject, with `?version=`.
    pub(crate) async fn audit(&self, call: &Call<'_>) -> Answer {
        ok(&self.audit_about(call, call.parameter("version")).await?)
    }

    /// A page of the product's log; only about one subject, if it is given.
    pub(super) async fn audit_about(&self, call: &Call<'_>, subject: Option<&str>) -> Result<AuditLog, ApiError> {
        let Asked { limit, after } = call.page()?;
        let log = self.engine.audit(&call.product, subject, after, limit, call.now).await;
        let (entries, next) = log.map_err(refused)?;
        let (items, next) = fitting(entries.into_iter().map(|entry| (entry.name(), view(entry))), next);
        Ok(AuditLog { items, next })
    }
}

fn view(entry: record::AuditEntry) -> AuditEntry {
    let changes = entry.changes.into_iter();
    AuditEntry {
        at: entry.at,
        who: entry.who,
        action: entry.action,
        version: entry.subject,
        from: entry.from,
        to: entry.to,
        reason: entry.reason,
        changes: changes.map(|record::ValueChange { field, old, new }| ValueChange { field, old, new }).collect(),
    }
}
