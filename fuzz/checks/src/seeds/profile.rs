//! Manifests of profiles, and of objects that stand for those of the world.

use super::{Seed, cut};
use crate::{profile::SHAPE, world::WORLD};

const MINIMAL: &str = "\
apiVersion: opamp-operator.dev/v1alpha1
kind: OpAMPConnectionProfile
metadata: {name: fleet, namespace: a}
spec:
  agentSelector: {}
  opamp:
    clientCertificate: {source: Secret, secretRef: {name: client}}
    tls: {caBundleRef: {name: bundle}}
";

const FULL: &str = "\
apiVersion: opamp-operator.dev/v1alpha1
kind: OpAMPConnectionProfile
metadata: {name: full, namespace: a, labels: {team: blue}, annotations: {example.com/note: x}}
spec:
  agentSelector:
    matchAttributes: {service.name: otelcol}
    matchExpressions:
      - {key: host.arch, operator: In, values: [amd64, arm64], scope: NonIdentifying}
      - {key: legacy, operator: DoesNotExist, scope: Any}
    instanceUIDs: [01010101-0101-0101-0101-010101010101]
  priority: 100
  paused: false
  opamp:
    endpoint: wss://opamp.example.com:4320/v1/opamp
    compatibility: Universal
    heartbeatIntervalSeconds: 5
    headers:
      - {name: Authorization, valueFrom: {secretKeyRef: {name: token, key: token}, prefix: \"Bearer \"}}
      - {name: X-Tenant, value: blue}
    clientCertificate: {source: Secret, secretRef: {name: client}}
    tls:
      caBundleRef: {kind: Secret, name: bundle, key: both.crt}
      systemCAs: Exclude
      minVersion: \"1.2\"
      cipherSuites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]
    proxy:
      url: https://proxy.example.com:3128
      connectHeaders:
        - {name: Proxy-Authorization, valueFrom: {secretKeyRef: {name: token, key: token}, prefix: \"Basic \"}}
";

#[expect(clippy::too_many_lines, reason = "one list of all that are made")]
pub(super) fn seeds() -> Vec<Seed> {
    let minimal = |from: &str, to: &str| {
        assert!(MINIMAL.contains(from), "{from}");
        MINIMAL.replace(from, to)
    };
    let opamp = |more: &str| minimal("  opamp:\n", &format!("  opamp:\n    {more}\n"));
    let endpoint = |url: &str| opamp(&format!("endpoint: {url}"));
    let header = |more: &str| opamp(&format!("headers: [{{name: Authorization, {more}}}]"));
    let key = |key: &str| {
        let source = format!("secretKeyRef: {{name: token, key: {key}}}, prefix: \"Bearer \"");
        let token = header(&format!("valueFrom: {{{source}}}"));
        token.replace(
            "{source: Secret, secretRef: {name: client}}",
            "{source: None}",
        )
    };
    let strict = |ca: &str| {
        let text = opamp("compatibility: Strict").replace("name: client}", "name: own}");
        let pair = &WORLD.clients[0];
        let entries = [
            ("tls.crt", &*pair.crt),
            ("tls.key", &pair.key),
            ("ca.crt", ca),
        ];
        format!(
            "{text}---\n{}",
            secret("own", "kubernetes.io/tls", &entries)
        )
    };
    let mut seeds = vec![
        ("minimal.yaml", MINIMAL.to_owned()),
        ("full.yaml", FULL.to_owned()),
        ("strict.yaml", strict(&WORLD.client_ca)),
        ("strict-without-ca.yaml", strict("")),
        ("strict-ca-is-no-pem.yaml", strict("hello")),
        ("strict-ca-has-a-key.yaml", strict(&WORLD.clients[1].key)),
        ("https.yaml", endpoint("https://localhost/v1/opamp")),
        ("address.yaml", endpoint("\"wss://[::1]:4320/v1/opamp\"")),
        (
            "address-as-number.yaml",
            endpoint("wss://2130706433/v1/opamp"),
        ),
        (
            "another-host.yaml",
            endpoint("wss://elsewhere.example.com/v1/opamp"),
        ),
        (
            "dots-in-the-path.yaml",
            endpoint("wss://localhost/v1/x/../opamp"),
        ),
        (
            "query.yaml",
            endpoint("wss://localhost/v1/opamp?tenant=a%20b"),
        ),
        ("plaintext.yaml", endpoint("ws://localhost/v1/opamp")),
        ("no-endpoint.yaml", endpoint("\"\"")),
        ("token.yaml", key("token")),
        ("token-with-newline.yaml", key("newline")),
        ("token-weak.yaml", key("weak")),
        ("token-not-ascii.yaml", key("control")),
        ("token-in-the-clear.yaml", header("value: hunter2")),
        (
            "system-cas.yaml",
            minimal("{caBundleRef: {name: bundle}}", "{systemCAs: Include}"),
        ),
        (
            "insecure.yaml",
            key("token").replace(
                "{caBundleRef: {name: bundle}}",
                "{insecureSkipVerify: true}",
            ),
        ),
        (
            "insecure-with-certificate.yaml",
            minimal(
                "{caBundleRef: {name: bundle}}",
                "{insecureSkipVerify: true}",
            ),
        ),
        (
            "bundle-of-another-ca.yaml",
            minimal("{name: bundle}", "{name: bundle, key: next.crt}"),
        ),
        (
            "bundle-with-key.yaml",
            minimal("{name: bundle}", "{name: bundle, key: with-key.pem}"),
        ),
        ("json.json", json()),
        (
            "list.yaml",
            format!("kind: List\nitems:\n- {}", MINIMAL.replace('\n', "\n  ")),
        ),
        ("two.yaml", format!("{MINIMAL}---\n{FULL}---\n{MINIMAL}")),
        (
            "own-token.yaml",
            format!("{}---\n{}", key("token"), own_token()),
        ),
        ("empty", String::new()),
        (
            "nulls.yaml",
            "---\n~\n---\nkind: OpAMPConnectionProfile\nmetadata: ~\n".to_owned(),
        ),
        ("not-yaml", "{[}\t:".to_owned()),
        (
            "name-too-long.yaml",
            minimal("name: fleet", &format!("name: {}", "f".repeat(254))),
        ),
        ("many-laughs.yaml", laughs()),
        ("deep.yaml", format!("spec: {}", "[".repeat(2_000))),
    ];
    for (name, broken) in [
        ("mismatch.yaml", "mismatch"),
        ("expired.yaml", "expired"),
        ("early.yaml", "early"),
        ("temporary.yaml", "temporary"),
        ("server.yaml", "server"),
        ("private.yaml", "private"),
        ("account.yaml", "account"),
        ("forbidden.yaml", "forbidden"),
        ("absent.yaml", "absent"),
    ] {
        seeds.push((name, minimal("name: client}", &format!("name: {broken}}}"))));
    }
    let mut seeds: Vec<_> = seeds
        .into_iter()
        .map(|(name, text)| (name, text.into_bytes()))
        .collect();
    seeds.push(cut("cut.yaml", FULL.as_bytes()));
    seeds.push(("shape-of-zeros", vec![SHAPE; 64]));
    seeds.push(("shape-of-anything", anything(400)));
    seeds
}

fn json() -> String {
    let spec = r#"{"agentSelector":{},"opamp":{"clientCertificate":{"source":"None"},"headers":[{"name":"Authorization","valueFrom":{"secretKeyRef":{"name":"token","key":"next"}}}],"tls":{"caBundleRef":{"name":"bundle"}}}}"#;
    format!(
        r#"{{"apiVersion":"opamp-operator.dev/v1alpha1","kind":"OpAMPConnectionProfile","metadata":{{"name":"j"}},"spec":{spec}}}"#
    )
}

fn secret(name: &str, type_: &str, entries: &[(&str, &str)]) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Secret\ntype: {type_}\nmetadata: {{name: {name}, namespace: a, \
         labels: {{opamp-operator.dev/offerable: \"true\"}}}}\nstringData:\n"
    );
    for (key, value) in entries {
        text.extend(["  ", key, ": ", &format!("{value:?}"), "\n"]);
    }
    text
}

fn own_token() -> String {
    secret(
        "token",
        "Opaque",
        &[("token", "n0t-4-s3cr3t-but-long-enough-for-one")],
    )
}

/// Aliases of aliases: a few lines that are millions.
fn laughs() -> String {
    let mut text = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha]\n".to_owned();
    for level in 1..9 {
        let alias = format!("*a{}, ", level - 1).repeat(8);
        text.extend([format!("a{level}: &a{level} [{alias}]\n")]);
    }
    text
}

/// The same bytes every time, without an order to be seen.
fn anything(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    [SHAPE].into_iter().chain((1..size).map(next)).collect()
}
