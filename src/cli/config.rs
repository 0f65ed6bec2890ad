//! `opamp-operator config check`: what a configuration leads to.

use std::{fmt::Write as _, io::Read as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Subcommand;
use opamp_operator_core::catalog::SourceKind;

use crate::{
    app,
    config::{Authentication, Config},
    telemetry::traces::Traces,
};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Judges a configuration as `run` would, and says what it leads to.
    ///
    /// Ends with 0 if `run` would take it, 1 if not, 2 if it cannot be read.
    #[command(about = "Judges a configuration as run would, and says what it leads to")]
    Check {
        /// A file with `kind: OperatorConfiguration`; `-` is standard input.
        #[arg(
            value_name = "FILE",
            help = "A file with kind: OperatorConfiguration; - is standard input"
        )]
        file: PathBuf,
        /// As for `run --manifests`.
        #[arg(long, help = "As for run --manifests, which has no cluster")]
        without_cluster: bool,
    },
}

impl ConfigCommand {
    /// What there is to say, and the exit code.
    pub(super) fn execute(&self) -> (String, ExitCode) {
        let Self::Check {
            file,
            without_cluster,
        } = self;
        let name = file.display();
        let text = if file.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        } else {
            std::fs::read_to_string(file)
        };
        let text = text.with_context(|| format!("{name} cannot be read"));
        match text.map(|text| judge(&text, !without_cluster)) {
            Ok(Ok(text)) => (format!("{name}: good\n{text}"), ExitCode::SUCCESS),
            Ok(Err(problem)) => (format!("error: {name}: {problem}\n"), ExitCode::FAILURE),
            Err(error) => (format!("error: {error:#}\n"), ExitCode::from(2)),
        }
    }
}

/// What a configuration leads to.
fn judge(text: &str, cluster: bool) -> Result<String, String> {
    let config = Config::parse(text)?;
    let authentication = config.authentication()?;
    if !cluster {
        app::without_cluster(&authentication)?;
    }
    let mut text = String::new();
    let mut say = |what: &str, value: &str| {
        // Writing into a String does not fail.
        let _ = writeln!(text, "  {what:<21}{value}");
    };
    let list = |names: &mut dyn Iterator<Item = &String>| {
        let names: Vec<_> = names.map(String::as_str).collect();
        names.join(", ")
    };
    let serving = config.serving();
    say(
        "agents connect to",
        &format!("{}{}", config.listen, config.path),
    );
    say("and are sent to", config.advertised_url.as_str());
    say(
        "serving certificate",
        &format!("Secret {}/{}", serving.namespace, serving.name),
    );
    say("profiles of", &list(&mut config.watch_namespaces().iter()));
    say(
        "for any agent, of",
        &list(&mut config.admin_namespaces().iter()),
    );
    say("agents at home in", &list(&mut authentication.homes.iter()));
    for source in &authentication.authenticators {
        say(
            "authenticator",
            &format!("{} ({})", source.name, kind(&source.kind)),
        );
    }
    if let Some(traces) = config.traces() {
        say("traces go to", traces.endpoint().as_str());
    }
    for note in notes(&config, &authentication) {
        say("note", note);
    }
    Ok(text)
}

fn kind(kind: &SourceKind) -> &'static str {
    match kind {
        SourceKind::AgentToken { .. } => "agentToken",
        SourceKind::ClientCertificate { .. } => "clientCertificate",
        SourceKind::ServiceAccount { .. } => "serviceAccount",
        SourceKind::Jwt { .. } => "jwt",
    }
}

/// What is allowed, and should be meant.
fn notes(config: &Config, authentication: &Authentication) -> Vec<&'static str> {
    let policy = config.settings().policy;
    let all = [
        (
            authentication.authenticators.is_empty(),
            "there are no authenticators: no agent is offered anything",
        ),
        (
            authentication.anonymous.is_some(),
            "strangers may connect and report",
        ),
        (
            policy.insecure_skip_verify,
            "profiles may tell agents not to verify their server",
        ),
        (
            config.traces().is_some_and(Traces::is_plain),
            "traces go in the clear: they name profiles and agents",
        ),
        (
            config.admin.is_none(),
            "there are no probes and no pages: `admin.listen` is not set",
        ),
    ];
    let said = all.into_iter().filter(|(is_so, _)| *is_so);
    said.map(|(_, note)| note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "apiVersion: opamp-operator.dev/v1alpha1\nkind: OperatorConfiguration\nnamespace: ops\n\
        advertisedURL: wss://localhost/v1/opamp\nservingCertificate: {secretName: serving}\n";

    #[test]
    fn a_check_says_what_a_configuration_leads_to() {
        let file = format!(
            "{LEAST}watchNamespaces: [a, b]\nauthenticators: [{{name: cluster, serviceAccount: {{}}}}]\n"
        );
        let said = judge(&file, true).unwrap();
        for line in [
            "agents connect to    0.0.0.0:4320/v1/opamp",
            "serving certificate  Secret ops/serving",
            "profiles of          a, b",
            "for any agent, of    ops",
            "agents at home in    a, b",
            "authenticator        cluster (serviceAccount)",
            "note                 there are no probes",
        ] {
            assert!(said.contains(line), "{line}: {said}");
        }
        assert!(!said.contains("no authenticators"), "{said}");
        let refused = judge(&file, false).unwrap_err();
        assert!(refused.contains("needs a cluster"), "{refused}");
    }

    #[test]
    fn a_check_warns_of_what_should_be_meant() {
        let file = format!(
            "{LEAST}authenticators: []\nanonymous: {{namespace: ops}}\npolicy: {{insecureSkipVerify: true}}\n"
        );
        let said = judge(&file, true).unwrap();
        for note in ["no agent is offered", "strangers", "not to verify"] {
            assert!(said.contains(note), "{note}: {said}");
        }
    }
}
