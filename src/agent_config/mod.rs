//! `opamp-operator agent-config`: a `supervisor.yaml` for agents that a profile
//! is to select. It holds no secret, only where the agent finds its own.

mod description;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use opamp_operator_api::{
    ProfileKey,
    v1alpha1::{
        OpAMPConnectionProfile,
        profile::{OpAMPSettings, ServedBy, SystemCAs},
    },
};
use serde_json::{Map, Value, json};

use crate::{
    judge::{Judge, shorten},
    manifest::{Input, documents},
};

use description::Description;

/// Where things are on the agent's machine.
#[derive(Clone, Debug, clap::Args)]
pub struct Agent {
    /// On the agent's machine: the CA certificates that verify the operator.
    #[arg(long, value_name = "PATH", default_value = "/etc/opamp/server-ca.crt")]
    pub ca_file: PathBuf,
    /// There: the bootstrap token, in a file that may be renewed
    /// [default: /var/run/secrets/opamp/token].
    #[arg(long, value_name = "PATH", conflicts_with_all = ["token_env", "cert_file"])]
    pub token_file: Option<PathBuf>,
    /// There: the environment variable with the bootstrap token, for profiles
    /// that offer `Authorization`, which a token from a file would override
    /// [default: OPAMP_TOKEN].
    #[arg(long, value_name = "NAME", conflicts_with = "cert_file")]
    pub token_env: Option<String>,
    /// There: a client certificate instead of a token.
    #[arg(long, value_name = "PATH", requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// There: its key.
    #[arg(long, value_name = "PATH", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// There: the collector.
    #[arg(long, value_name = "PATH", default_value = "/usr/local/bin/otelcol")]
    pub executable: PathBuf,
    /// There: the collector's configuration.
    #[arg(long, value_name = "PATH", default_value = "/etc/otelcol/config.yaml")]
    pub collector_config: Vec<PathBuf>,
    /// There: where the supervisor keeps its instance UID.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/lib/otelcol/supervisor"
    )]
    pub storage: PathBuf,
}

/// The extension of the supervisor that reads a token from a file.
const FROM_FILE: &str = "bearertokenauth";

/// The one profile among the files, or the one of a name.
///
/// # Errors
/// If there is none, or several, or it is refused; with what to do.
pub fn find(inputs: &[Input], which: Option<&str>) -> Result<OpAMPConnectionProfile, String> {
    let mut found: Vec<(ProfileKey, Value)> = Vec::new();
    for input in inputs {
        let failed = |problem: &str| format!("{}: {problem}", input.name);
        let text = input.text.as_ref().map_err(|problem| failed(problem))?;
        for document in documents(text) {
            let objects = document
                .into_objects()
                .map_err(|problem| failed(&problem))?;
            let is_profile = |object: &Value| object["kind"] == "OpAMPConnectionProfile";
            found.extend(
                objects
                    .into_iter()
                    .filter(is_profile)
                    .map(|object| (key(&object), object)),
            );
        }
    }
    let named =
        |key: &ProfileKey| which.is_none_or(|which| which == key.name || which == key.to_string());
    let mut chosen: Vec<_> = found.into_iter().filter(|(key, _)| named(key)).collect();
    match (chosen.pop(), chosen.is_empty()) {
        (None, _) => Err(
            "no such OpAMPConnectionProfile is in the files: name the file that holds it".into(),
        ),
        (Some((last, _)), false) => {
            let others: Vec<_> = chosen.iter().map(|(key, _)| key.to_string()).collect();
            let others = others.join(", ");
            Err(format!(
                "several profiles are in the files: say which with --profile ({others}, {last})"
            ))
        }
        (Some((key, object)), true) => Judge::new().read(object).map_err(|refusals| {
            let refusals: Vec<_> = refusals.iter().map(ToString::to_string).collect();
            format!("profile {key} is refused: {}", refusals.join("; "))
        }),
    }
}

fn key(object: &Value) -> ProfileKey {
    let field = |name: &str| object["metadata"][name].as_str().map(shorten);
    let namespace = field("namespace").filter(|namespace| !namespace.is_empty());
    ProfileKey::new(
        namespace.unwrap_or_else(|| opamp_operator_api::values::DEFAULT_NAMESPACE.to_owned()),
        field("name").unwrap_or_default(),
    )
}

/// The text of the file.
///
/// # Errors
/// If no agent could connect with it; with what to do.
pub fn supervisor(
    profile: &OpAMPConnectionProfile,
    endpoint: Option<&url::Url>,
    advertised: Option<&url::Url>,
    agent: &Agent,
) -> Result<String, String> {
    let opamp = &profile.spec.opamp;
    // Where it is sent to, and what it needs there, it learns from the operator.
    let ours = opamp.served_by == ServedBy::Operator;
    let endpoint = endpoint
        .map(url::Url::as_str)
        .or(opamp.endpoint.as_deref().filter(|_| ours))
        .or(advertised.map(url::Url::as_str))
        .ok_or(
            "the profile names no endpoint of the operator: say where that is, with --config or --endpoint",
        )?;
    if !["wss://", "https://"]
        .iter()
        .any(|tls| endpoint.starts_with(tls))
    {
        return Err(format!(
            "{endpoint} is not wss:// or https://: the operator serves TLS only"
        ));
    }
    let description = Description::for_selector(&profile.spec.agent_selector);
    let mut to_do = description.to_do;
    let mut start = "opampsupervisor --config supervisor.yaml".to_owned();
    let mut server = json!({"endpoint": escaped(endpoint)});
    let mut headers = if ours {
        fixed_headers(opamp)
    } else {
        Map::new()
    };
    let mut tls = Map::new();
    if !ours || opamp.tls.system_cas == SystemCAs::Exclude {
        tls.insert("ca_file".into(), path(&agent.ca_file));
    }
    let mut extensions = None;
    if let Some((cert, key)) = agent.cert_file.as_ref().zip(agent.key_file.as_ref()) {
        tls.insert("cert_file".into(), path(cert));
        tls.insert("key_file".into(), path(key));
    } else if let Some(variable) = token_variable(opamp, agent)? {
        let value = format!("Bearer ${{env:{variable}}}");
        headers.insert("Authorization".into(), value.into());
        to_do.push(format!(
            "{variable} must hold the bootstrap token when the supervisor starts"
        ));
    } else {
        let default = || PathBuf::from("/var/run/secrets/opamp/token");
        let file = agent.token_file.clone().unwrap_or_else(default);
        server["auth"] = FROM_FILE.into();
        extensions = Some(json!({FROM_FILE: {"filename": path(&file)}}));
        start += " --feature-gates=opampsupervisor.Extensions";
    }
    if !headers.is_empty() {
        server["headers"] = headers.into();
    }
    if !tls.is_empty() {
        server["tls"] = tls.into();
    }
    let telemetry = profile.spec.own_telemetry.clone().unwrap_or_default();
    let mut file = json!({
        "server": server,
        // Without the first nothing is offered; the last are for the profile's
        // own telemetry.
        "capabilities": {
            "accepts_opamp_connection_settings": true,
            "reports_heartbeat": true,
            "reports_own_metrics": telemetry.metrics.is_some(),
            "reports_own_traces": telemetry.traces.is_some(),
            "reports_own_logs": telemetry.logs.is_some(),
        },
        "storage": {"directory": path(&agent.storage)},
        "agent": {
            "executable": path(&agent.executable),
            "config_files": agent.collector_config.iter().map(|file| path(file)).collect::<Vec<_>>(),
        },
    });
    if !description.attributes.is_empty() {
        file["agent"]["description"] = description.attributes.into();
    }
    if let Some(extensions) = extensions {
        file["extensions"] = extensions;
    }
    let yaml = serde_saphyr::to_string(&file).map_err(|_| "the file cannot be written as YAML")?;
    let key = ProfileKey::from(profile);
    let mut text = format!(
        "# For agents of OpAMPConnectionProfile {key}, by `opamp-operator agent-config`.\n# Start: {start}\n"
    );
    for line in to_do {
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        // Writing into a String does not fail.
        let _ = writeln!(text, "# See to it: {line}");
    }
    Ok(text + &yaml)
}

/// The variable with the token, if that is not to come from a file.
fn token_variable(opamp: &OpAMPSettings, agent: &Agent) -> Result<Option<String>, String> {
    let offered = opamp
        .headers
        .iter()
        .any(|header| header.name.eq_ignore_ascii_case("authorization"));
    // What a supervisor reads from a file it shows to every server, whatever it
    // is offered; what stands in its headers, offered ones replace.
    let leaves = opamp.served_by == ServedBy::External;
    match (&agent.token_env, &agent.token_file) {
        (Some(name), _) => {
            let mut letters = name.chars();
            let begins = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
            if !begins || !letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err("--token-env must be the name of an environment variable: letters, digits and `_`".into());
            }
            Ok(Some(name.clone()))
        }
        (None, Some(_)) if leaves => Err(
            "the profile sends its agents to the server of another (`servedBy: External`), which would be shown the \
             token from a file as well: use --token-env, or a certificate, instead of --token-file"
                .into(),
        ),
        (None, Some(_)) if offered => Err(
            "the profile offers `Authorization`, and a supervisor's token from a file overrides what it is offered: \
             use --token-env instead of --token-file"
                .into(),
        ),
        (None, None) if offered || leaves => Ok(Some("OPAMP_TOKEN".into())),
        (None, _) => Ok(None),
    }
}

/// What the profile writes out; the rest comes with the first offer.
fn fixed_headers(opamp: &OpAMPSettings) -> Map<String, Value> {
    let fixed = opamp.headers.iter();
    fixed
        .filter_map(|header| {
            let value = header.value.as_ref()?;
            Some((header.name.clone(), escaped(value)))
        })
        .collect()
}

fn path(path: &Path) -> Value {
    escaped(&path.to_string_lossy())
}

/// The supervisor expands `${…}`, and takes `$$` for `$`.
fn escaped(text: &str) -> Value {
    text.replace('$', "$$").into()
}
