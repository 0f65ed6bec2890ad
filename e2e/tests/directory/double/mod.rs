//! The double of the supervisor: held against the real ones, then used where
//! those cannot be had.

mod bench;
mod connections;
mod hazards;
mod main_job;
mod modelled;
mod modelled_offers;
mod offers;
pub(crate) mod subject;
