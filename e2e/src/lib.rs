//! End-to-end harness of opamp-operator.
//!
//! Tests get a [`world::World`]: the real operator, the real `OpAMP` Supervisor
//! with a real collector, a throw-away PKI and a [`tap::Tap`] between them that
//! records what really went over the wire.  Nothing here knows the operator's
//! code; it is judged by its wire, its files and its logs.

pub mod demo;
pub mod eventually;
mod guard;
pub mod leaks;
pub mod manifests;
pub mod operator;
pub mod parts;
pub mod pki;
pub mod process;
pub mod state;
pub mod supervisor;
pub mod tap;
pub mod timeline;
pub mod world;
