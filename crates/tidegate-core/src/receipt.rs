//! Receipt: a decision written out for a person, with every update and every clause of its policy.

use std::fmt;

use jiff::Timestamp;

use crate::catalog::Catalog;
use crate::claim::Claims;
use crate::decide::{Decision, decide_on_all};
use crate::device::Device;
use crate::objection::Objection;
use crate::policy::{Candidate, Clause};
use crate::update::Update;

/// Decision about one update.
#[derive(Debug, Clone)]
pub struct Considered<'a> {
    /// The update.
    pub update: &'a Update,
    /// Objection to the update; `None` for the offered one.
    pub objection: Option<Objection>,
    /// Clauses of its policy, with the device's values.
    pub clauses: Vec<Clause>,
}

/// A decision with all its reasons.
#[derive(Debug, Clone)]
pub struct Receipt<'a> {
    /// The decision.
    pub decision: Decision<'a>,
    /// The considered updates, newest first.
    pub considered: Vec<Considered<'a>>,
    /// Time of the decision.
    pub at: Timestamp,
}

/// Decides as for a check-in, and returns all reasons.
#[must_use]
pub fn explain<'a>(device: &Device, catalog: &'a Catalog, claims: &Claims, at: Timestamp) -> Receipt<'a> {
    let decision = decide_on_all(device, catalog, claims, at);
    let facts = catalog.slots().bind(device);
    let offered = decision.offer.iter().map(|offer| (offer.update, None));
    let considered = decision
        .passed_over
        .iter()
        .map(|(update, objection)| (*update, Some(objection.clone())))
        .chain(offered)
        .map(|(update, objection)| {
            let place = || update.cohort_of(&device.id).place();
            let candidate = Candidate { new_version: &update.version, cohort: &place };
            Considered { update, objection, clauses: update.policy.explain(&facts, &candidate) }
        })
        .collect();
    Receipt { decision, considered, at }
}

impl fmt::Display for Receipt<'_> {
    /// One sentence: `offer 2.0.0; not 3.0.0: it can only be installed over >=2.0.0, …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.decision.offer {
            Some(offer) => write!(f, "offer {}", offer.update.version)?,
            None => write!(f, "nothing")?,
        }
        for (update, objection) in &self.decision.passed_over {
            write!(f, "; not {}: {objection}", update.version)?;
        }
        Ok(())
    }
}
