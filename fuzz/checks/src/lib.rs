//! What the fuzz targets check: one function per target, which panics when a
//! property is broken. The fuzzer calls it with inputs of its own, and the
//! replay in `tests/` with the seeds, and with whatever crashed once.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a broken property is a panic: that is how a fuzzer is told"
)]

mod answer;
mod body;
mod frame;
mod go;
mod gzip;
mod handshake;
mod jwt;
mod offer;
mod outline;
mod pem;
mod profile;
pub mod seeds;
mod server;
mod shape;
mod wish;
mod world;

pub use body::body;
pub use frame::frame;
pub use gzip::gzip;
pub use jwt::jwt;
pub use pem::pem;
pub use profile::profile;

/// Judges one input.
pub type Check = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Check)] = &[
    ("body", body),
    ("frame", frame),
    ("gzip", gzip),
    ("jwt", jwt),
    ("pem", pem),
    ("profile", profile),
];
