//! The OpAMP server: accept, handshake, pump. Decides nothing: every message
//! goes through `exchange`, whatever carried it.

mod authenticate;
mod budget;
mod connection;
mod counted;
mod exchange;
mod gateway;
mod heard;
mod http;
mod limits;
mod listen;
mod metrics;
mod open_files;
mod quota;
mod room;
mod seldom;
mod shared;
mod socket;
mod standing;
mod subscriptions;
mod throttle;
mod tls;
mod ws;

pub use limits::Limits;
pub use listen::{ServeError, Server};
pub use metrics::Metrics;
