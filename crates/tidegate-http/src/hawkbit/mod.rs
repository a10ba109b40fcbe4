//! hawkBit's Direct Device Integration: a device polls, follows the links of the answer, and sends feedback.

mod check;
mod report;
pub mod wire;
