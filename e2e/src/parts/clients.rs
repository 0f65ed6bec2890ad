//! Clients of `OpAMP` in other languages than Go.

use std::path::PathBuf;

use anyhow::Result;

use super::foreign::Foreign;

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

impl Client {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Node, Self::Python, Self::Java];

    /// What it is made of.
    #[must_use]
    pub fn part(self) -> Foreign {
        match self {
            Self::Node => Foreign {
                name: "opamp-client-node",
                tests: "counterparts::node_",
                packages: "nodejs npm",
                runtime: ["node", "--version", ""],
                others: &[["npm", "--version", ""]],
            },
            Self::Python => Foreign {
                name: "opamp-client-python",
                tests: "counterparts::python_",
                packages: "python3 python3-venv",
                runtime: [
                    "python3",
                    "-c",
                    "import ensurepip, sys, venv; print(sys.version, sys.base_prefix)",
                ],
                others: &[],
            },
            Self::Java => Foreign {
                name: "opamp-client-java",
                tests: "counterparts::java_",
                packages: "default-jdk-headless maven",
                runtime: ["java", "--version", ""],
                others: &[["javac", "--version", ""], ["mvn", "--version", ""]],
            },
        }
    }

    /// The part's name, the name of its folder, and its `service.name`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.part().name
    }

    /// Installs it, if it is not in the cache yet; returns what starts it.
    ///
    /// # Errors
    /// When a tool is missing or the installation fails.
    pub async fn ensure(self) -> Result<PathBuf> {
        self.part().ensure().await
    }
}
