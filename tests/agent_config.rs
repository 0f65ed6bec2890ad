//! `opamp-operator agent-config`, as people run it. That real supervisors take
//! what it prints is shown end to end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use opamp_operator::judge::Judge;
use opamp_operator_api::values::Attributes;
use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_opamp-operator"))
        .arg("agent-config")
        .args(arguments)
        .output()
        .unwrap()
}

/// What it prints, also parsed.
fn printed(arguments: &[&str]) -> (String, Value) {
    let output = run(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let parsed = serde_saphyr::from_str(&text).unwrap();
    (text, parsed)
}

fn refused(arguments: &[&str], part: &str) {
    let output = run(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && output.stdout.is_empty(),
        "{arguments:?}"
    );
    assert!(errors.contains(part), "{part}: {errors}");
}

fn written(folder: &Path, file: &str, selector: &str, opamp: &str) -> String {
    let path = folder.join(file);
    let name = file.trim_end_matches(".yaml");
    let text = format!(
        "apiVersion: opamp-operator.dev/v1alpha1\nkind: OpAMPConnectionProfile\nmetadata: {{name: {name}}}\n\
         spec: {{agentSelector: {selector}, opamp: {opamp}}}\n"
    );
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

const TRUST: &str = "clientCertificate: {source: None}, tls: {caBundleRef: {name: ca}}";
const URL: &str = "wss://opamp.example.com:4320/v1/opamp";

#[test]
fn a_token_comes_from_a_file_unless_the_profile_offers_one() {
    let folder = tempfile::tempdir().unwrap();
    let plain = written(folder.path(), "plain.yaml", "{}", &format!("{{{TRUST}}}"));
    let (text, config) = printed(&[&plain, "--endpoint", URL, "--token-file", "/run/token"]);
    assert_eq!(config["server"]["endpoint"], URL);
    assert_eq!(config["server"]["auth"], "bearertokenauth");
    assert_eq!(
        config["extensions"]["bearertokenauth"]["filename"],
        "/run/token"
    );
    assert_eq!(
        config["server"]["tls"]["ca_file"],
        "/etc/opamp/server-ca.crt"
    );
    assert_eq!(
        config["capabilities"]["accepts_opamp_connection_settings"],
        true
    );
    assert!(
        text.contains("--feature-gates=opampsupervisor.Extensions"),
        "{text}"
    );

    let headers = "headers: [{name: authorization, valueFrom: {secretKeyRef: {name: s, key: k}}}, \
                   {name: X-Tenant, value: a$b}]";
    let offers = written(
        folder.path(),
        "offers.yaml",
        "{}",
        &format!("{{{headers}, {TRUST}}}"),
    );
    let (text, config) = printed(&[&offers, "--endpoint", URL]);
    assert_eq!(config["server"]["auth"], Value::Null);
    assert_eq!(
        config["server"]["headers"]["Authorization"],
        "Bearer ${env:OPAMP_TOKEN}"
    );
    assert_eq!(
        config["server"]["headers"]["X-Tenant"], "a$$b",
        "the supervisor takes $$ for $"
    );
    assert!(
        !text.contains("feature-gates") && text.contains("OPAMP_TOKEN must hold"),
        "{text}"
    );
    refused(
        &[&offers, "--endpoint", URL, "--token-file", "/run/token"],
        "--token-env",
    );
    refused(
        &[&offers, "--endpoint", URL, "--token-env", "A}${env:B"],
        "environment variable",
    );
}

#[test]
fn a_client_certificate_takes_the_place_of_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let trust = "{clientCertificate: {source: None}, tls: {systemCAs: Include}}";
    let file = written(folder.path(), "a.yaml", "{}", trust);
    let (_, config) = printed(&[
        &file,
        "--endpoint",
        URL,
        "--cert-file",
        "/c",
        "--key-file",
        "/k",
    ]);
    let server = &config["server"];
    assert_eq!(
        (&server["auth"], &server["headers"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        server["tls"],
        serde_json::json!({"cert_file": "/c", "key_file": "/k"})
    );
    refused(
        &[&file, "--endpoint", URL, "--cert-file", "/c"],
        "--key-file",
    );
}

#[test]
fn the_endpoint_is_that_of_the_profile_or_else_of_the_operator() {
    let folder = tempfile::tempdir().unwrap();
    let own = "endpoint: https://other.example.com/v1/opamp";
    let with = written(
        folder.path(),
        "with.yaml",
        "{}",
        &format!("{{{own}, {TRUST}}}"),
    );
    let without = written(folder.path(), "without.yaml", "{}", &format!("{{{TRUST}}}"));
    let operator = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/operator.yaml");
    let operator = operator.to_str().unwrap();
    let endpoint = |arguments: &[&str]| printed(arguments).1["server"]["endpoint"].clone();
    assert_eq!(
        endpoint(&[&with, "--config", operator]),
        "https://other.example.com/v1/opamp"
    );
    assert_eq!(
        endpoint(&[&without, "--config", operator]),
        "wss://localhost:4320/v1/opamp"
    );
    assert_eq!(endpoint(&[&with, "--endpoint", URL]), URL);
    refused(&[&without], "--config or --endpoint");
    refused(&[&without, "--endpoint", "ws://localhost/"], "TLS only");
}

/// Its own settings are for the other server, and it is sent there.
#[test]
fn an_agent_that_is_to_leave_comes_to_the_operator_first() {
    let folder = tempfile::tempdir().unwrap();
    let other = "wss://other.example.com/v1/opamp";
    let opamp = format!(
        "{{endpoint: '{other}', servedBy: External, headers: [{{name: X-Other, value: a}}], \
         clientCertificate: {{source: None}}, tls: {{systemCAs: Include}}}}"
    );
    let file = written(folder.path(), "leaving.yaml", "{}", &opamp);
    refused(&[&file], "--endpoint");
    let (text, printed) = printed(&[&file, "--endpoint", URL]);
    assert_eq!(printed["server"]["endpoint"], URL);
    assert_eq!(printed["server"]["headers"]["X-Other"], Value::Null);
    assert_eq!(
        printed["server"]["tls"]["ca_file"],
        "/etc/opamp/server-ca.crt"
    );
    assert!(!text.contains("other"), "{text}");
    // A token from a file would be shown to the other server too.
    assert_eq!(printed["server"]["auth"], Value::Null);
    let token = &printed["server"]["headers"]["Authorization"];
    assert_eq!(token, "Bearer ${env:OPAMP_TOKEN}");
    refused(
        &[&file, "--endpoint", URL, "--token-file", "/token"],
        "--token-env",
    );
}

#[test]
fn telemetry_that_the_profile_offers_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let reports = |telemetry: &str| {
        let opamp = format!("{{endpoint: '{URL}', {TRUST}}}{telemetry}");
        let (_, printed) = printed(&[&written(folder.path(), "own.yaml", "{}", &opamp)]);
        ["metrics", "traces", "logs"].map(|signal| {
            let reports = &printed["capabilities"][format!("reports_own_{signal}")];
            reports.as_bool().unwrap()
        })
    };
    assert_eq!(reports(""), [false; 3]);
    let own = ", ownTelemetry: {metrics: {endpoint: 'https://otlp.example.com/v1/metrics', clientCertificate: {source: None}, \
               tls: {systemCAs: Include}}}";
    assert_eq!(reports(own), [true, false, false]);
}

#[test]
fn the_profile_is_found_or_it_is_said_how_to_name_it() {
    let folder = tempfile::tempdir().unwrap();
    let opamp = format!("{{{TRUST}}}");
    let one = written(folder.path(), "one.yaml", "{}", &opamp);
    let two = written(folder.path(), "two.yaml", "{}", &opamp);
    refused(&[&one, &two, "--endpoint", URL], "say which with --profile");
    for name in ["two", "default/two"] {
        let (text, _) = printed(&[&one, &two, "--endpoint", URL, "--profile", name]);
        assert!(
            text.contains("OpAMPConnectionProfile default/two"),
            "{text}"
        );
    }
    refused(&[&one, "--endpoint", URL, "--profile", "two"], "no such");
    let bad = written(folder.path(), "bad.yaml", "{}", "{tls: {}}");
    refused(&[&bad, "--endpoint", URL], "default/bad is refused: ");
}

/// Whatever a selector asks of attributes the file says, or a person is told.
#[test]
fn the_description_fits_the_selector() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/profiles/accepted");
    let (mut fitting, judge) = (0, Judge::new());
    for entry in fs::read_dir(corpus).unwrap() {
        let file = entry.unwrap().path();
        let document = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let profile = judge.read(document).unwrap();
        let selector = &profile.spec.agent_selector;
        let (text, config) = printed(&[file.to_str().unwrap(), "--endpoint", URL]);
        let part = |name: &str| -> BTreeMap<String, String> {
            let attributes = config["agent"]["description"][name].as_object();
            let attributes = attributes.into_iter().flatten();
            attributes
                .map(|(key, value)| (key.clone(), value.as_str().unwrap().replace("$$", "$")))
                .collect()
        };
        let attributes = Attributes {
            identifying: part("identifying_attributes"),
            non_identifying: part("non_identifying_attributes"),
            ..Attributes::default()
        };
        let uid = selector.instance_uids.first().cloned().unwrap_or_default();
        let fits = selector.matches(&uid, None, &attributes);
        assert!(fits || text.contains("# See to it: "), "{text}");
        fitting += usize::from(fits && selector.reads_attributes());
    }
    assert!(fitting >= 4, "only {fitting} profiles read attributes");
}
