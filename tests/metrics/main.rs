//! What is counted: as a scraper sees it, and as the reference says it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of a test end it by panicking"
)]

mod bounds;
mod operator;
mod page;
mod reference;
mod story;
