//! The OpAMP server: accept, handshake, pump. Decides nothing: every message
//! goes through `exchange`, whatever carried it.

mod authenticate;
mod budget;
mod exchange;
mod gateway;
mod http;
mod limits;
mod listen;
mod open_files;
mod room;
mod seldom;
mod shared;
mod standing;
mod subscriptions;
mod tls;
mod ws;

pub use limits::Limits;
pub use listen::{ServeError, Server};
