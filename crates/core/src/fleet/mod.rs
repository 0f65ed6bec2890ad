//! State per agent: what it is, what its connections showed, what it was
//! offered and how we know what it runs.
//!
//! [`Agent`] is the state machine of one instance UID in one home namespace and
//! outlives its connections; a [`Link`] is one connection. Push, timer and
//! change of trust are all [`Agent::refresh`]; everything ends in `decide`.

mod agent;
mod beside;
mod clones;
mod decide;
mod hear;
mod latch;
mod link;
mod polls;
mod record;
mod refresh;
mod settle;
mod weigh;
mod words;

pub use agent::Agent;
pub use decide::Silence;
pub use link::{Link, LinkId};
pub use opamp_operator_api::agent::{Evidence, SettingsState, Transport};
pub use polls::DEFAULT_INTERVAL;
pub use record::{About, AgentRecord, Proved, Transition};
pub use refresh::{Step, Wish};
