//! One change of an update, from the wish to the acknowledgement.

use tidegate_core::acknowledged::Acknowledged;
use tidegate_core::lifecycle::Force;
use tidegate_core::{ProductId, State, Transition, Version};
use tidegate_store::record::{Change, UpdateRecord};
use tidegate_store::{PublishStore, StoreError};
use tokio::time::{Instant, sleep};

use super::Operations;
use super::edit::Edit;
use crate::control::{self, Actor, Changed};
use crate::error::{Done, EngineError};

/// Tries of a change when others write the same update or device at the same time.
pub(super) const MOST_TRIES: usize = 4;

/// A change that an operator asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked<'a> {
    /// Another state. The numbers that an operator has seen matter only to a resume.
    Transition(Transition, Acknowledged),
    /// Another rollout.
    Edit(Edit<'a>),
    /// The beginning of a phase on evidence, by its number from 1, and the numbers that an operator has seen.
    Advance(usize, Acknowledged),
}

impl<S: PublishStore> Operations<S> {
    /// Changes an update. Both an edit and a stop go this way.
    pub(super) async fn change(
        &self,
        product: &ProductId,
        version: &Version,
        actor: &Actor,
        asked: Asked<'_>,
    ) -> Done<Changed> {
        let mut is_wanted = false;
        for _ in 0..MOST_TRIES {
            let record = self.update(product, version).await?;
            let (record, change) = match asked {
                Asked::Edit(edit) => edit.of(record)?,
                Asked::Advance(phase, _) if record.advanced.saturating_add(1) >= phase && record.wanted.is_none() => {
                    return Ok(Changed { record, shards_left: 0 });
                }
                Asked::Advance(phase, seen) => self.ready_to_advance(record, phase, &seen).await?,
                Asked::Transition(transition, _) if is_done(&record, transition) => {
                    // Somebody else may have stopped it a moment ago.
                    sleep(self.acknowledged_after).await;
                    return Ok(Changed { record, shards_left: 0 });
                }
                // Another function has finished the opening that this call wanted.
                Asked::Transition(transition, _) if is_wanted && is_in(&record, transition) => {
                    return Ok(Changed { record, shards_left: 0 });
                }
                Asked::Transition(transition, acknowledged) => {
                    let record = self.ready_for(record, transition, &acknowledged, actor.now).await?;
                    (record, Change::Transition(transition))
                }
            };
            let started = Instant::now();
            let opens = change.leads_to(record.state) == State::Active;
            let revision = match change {
                // The wish for it that is under way was written under this rule.
                Change::Transition(Transition::Activate) if record.wanted.is_none() => {
                    Some(self.must_make_no_circle(&record).await?)
                }
                _ => None,
            };
            let wishing = match control::want_at(&self.store, &record, change, actor, revision).await {
                Err(EngineError::Store(StoreError::Conflict)) => {
                    if opens {
                        self.must_not_be_stopped(product).await?;
                    }
                    continue;
                }
                wishing => wishing?,
            };
            is_wanted = true;
            // Nothing is offered yet, unless the rollouts are ended from which a rollback takes devices.
            let was_live = record.state.has_begun();
            let changed = match control::carry_out(&self.store, &wishing, actor.now).await {
                // A stronger change has taken over, or another function finished this one.
                Err(EngineError::Store(StoreError::Conflict)) => match self.overtaken(&wishing, opens, actor).await? {
                    Some(changed) => changed,
                    None => continue,
                },
                // It is wanted, and the service goes on.
                Err(EngineError::Store(StoreError::Contended | StoreError::Unavailable(_))) => unfinished(wishing),
                changed => changed?,
            };
            crate::compile::compile_or_leave_it(&self.store, product).await;
            if was_live && changed.shards_left == 0 && changed.record.state != State::Active {
                // Until then a check-in that began before may still get a URL.
                sleep(self.acknowledged_after.saturating_sub(started.elapsed())).await;
            }
            return Ok(changed);
        }
        match is_wanted {
            true => Ok(unfinished(self.update(product, version).await?)),
            false => Err(StoreError::Conflict.into()),
        }
    }

    /// The result of a change that somebody else finished, and an error if a stronger one replaced it. `None` if it must
    /// be tried again.
    async fn overtaken(&self, wishing: &UpdateRecord, opens: bool, actor: &Actor) -> Done<Option<Changed>> {
        let record = self.update(&wishing.product, &wishing.version).await?;
        let wish = wishing.wanted.as_ref();
        let ours = wish.map_or(0, |wanted| wanted.generation);
        let is_in_force = match wish.map(|wanted| &wanted.change) {
            // Another change may have followed it.
            Some(Change::Edit { definition, .. }) if *definition == record.definition => record.generation >= ours,
            _ => record.generation == ours && record.wanted.is_none(),
        };
        match &record.wanted {
            _ if is_in_force => Ok(Some(Changed { record, shards_left: 0 })),
            Some(wanted) if wanted.generation == ours => {
                if opens && self.settings(&wishing.product).await?.is_stopped {
                    // What is refused must not open later by itself.
                    let _stopped = self.pause(&record, actor).await?;
                    return Err(EngineError::ProductStopped(wishing.product.clone()));
                }
                Ok(None)
            }
            _ => Err(EngineError::Replaced(wishing.version.clone())),
        }
    }

    /// An opening is refused while the whole product is stopped.
    pub(super) async fn must_not_be_stopped(&self, product: &ProductId) -> Done<()> {
        match self.settings(product).await?.is_stopped {
            true => Err(EngineError::ProductStopped(product.clone())),
            false => Ok(()),
        }
    }
}

/// Returns true if an update is stopped in this way already.
fn is_done(record: &UpdateRecord, transition: Transition) -> bool {
    let is_stop = transition.force() > Force::Edit;
    let is_own = transition != Transition::Pause || !record.is_paused_by_stop;
    is_stop && is_own && is_in(record, transition)
}

/// Returns true if an update is in the state to which a transition leads, and nothing else is wanted.
fn is_in(record: &UpdateRecord, transition: Transition) -> bool {
    record.wanted.is_none() && record.state == transition.leads_to()
}

/// A change that is wanted, and of which nobody knows how far it is.
fn unfinished(record: UpdateRecord) -> Changed {
    let shards_left = record.wanted.as_ref().map_or(1, |wanted| wanted.shards.max(1));
    Changed { record, shards_left }
}
