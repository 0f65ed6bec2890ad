//! Clients of `OpAMP` in other languages than Go.
//!
//! Each is a folder under `e2e/parts` with a small program of ours, the pins of
//! what it uses, and two scripts: `build` installs all of it into a folder,
//! `run` starts it there. Their tools are not taken for granted: what needs one
//! that is missing is left out of a test run, loudly.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{cache, digest, once, sources_of};
use crate::process::run;

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// `@elastic/opamp-client-node`.
    Node,
    /// `opentelemetry-opamp-client`.
    Python,
    /// `io.opentelemetry.contrib:opentelemetry-opamp-client`.
    Java,
}

/// A program that must be there, and how it says so.
type Tool = [&'static str; 3];

impl Client {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Node, Self::Python, Self::Java];

    /// The part's name, the name of its folder, and its `service.name`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "opamp-client-node",
            Self::Python => "opamp-client-python",
            Self::Java => "opamp-client-java",
        }
    }

    /// How the names of the tests begin that need it.
    #[must_use]
    pub fn tests(self) -> &'static str {
        match self {
            Self::Node => "counterparts::node_",
            Self::Python => "counterparts::python_",
            Self::Java => "counterparts::java_",
        }
    }

    /// The Debian packages of its tools.
    fn packages(self) -> &'static str {
        match self {
            Self::Node => "nodejs npm",
            Self::Python => "python3 python3-venv",
            Self::Java => "default-jdk-headless maven",
        }
    }

    /// What runs it; an installed client is kept for one version of this.
    fn runtime(self) -> Tool {
        match self {
            Self::Node => ["node", "--version", ""],
            Self::Python => [
                "python3",
                "-c",
                "import ensurepip, sys, venv; print(sys.version, sys.base_prefix)",
            ],
            Self::Java => ["java", "--version", ""],
        }
    }

    /// What only installs it.
    fn builders(self) -> &'static [Tool] {
        match self {
            Self::Node => &[["npm", "--version", ""]],
            Self::Python => &[],
            Self::Java => &[["javac", "--version", ""], ["mvn", "--version", ""]],
        }
    }

    /// Why it cannot be built and run on this machine, if it cannot.
    #[must_use]
    pub fn lacks(self) -> Option<String> {
        let mut tools = [self.runtime()].into_iter().chain(self.builders().to_vec());
        let missing = tools.find(|tool| answer(tool).is_err())?;
        let (program, packages) = (missing[0], self.packages());
        Some(format!(
            "`{program}` is missing or incomplete; run as root: apt-get install -y {packages}"
        ))
    }

    /// Installs it, if it is not in the cache yet; returns what starts it.
    ///
    /// # Errors
    /// When a tool is missing or the installation fails.
    pub async fn ensure(self) -> Result<PathBuf> {
        let name = self.name();
        let Ok(version) = answer(&self.runtime()) else {
            bail!("{name}: {}", self.lacks().unwrap_or_default());
        };
        let sources = sources_of(name);
        let key = digest(&sources, &version)?;
        let folder = cache()?.join("parts").join(key);
        let run = folder.join(name).join("run");
        if run.is_file() {
            return Ok(run);
        }
        if let Some(why) = self.lacks() {
            bail!("{name}: {why}");
        }
        let by_hand = format!("cd {} && sh build DIRECTORY", sources.display());
        let install = move || {
            once(name, &folder, &by_hand, |into| {
                std::fs::create_dir(into)?;
                let mut command = Command::new("sh");
                command.arg("build").arg(into).current_dir(sources);
                Ok(command)
            })
        };
        // Blocking: it may wait for another process that installs the same client.
        tokio::task::spawn_blocking(install)
            .await
            .context("the installation panicked")??;
        Ok(run)
    }
}

/// What a tool says of itself.
fn answer(tool: &Tool) -> Result<String> {
    let [program, arguments @ ..] = tool;
    let mut command = Command::new(program);
    command.args(arguments.iter().filter(|argument| !argument.is_empty()));
    run(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The runner installs what [`Client::lacks`] asks for.
    #[test]
    fn the_runner_installs_the_packages_of_every_client() {
        let runner = std::fs::read_to_string(sources_of("../../.ci/run")).unwrap();
        for client in Client::ALL {
            for package in client.packages().split(' ') {
                assert!(runner.contains(package), "{package}");
            }
        }
    }

    /// A name that no test has would leave out nothing.
    #[test]
    fn the_tests_that_may_be_left_out_exist() {
        let tests = std::fs::read_to_string(sources_of("../tests/directory/counterparts.rs"));
        let tests = tests.unwrap();
        for client in Client::ALL {
            let name = client.tests().trim_start_matches("counterparts::");
            assert!(tests.contains(&format!("async fn {name}")), "{name}");
        }
    }

    /// Who installs these packages fetches them from where it is told to.
    #[test]
    fn no_pin_names_a_registry() {
        for (client, file) in [
            (Client::Node, "package-lock.json"),
            (Client::Python, "requirements.txt"),
            (Client::Java, "jars.sha256"),
        ] {
            let pins = std::fs::read_to_string(sources_of(client.name()).join(file)).unwrap();
            for word in ["resolved", "index-url", "registry", "repo"] {
                assert!(!pins.contains(word), "{client:?}: {word}");
            }
        }
    }
}
