//! An update in its present state.

use tidegate_core::Version;
use tidegate_core::control_group::ControlGroup;
use tidegate_core::gate::Control;
use tidegate_engine::control::{self, Changed};
use tidegate_store::PublishStore;
use tidegate_store::record::{Audience, Reading, UpdateRecord};
use tidegate_wire::answer::rounded_down;
use tidegate_wire::definition::Definition;
use tidegate_wire::operator::{
    AudienceView, ControlGroupView, DefinitionView, OtherNameView, ReadingView, UpdateList, UpdateView,
};

use super::metrics::metrics;
use super::page::{Asked, fitting};
use super::{Answer, Call, PublishService, ok, refused, respond_to_change};

impl<S: PublishStore> PublishService<S> {
    /// A page of updates, newest version first.
    pub(crate) async fn list(&self, call: &Call<'_>) -> Answer {
        let Asked { limit, after } = call.page()?;
        let (records, next) = self.engine.updates(&call.product, after, limit).await.map_err(refused)?;
        let (items, next) = fitting(records.into_iter().map(|record| (record.name(), view(record))), next);
        ok(&UpdateList { items, next })
    }

    /// One update, with its metrics once it has been activated.
    pub(crate) async fn show(&self, call: &Call<'_>, version: &Version) -> Answer {
        let record = self.engine.update(&call.product, version).await.map_err(refused)?;
        let progress = match record.allocation {
            Some(_) => Some(self.engine.progress(&record, call.now).await.map_err(refused)?),
            None => None,
        };
        let verifying = self.engine.verifying(&record).await.map_err(refused)?;
        ok(&UpdateView { metrics: progress.map(metrics), verifying, ..view(record) })
    }
}

/// The answer to a change: 200 when it is done, 202 with the shards that are left otherwise.
pub(crate) fn changed_view(changed: Changed) -> Answer {
    let Changed { record, shards_left } = changed;
    let shown = UpdateView { shards_left: (shards_left > 0).then_some(shards_left), ..view(record) };
    respond_to_change(shards_left == 0, &shown)
}

/// An update on the wire, without metrics.
pub(crate) fn view(record: UpdateRecord) -> UpdateView {
    let version = record.version.to_string();
    let definition = match Definition::from_store(&record.definition) {
        Ok(definition) => DefinitionView::Readable(Box::new(Definition { version, ..definition })),
        // An unreadable definition must not hide the other updates in a list.
        Err(_) => DefinitionView::Unreadable { unreadable: true, version },
    };
    UpdateView {
        id: record.id,
        product: record.product,
        campaign: record.campaign,
        state: record.state,
        wanted: record.wanted.as_ref().map(|wanted| control::name(&wanted.change).to_string()),
        shards_left: None,
        reason: record.reason,
        generation: record.generation,
        created_at: rounded_down(record.created_at),
        changed_at: rounded_down(record.changed_at),
        definition,
        audience: record.audience.as_ref().map(audience),
        control_group: record.control_group.as_ref().map(|group| control_group(group, record.reading.as_ref())),
        metrics: None,
        verifying: Vec::new(),
    }
}

fn audience(audience: &Audience) -> AudienceView {
    let Audience { size, newcomers, reached, left, asked, refused, ref other_name, at, .. } = *audience;
    let other_name = other_name.as_ref();
    let other_name = other_name.map(|name| OtherNameView { text: name.text.clone(), devices: name.devices });
    AudienceView { size, newcomers, reached, left, asked, refused, other_name, as_of: rounded_down(at) }
}

fn control_group(group: &ControlGroup, reading: Option<&Reading>) -> ControlGroupView {
    let reading = reading.map(|Reading { control: Control { overdue, members }, at }| ReadingView {
        members: *members,
        overdue: *overdue,
        at: rounded_down(*at),
    });
    ControlGroupView {
        from_place: group.from.place(),
        since: rounded_down(group.since),
        is_served: group.is_over,
        reading,
    }
}
