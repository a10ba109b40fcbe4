//! The wire formats of update clients that are in the field already, a file each: what their requests
//! say, and what they are answered. None of them decides anything.

pub mod exosite;
pub mod hawkbit;
pub mod kaa;

/// A route of a dialect as `openapi.yaml` spells it: the method and the path.
pub type DialectRoute = (&'static str, &'static str);
