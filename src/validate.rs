//! `opamp-operator validate`: judges files as an API server would, and looks
//! into the Secrets and ConfigMaps that are among them.
//!
//! No value is ever repeated: it may be a credential.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use opamp_operator_api::{
    GROUP, ObjectRef, ProfileKey, v1alpha1::OpAMPConnectionProfileSpec, values::DEFAULT_NAMESPACE,
};
use opamp_operator_core::{
    Now,
    catalog::Settings,
    offer::{Observed, preview, references},
};
use serde_json::Value;

use crate::{
    backend::directory::{Found, LeftOut},
    config::Config,
    judge::{Judge, shorten},
    manifest::{Document, Input, documents},
};

/// For profiles without an endpoint: only that it is TLS matters here.
const SOME_OPERATOR: &str = "wss://localhost/v1/opamp";

/// Something to say, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// Which of its documents, and the line on which that begins.
    pub document: Option<(usize, usize)>,
    /// The object, the field, and what is wrong with it.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.document {
            Some((number, line)) => {
                write!(f, "{}:{line}: document {number}: {}", self.file, self.text)
            }
            None => write!(f, "{}: {}", self.file, self.text),
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What an API server, or this operator, would refuse.
    pub refusals: Vec<Finding>,
    /// Files that could not be read.
    pub unread: Vec<Finding>,
    /// What is no reason to refuse anything.
    pub notes: Vec<Finding>,
    /// Profiles that pass.
    pub accepted: usize,
    /// Profiles that do not.
    pub refused: usize,
    /// Documents of kinds that are not judged.
    pub others: usize,
}

/// A profile that passes the rules, and where it stands.
struct Accepted {
    place: Finding,
    key: ProfileKey,
    spec: OpAMPConnectionProfileSpec,
}

/// Judges files. Everything in them is read before any material is looked at,
/// whatever the order of the files. Without a configuration the first among
/// them tells what the operator's policy allows.
#[must_use]
pub fn validate(inputs: &[Input], config: Option<&Config>, wall: Timestamp) -> Verdict {
    let mut validator = Validator {
        judge: Judge::new(),
        config: config.cloned(),
        verdict: Verdict::default(),
        found: Found::default(),
        accepted: Vec::new(),
        places: BTreeMap::new(),
    };
    for input in inputs {
        match &input.text {
            Ok(text) => documents(text)
                .into_iter()
                .for_each(|document| validator.document(&input.name, document)),
            Err(problem) => validator.verdict.unread.push(Finding {
                file: input.name.clone(),
                document: None,
                text: problem.clone(),
            }),
        }
    }
    validator.look_into_objects(wall)
}

struct Validator {
    judge: Judge,
    config: Option<Config>,
    verdict: Verdict,
    found: Found,
    accepted: Vec<Accepted>,
    places: BTreeMap<ProfileKey, String>,
}

impl Validator {
    fn document(&mut self, file: &str, document: Document<'_>) {
        let mut place = Finding {
            file: file.to_owned(),
            document: Some((document.number, document.line)),
            text: String::new(),
        };
        let objects = match document.objects {
            Ok(objects) => objects,
            Err(line) => {
                place.text = format!("is not valid YAML at line {line}");
                self.verdict.refusals.push(place);
                return;
            }
        };
        for object in objects {
            self.object(&place, document.text, object);
        }
    }

    fn object(&mut self, place: &Finding, text: &str, object: Value) {
        let field = |name: &str| object[name].as_str().unwrap_or_default();
        let is_ours = field("apiVersion").split('/').next() == Some(GROUP);
        match field("kind") {
            "OpAMPConnectionProfile" => self.profile(place, object),
            "Secret" | "ConfigMap" => match self.found.add(&object) {
                Ok(()) => {}
                Err(LeftOut::Broken(problem)) => self.refuse(place, problem),
                Err(LeftOut::Twice(problem)) => self.note(place, problem),
            },
            "OperatorConfiguration" if is_ours => match Config::parse(text) {
                Ok(config) => {
                    self.config.get_or_insert(config);
                }
                Err(problem) => self.refuse(place, format!("OperatorConfiguration: {problem}")),
            },
            // The operator writes these, nobody else.
            "OpAMPAgent" if is_ours => self.verdict.others += 1,
            "" => self.refuse(place, "kind: must be set".into()),
            kind if is_ours => {
                let known =
                    "must be OpAMPConnectionProfile: there is no other kind to write in this group";
                let text = format!("{}: kind: {known}", shorten(kind));
                self.refuse(place, text);
            }
            _ => self.verdict.others += 1,
        }
    }

    fn profile(&mut self, place: &Finding, object: Value) {
        let name = |field: &str| object["metadata"][field].as_str().map(shorten);
        let namespace = name("namespace").filter(|namespace| !namespace.is_empty());
        let key = ProfileKey::new(
            namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            name("name").unwrap_or_else(|| "(no name)".into()),
        );
        match self.judge.read(object) {
            Ok(profile) => {
                self.verdict.accepted += 1;
                let key = ProfileKey::from(&profile);
                let line = place.document.map_or(1, |(_, line)| line);
                let here = format!("{}:{line}", place.file);
                if let Some(there) = self.places.insert(key.clone(), here) {
                    self.note(place, format!("{key} also stands in {there}"));
                }
                self.accepted.push(Accepted {
                    place: place.clone(),
                    key,
                    spec: profile.spec,
                });
            }
            Err(refusals) => {
                self.verdict.refused += 1;
                for refusal in refusals {
                    self.refuse(place, format!("{key}: {refusal}"));
                }
            }
        }
    }

    /// Profiles are tried with their objects, as far as these are given.
    fn look_into_objects(mut self, wall: Timestamp) -> Verdict {
        let now = Now {
            wall,
            uptime: Duration::ZERO,
        };
        let given = self.found.objects.iter();
        let objects: BTreeMap<_, _> = given
            .map(|(name, object)| (name, Observed::Present(Arc::clone(object))))
            .collect();
        static PENDING: Observed = Observed::Pending;
        let config = self.config.as_ref();
        let url = config.map_or_else(
            || url::Url::parse(SOME_OPERATOR),
            |config| Ok(config.advertised_url.clone()),
        );
        let Ok(url) = url else {
            return self.verdict;
        };
        let settings = config.map(Config::settings);
        for accepted in &self.accepted {
            let Accepted { place, key, spec } = accepted;
            let say = |text| Finding {
                text,
                ..place.clone()
            };
            let forbidden = settings.as_ref();
            let forbidden = forbidden.and_then(|settings| settings.forbids(&key.namespace, spec));
            let observe = |name: &ObjectRef| objects.get(name).unwrap_or(&PENDING);
            let refusals = match forbidden {
                Some(refusal) => vec![refusal],
                None => preview(key, spec, observe, &url, now),
            };
            if !refusals.is_empty() {
                self.verdict.accepted -= 1;
                self.verdict.refused += 1;
                for refusal in refusals {
                    let text = format!(
                        "{key}: {}=False/{}: {}",
                        refusal.condition, refusal.reason, refusal.message
                    );
                    self.verdict.refusals.push(say(text));
                }
                continue;
            }
            if settings.is_none()
                && Settings::strictest()
                    .forbids(&key.namespace, spec)
                    .is_some()
            {
                let text = format!(
                    "{key}: only the operator's configuration can say whether its policy allows this: give it with \
                     --config"
                );
                self.verdict.notes.push(say(text));
            }
            let names = references(&key.namespace, spec).into_iter();
            let missing = names.filter(|name| !objects.contains_key(name));
            let missing: Vec<_> = missing.map(|name| name.to_string()).collect();
            if !missing.is_empty() {
                let missing = missing.join(", ");
                let text = format!(
                    "{key}: its objects were not looked into, since these were not given: {missing}"
                );
                self.verdict.notes.push(say(text));
            }
        }
        self.verdict
    }

    fn refuse(&mut self, place: &Finding, text: String) {
        let place = place.clone();
        self.verdict.refusals.push(Finding { text, ..place });
    }

    fn note(&mut self, place: &Finding, text: String) {
        let place = place.clone();
        self.verdict.notes.push(Finding { text, ..place });
    }
}

impl Verdict {
    /// 0 if nothing is wrong, 1 if something is refused, 2 if a file could not
    /// be read.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match (self.unread.is_empty(), self.refusals.is_empty()) {
            (false, _) => 2,
            (true, false) => 1,
            (true, true) => 0,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wrong = self.unread.iter().chain(&self.refusals);
        wrong
            .map(|finding| ("error", finding))
            .chain(self.notes.iter().map(|finding| ("note", finding)))
            .try_for_each(|(kind, finding)| writeln!(f, "{kind}: {finding}"))?;
        let many = |count, noun| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        write!(
            f,
            "{} accepted, {} refused",
            many(self.accepted, "profile"),
            self.refused
        )?;
        if self.others > 0 {
            let others = many(self.others, "document");
            write!(f, "; {others} of other kinds not judged")?;
        }
        writeln!(f)
    }
}
