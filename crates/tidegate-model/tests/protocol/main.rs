//! Searches every order of steps of the storage protocol, within bounds, for a broken promise; and shows that the search
//! finds each condition that is missing.
//!
//! `TIDEGATE_MODEL=full` widens the bounds from about a minute to several.

mod holds;
mod model;
mod reached;
mod removed;
mod search;
mod unneeded;
