//! Parts that are no Go modules: a folder under `e2e/parts` with a small program
//! of ours, the pins of what it uses, and two scripts: `build` installs all of it
//! into a folder, `run` starts it there. Their tools are not taken for granted:
//! what needs one that is missing is left out of a test run, loudly.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::clients::Client;
use super::{cache, digest, once, sources_of};
use crate::process::run;

/// A program that must be there, and how it says so.
pub(super) type Tool = [&'static str; 3];

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Foreign {
    /// Its name, which is also that of its folder.
    pub name: &'static str,
    /// How the names of the tests begin that need it.
    pub tests: &'static str,
    /// The Debian packages of its tools.
    pub(super) packages: &'static str,
    /// What runs it; what is installed is kept for one version of this.
    pub(super) runtime: Tool,
    /// What only installs it, or is started by it.
    pub(super) others: &'static [Tool],
}

/// Walks through the admin port's pages in headless Chromium.
pub const BROWSER: Foreign = Foreign {
    name: "admin-browser",
    tests: "browser::",
    packages: "chromium nodejs npm",
    runtime: ["node", "--version", ""],
    others: &[
        ["npm", "--version", ""],
        ["/usr/bin/chromium", "--version", ""],
    ],
};

impl Foreign {
    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let clients = Client::ALL.map(Client::part);
        clients.into_iter().chain([BROWSER]).collect()
    }

    /// Why it cannot be built and run on this machine, if it cannot.
    #[must_use]
    pub fn lacks(self) -> Option<String> {
        let mut tools = [self.runtime].into_iter().chain(self.others.to_vec());
        let missing = tools.find(|tool| answer(tool).is_err())?;
        let (program, packages) = (missing[0], self.packages);
        Some(format!(
            "`{program}` is missing or incomplete; run as root: apt-get install -y {packages}"
        ))
    }

    /// Installs it, if it is not in the cache yet; returns what starts it.
    ///
    /// # Errors
    /// When a tool is missing or the installation fails.
    pub async fn ensure(self) -> Result<PathBuf> {
        let name = self.name;
        let Ok(version) = answer(&self.runtime) else {
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
        // Blocking: it may wait for another process that installs the same.
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

    /// The runner installs what [`Foreign::lacks`] asks for.
    #[test]
    fn the_runner_installs_the_packages_of_every_part() {
        let runner = std::fs::read_to_string(sources_of("../../.ci/run")).unwrap();
        for part in Foreign::all() {
            for package in part.packages.split(' ') {
                assert!(runner.contains(package), "{package}");
            }
        }
    }

    /// A name that no test has would leave out nothing.
    #[test]
    fn the_tests_that_may_be_left_out_exist() {
        let folder = sources_of("../tests/directory");
        for part in Foreign::all() {
            let (module, name) = part.tests.split_once("::").unwrap();
            let tests = std::fs::read_to_string(folder.join(format!("{module}.rs"))).unwrap();
            assert!(
                tests.contains(&format!("async fn {name}")),
                "{}",
                part.tests
            );
        }
    }

    /// Who installs these packages fetches them from where it is told to.
    #[test]
    fn no_pin_names_a_registry() {
        for (part, file) in [
            (Client::Node.part(), "package-lock.json"),
            (Client::Python.part(), "requirements.txt"),
            (Client::Java.part(), "jars.sha256"),
            (BROWSER, "package-lock.json"),
        ] {
            let pins = std::fs::read_to_string(sources_of(part.name).join(file)).unwrap();
            for word in ["resolved", "index-url", "registry", "repo"] {
                assert!(!pins.contains(word), "{part:?}: {word}");
            }
        }
    }
}
