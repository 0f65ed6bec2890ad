//! End-to-end harness of opamp-operator.
//!
//! Every test has a [`scene::Scene`]: the real operator, the real `OpAMP`
//! Supervisor with a real collector, a throw-away PKI and a [`tap::Tap`] between
//! them that records what really went over the wire.  Around it is a
//! [`world::World`] with a directory of manifests, or a
//! [`cluster::ClusterWorld`] with a real API server.  Nothing here knows the
//! operator's code; it is judged by its wire, what it writes and its logs.

pub mod broken;
pub mod certificates;
pub mod cluster;
pub mod collector;
pub mod counterpart;
pub mod demo;
pub mod double;
pub mod eventually;
pub mod go_server;
mod guard;
pub mod leaks;
pub mod manifests;
pub mod node;
pub mod operator;
pub mod pages;
pub mod panels;
pub mod parts;
pub mod pki;
pub mod process;
pub mod prometheus;
pub mod raw_server;
pub mod receiver;
pub mod scene;
mod setup;
pub mod state;
pub mod steps;
pub mod supervisor;
pub mod tap;
pub mod timeline;
pub mod world;
