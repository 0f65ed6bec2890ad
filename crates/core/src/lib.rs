//! Every decision of opamp-operator, as pure functions on values.
//!
//! ```text
//!  objects ─► catalog ─ offer::resolve ─► Revision ─► Target ─► fleet::Agent ─► offer or silence
//!                                                                   │
//!                              status ◄──────── AgentRecord ◄───────┘ evidence
//! ```
//!
//! Nothing here reads a clock, opens a socket or knows Kubernetes' client:
//! [`Now`] is passed in, and every answer that time can change says until when
//! it holds. Which law of the design lives where:
//!
//! | law | module |
//! |---|---|
//! | 1 capability, 5 no loops, 6 evidence | [`fleet`] |
//! | 2 identity before credentials | [`identity`], [`fleet`] |
//! | 3 complete and safe, 4 never a broken credential | [`offer`] |
//! | 7 nothing leaks | types without `Debug` in [`offer`] and [`identity`] |
//! | 8 calm restarts | [`identity::Ledger`], [`fleet`], [`lease`] |
//! | 9 isolation, 10 bounded | [`catalog`], [`fleet`] |

pub mod catalog;
pub mod fleet;
pub mod identity;
pub mod lease;
mod now;
pub mod offer;
pub mod rollout;
pub mod status;

pub(crate) use now::after;
pub use now::{Now, earliest};
