//! The double of the supervisor: held against the real ones, then used where
//! those cannot be had.

mod bench;
mod connections;
mod main_job;
mod offers;
mod subject;
