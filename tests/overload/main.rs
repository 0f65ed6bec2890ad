//! The server under thousands of connections at once. Files are counted by
//! process, so these tests have one of their own, and run one after another.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of a test end it by panicking"
)]

mod agent;
mod bomb;
mod files;
mod half_open;
mod storm;

#[expect(dead_code, reason = "these tests need a part of it")]
#[path = "../server/world.rs"]
mod world;
