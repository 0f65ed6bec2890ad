//! `opamp-operator validate`, as people run it: the program, its output and its
//! exit code.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

const SECRET: &str = "hunter2-hunter2";

/// Exit code and output.
fn run(arguments: &[&Path], stdin: &str) -> (i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_opamp-operator"))
        .arg("validate")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(stdin.as_bytes()).unwrap();
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let output_text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), output_text + &errors)
}

fn of_stdin(text: &str) -> (i32, String) {
    run(&[Path::new("-")], text)
}

fn corpus(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/profiles")
        .join(folder);
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn profile(name: &str, opamp: &str) -> String {
    format!(
        "apiVersion: opamp-operator.dev/v1alpha1\nkind: OpAMPConnectionProfile\nmetadata: {{name: {name}}}\n\
         spec: {{agentSelector: {{}}, opamp: {opamp}}}\n"
    )
}

const PLAIN: &str = "{clientCertificate: {source: None}, tls: {caBundleRef: {name: ca}}}";
const MUTUAL: &str =
    "{clientCertificate: {source: Secret, secretRef: {name: tls}}, tls: {caBundleRef: {name: ca}}}";

#[test]
fn the_accepted_of_the_corpus_are_accepted_together() {
    let files = corpus("accepted");
    let (code, output) = run(&files.iter().map(PathBuf::as_path).collect::<Vec<_>>(), "");
    assert_eq!(code, 0, "{output}");
    let counted = format!("{} profiles accepted, 0 refused", files.len());
    assert!(output.contains(&counted), "{output}");
}

#[test]
fn the_refused_of_the_corpus_are_refused_with_file_field_and_reason() {
    let files = corpus("refused");
    let (code, output) = run(&files.iter().map(PathBuf::as_path).collect::<Vec<_>>(), "");
    assert_eq!(code, 1, "{output}");
    let counted = format!("0 profiles accepted, {} refused", files.len());
    assert!(output.contains(&counted), "{output}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let first = text.lines().next().unwrap();
        let (field, part) = first
            .strip_prefix("# refused: ")
            .and_then(|text| text.split_once(": "))
            .unwrap();
        let begin = format!("error: {}:", file.display());
        let field = format!(": {field}: ");
        let said =
            |line: &&str| line.starts_with(&begin) && line.contains(&field) && line.contains(part);
        assert!(
            output.lines().any(|line| said(&line)),
            "{}: {first}",
            file.display()
        );
    }
}

#[test]
fn each_document_of_a_file_is_judged_and_named() {
    let good = profile("good", PLAIN);
    let bad = profile("bad", "{clientCertificate: {source: Nobody}, tls: {}}");
    let other = "kind: Deployment\napiVersion: apps/v1\n";
    let typo = "apiVersion: opamp-operator.dev/v1alpha1\nkind: OpAMPConectionProfile\n";
    let text = format!("{good}---\n{bad}---\n{other}---\n{typo}---\na: [\n");
    let (code, output) = of_stdin(&text);
    assert_eq!(code, 1, "{output}");
    for part in [
        "error: (standard input):6: document 2: default/bad: spec.opamp.clientCertificate.source: ",
        "(standard input):14: document 4: OpAMPConectionProfile: kind: must be OpAMPConnectionProfile",
        "document 5: is not valid YAML at line 1",
        "1 profile accepted, 1 refused; 1 document of other kinds not judged",
    ] {
        assert!(output.contains(part), "{part}\n{output}");
    }
    let (code, output) = of_stdin(&good);
    assert_eq!(code, 0, "{output}");
    let list = format!("{{kind: List, items: [{}]}}", one_line(&bad));
    let (code, output) = of_stdin(&list);
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("default/bad"), "{output}");
}

fn one_line(profile: &str) -> String {
    let value: serde_json::Value = serde_saphyr::from_str(profile).unwrap();
    value.to_string()
}

#[test]
fn what_cannot_be_read_is_told_from_what_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.yaml");
    let (code, output) = run(&[&missing], "");
    assert_eq!(code, 2, "{output}");
    assert!(
        output.contains("missing.yaml: cannot be read: "),
        "{output}"
    );
    let binary = folder.path().join("binary.yaml");
    fs::write(&binary, [0xff, 0xfe]).unwrap();
    let (code, output) = run(&[&binary], "");
    assert_eq!(code, 2, "{output}");
    assert!(output.contains("is not UTF-8 text"), "{output}");
    // Nothing to judge is a mistake of the command line.
    assert_eq!(run(&[], "").0, 2);
    // Of a directory what `run --manifests` would read.
    fs::remove_file(&binary).unwrap();
    fs::write(folder.path().join("notes.txt"), "a: [").unwrap();
    fs::write(folder.path().join("a.yml"), profile("a", PLAIN)).unwrap();
    let (code, output) = run(&[folder.path()], "");
    assert_eq!(
        (code, output.contains("1 profile accepted")),
        (0, true),
        "{output}"
    );
}

/// A self-signed certificate and its key, as a Secret and a ConfigMap hold them.
fn objects(labels: &str, key_of_another: bool) -> String {
    let pair = || rcgen::generate_simple_self_signed(["agent".to_owned()]).unwrap();
    let (own, another) = (pair(), pair());
    let crt = STANDARD.encode(own.cert.pem());
    let signing = if key_of_another { &another } else { &own };
    let key = STANDARD.encode(signing.signing_key.serialize_pem());
    format!(
        "---\nkind: ConfigMap\nmetadata: {{name: ca}}\nbinaryData: {{ca.crt: {crt}}}\n---\nkind: Secret\n\
         metadata: {{name: tls, labels: {{{labels}}}}}\ntype: kubernetes.io/tls\n\
         data: {{tls.crt: {crt}, tls.key: {key}}}\n"
    )
}

#[test]
fn material_that_is_given_is_looked_into() {
    let offerable = "opamp-operator.dev/offerable: \"true\"";
    let profile = profile("fleet", MUTUAL);
    let (code, output) = of_stdin(&format!("{profile}{}", objects(offerable, false)));
    assert_eq!(code, 0, "{output}");
    assert!(!output.contains("note"), "{output}");
    let wrong = [
        (objects("", false), "ResolvedRefs=False/SecretNotOptedIn: "),
        (objects(offerable, true), "ResolvedRefs=False/KeyMismatch: "),
    ];
    for (objects, expected) in wrong {
        let (code, output) = of_stdin(&format!("{profile}{objects}"));
        assert_eq!(code, 1, "{output}");
        assert!(output.contains(expected), "{output}");
        assert!(
            output.contains("0 profiles accepted, 1 refused"),
            "{output}"
        );
    }
    let (code, output) = of_stdin(&profile);
    assert_eq!(code, 0, "{output}");
    let note = "not given: Secret default/tls, ConfigMap default/ca";
    assert!(output.contains(note), "{output}");
}

#[test]
fn law7_no_value_is_repeated() {
    let header = format!("{{name: Authorization, value: {SECRET}}}");
    let bad = profile(
        "bad",
        &format!("{{headers: [{header}], clientCertificate: {{source: {SECRET}}}, tls: {{}}}}"),
    );
    let secret = format!("kind: Secret\nmetadata: {{name: s}}\ndata: {{token: {SECRET}!}}\n");
    let broken = format!("kind: Secret\nstringData: {{token: {SECRET}\n");
    let (code, output) = of_stdin(&format!("{bad}---\n{secret}---\n{broken}"));
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("`data.token` is not base64"), "{output}");
    assert!(!output.contains(SECRET), "{output}");
}

#[test]
fn the_configuration_is_judged_too() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/operator.yaml");
    let (code, output) = run(&[&example], "");
    assert_eq!(code, 0, "{output}");
    let text = fs::read_to_string(example).unwrap();
    let (code, output) = of_stdin(&text.replace("wss://", "ws://"));
    assert_eq!(code, 1, "{output}");
    assert!(
        output.contains("OperatorConfiguration: `advertisedURL` must be"),
        "{output}"
    );
}

#[test]
fn names_cannot_forge_output() {
    let text = "kind: OpAMPConnectionProfile\nmetadata: {name: \"a\\nerror: b\\e[31m\"}\n";
    let (code, output) = of_stdin(text);
    assert_eq!(code, 1, "{output}");
    assert!(
        !output.contains('\u{1b}') && !output.contains("\nerror: b"),
        "{output}"
    );
}

/// `config check` reads one file, and says what it leads to.
#[test]
fn a_configuration_is_checked_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("operator.yaml");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_opamp-operator"))
            .args(["config", "check"])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), said)
    };
    let good = include_str!("../examples/operator.yaml");
    let (code, said) = check(good);
    assert!(
        code == 0 && said.contains("authenticator        bootstrap"),
        "{said}"
    );
    let (code, said) = check(&good.replace("advertisedURL", "advertisedUrl"));
    assert!(
        code == 1 && said.contains("is `advertisedURL` meant?"),
        "{said}"
    );
    fs::remove_file(&file).unwrap();
    let missing = Command::new(env!("CARGO_BIN_EXE_opamp-operator"))
        .args(["config", "check"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(2));
}
