//! The OpAMP server: accept, handshake, pump. Decides nothing: every message
//! goes through [`exchange`], whatever carried it.

mod authenticate;
mod exchange;
mod http;
mod limits;
mod listen;
mod shared;
mod tls;
mod ws;

pub use limits::Limits;
pub use listen::{ServeError, Server};
