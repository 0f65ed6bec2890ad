//! `docs/conditions.md` is what the code's own words make.

#![expect(clippy::unwrap_used, reason = "helpers of a test end it by panicking")]

use std::{fmt::Write as _, fs, path::Path};

use opamp_operator_api::{ConditionStatus, ConditionType, Reason};
use opamp_operator_core::status::{Severity, severity};

const HEAD: &str = "\
# What the conditions of a profile say

`kubectl describe opcp NAME` shows them, with a message that names the objects and agents that are meant. This page is made of the operator's own words (`make generate`); edit `crates/api/src/reason.rs` instead.

| condition | when it is True |
|---|---|
";

const REASONS: &str = "
`Accepted`, `ResolvedRefs` and `CredentialsValid` are judged in this order. One that is False makes those behind it `Unknown` with its own reason, and `Ready` False with its reason and message: `Ready` alone says what is wrong. The last good revision stays in force meanwhile, and nobody is offered anything else. What is wrong with `ownTelemetry` or `otherConnections` is judged apart, and its message begins with that field: the rest of the profile comes into force all the same, nothing behind it becomes `Unknown`, and `Ready` is False for it once no agent lacks its settings for OpAMP. `observedGeneration` is the generation of the spec that a condition speaks about: until the newest is judged and, if it is good, in force, it is an older one.

A reason is also the word of the event that tells of it; where the column *event* is empty there is none. Events count by revision.

| reason | shown as | event | meaning | what to do |
|---|---|---|---|---|
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for kind in ConditionType::ALL {
        writeln!(page, "| `{kind}` | {} |", kind.meaning()).unwrap();
    }
    page.push_str(REASONS);
    for reason in Reason::ALL {
        let shown = reason.shown().iter();
        let shown: Vec<_> = shown
            .map(|(kind, status)| format!("`{kind}={}`", status.as_str()))
            .collect();
        writeln!(
            page,
            "| `{reason}` | {} | {} | {} | {} |",
            shown.join(", "),
            event(*reason),
            reason.meaning(),
            reason.remedy()
        )
        .unwrap();
    }
    page
}

/// How loud the event is that this reason makes when it appears.
fn event(reason: Reason) -> &'static str {
    match severity(reason) {
        Some(Severity::Normal) => "Normal",
        Some(Severity::Warning) => "Warning",
        None => "",
    }
}

#[test]
fn the_page_says_what_the_words_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conditions.md");
    let page = page();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == page,
        "docs/conditions.md is not what the words make; run `make generate`"
    );
}

/// What is False says so in `Ready`, or has a remedy of its own.
#[test]
fn whatever_is_wrong_says_what_to_do() {
    for reason in Reason::ALL {
        let wrong = |(kind, status): &(ConditionType, ConditionStatus)| {
            *kind == ConditionType::Ready && *status != ConditionStatus::True
        };
        if reason.shown().iter().any(wrong) {
            assert!(reason.remedy().len() > "Nothing.".len(), "{reason}");
        }
    }
}

/// Whoever is woken by a reason finds it in the runbook, and every alert of the
/// chart has its section there.
#[test]
fn the_runbook_knows_every_reason_that_is_wrong_and_every_alert() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/runbook.md")).unwrap();
    for reason in Reason::ALL {
        let wrong = reason.shown().iter().any(|(kind, status)| {
            *kind == ConditionType::Ready && *status != ConditionStatus::True
        });
        assert!(!wrong || page.contains(&format!("`{reason}`")), "{reason}");
    }
    for entry in fs::read_dir(root.join("charts/opamp-operator/templates")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        for line in text.lines() {
            if let Some(alert) = line.trim().strip_prefix("- alert: ") {
                assert!(page.contains(&format!("\n## {alert}\n")), "{alert}");
            }
        }
    }
}

/// What other pages say of reasons and conditions is about some that exist.
#[test]
fn other_pages_name_reasons_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/operate.md")).unwrap();
    let mut named = 0;
    for (before, known) in [
        ("condition.reason ~= \"", true),
        ("condition.reason == \"", true),
        ("condition.type == \"", false),
    ] {
        for rest in page.split(before).skip(1) {
            let word = rest.split('"').next().unwrap();
            let exists = if known {
                Reason::of(word).is_some()
            } else {
                ConditionType::of(word).is_some()
            };
            assert!(exists, "{word}");
            named += 1;
        }
    }
    for separator in ["=True/", "=False/"] {
        for rest in page.split(separator).skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric());
            let word = &rest[..end.unwrap_or(rest.len())];
            assert!(Reason::of(word).is_some(), "{word}");
            named += 1;
        }
    }
    assert!(named >= 6, "only {named}");
}
