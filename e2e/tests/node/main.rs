//! Node tier: the operator as people install it, from its image and its chart,
//! and its agents as Pods that really run.
//!
//! Everything is judged from outside: what Helm and kubectl say, what the API
//! says and the logs of the containers.

mod crowd;
mod on_a_node;
mod pages;
mod permissions;
mod story;
