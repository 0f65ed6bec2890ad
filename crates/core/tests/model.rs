//! Any interleaving of what agents, people and clocks do keeps the laws, as
//! seen from outside: judged by what was sent.

#[cfg(test)]
#[expect(dead_code, unused_imports, reason = "the laws use the rest of it")]
mod common;

#[cfg(test)]
#[path = "model/agents.rs"]
mod agents;

#[cfg(test)]
#[path = "model/beside.rs"]
mod beside;

#[cfg(test)]
#[path = "model/evidence.rs"]
mod evidence;

#[cfg(test)]
#[path = "model/fleet.rs"]
mod fleet;

#[cfg(test)]
#[path = "model/revisions.rs"]
mod revisions;

#[cfg(test)]
#[path = "model/rollout.rs"]
mod rollout;

#[cfg(test)]
#[path = "model/server.rs"]
mod server;

#[cfg(test)]
#[path = "model/steps.rs"]
mod steps;

#[cfg(test)]
#[path = "model/watch.rs"]
mod watch;

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::*,
        test_runner::{Config, TestCaseError},
    };

    use super::{fleet, rollout, steps};

    fn config() -> Config {
        Config {
            // What it finds becomes a named test of a law.
            failure_persistence: None,
            max_shrink_iters: 20_000,
            ..Config::default()
        }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn any_interleaving_keeps_the_laws(
            admin in any::<bool>(),
            steps in vec(steps::step(), 1..80),
        ) {
            fleet::run(admin, &steps).map_err(TestCaseError::fail)?;
        }

        #[test]
        fn any_rollout_touches_one_first(steps in vec(rollout::step(), 1..80)) {
            rollout::run(&steps).map_err(TestCaseError::fail)?;
        }
    }
}
