//! The server on loopback TLS, from outside. Names carry the ids of the
//! requirement rows and the numbers of the laws.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of a test end it by panicking"
)]

mod connections;
mod denied;
mod h2;
mod identity;
mod large;
mod leaving;
mod offers;
mod peer;
mod probe;
mod quotas;
mod reviews;
mod rows;
mod slow;
mod standing;
mod throttle;
mod tls;
mod transports;
mod wakes;
mod world;
