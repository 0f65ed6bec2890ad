//! Words of the pages: what others wrote, times, and how something stands.

use std::fmt;

use askama::{Template, filters::HtmlSafe};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use opamp_operator_api::{
    ConditionType, ProfileKey, Reason,
    agent::{Evidence, SettingsState},
};

/// What others wrote. Characters that are not seen, or that turn what follows
/// around, are shown as what they are; the templates escape the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text(String);

impl<T: AsRef<str>> From<T> for Text {
    fn from(text: T) -> Self {
        let mut shown = String::with_capacity(text.as_ref().len());
        for c in text.as_ref().chars() {
            if is_hidden(c) {
                shown.extend(c.escape_unicode());
            } else {
                shown.push(c);
            }
        }
        Self(shown)
    }
}

impl Text {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Control characters, and those that Unicode has for formats, directions and
/// tags.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Sentences, with what stands between backticks as code.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"{% for (code, text) in parts %}{% if *code %}<code>{{ text }}</code>{% else %}{{ text }}{% endif %}{% endfor %}"#
)]
pub(super) struct Prose {
    parts: Vec<(bool, Text)>,
}

impl HtmlSafe for Prose {}

impl<T: AsRef<str>> From<T> for Prose {
    fn from(text: T) -> Self {
        let mut parts = Vec::new();
        let mut rest = text.as_ref();
        while let Some((before, after)) = rest.split_once('`')
            && let Some((code, after)) = after.split_once('`')
        {
            parts.extend([(false, Text::from(before)), (true, Text::from(code))]);
            rest = after;
        }
        parts.push((false, Text::from(rest)));
        Self { parts }
    }
}

impl Prose {
    pub(super) fn is_empty(&self) -> bool {
        self.parts.iter().all(|(_, text)| text.is_empty())
    }
}

/// A time, and how far away it is.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<time datetime="{{ at }}">{{ shown }}</time>{% if let Some(away) = away %} <span class="away">({{ away }})</span>{% endif %}"#
)]
pub(super) struct When {
    at: String,
    shown: String,
    away: Option<String>,
}

impl HtmlSafe for When {}

/// Only how far away it is: for tables.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<time datetime="{{ when.at }}" title="{{ when.shown }}">{{ when.away.as_deref().unwrap_or("now") }}</time>"#
)]
pub(super) struct Away<'a> {
    when: &'a When,
}

impl HtmlSafe for Away<'_> {}

impl When {
    pub(super) fn away(&self) -> Away<'_> {
        Away { when: self }
    }

    pub(super) fn of(at: Timestamp, now: Timestamp) -> Self {
        Self {
            at: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            shown: at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            away: (at != now).then(|| away(at.as_second() - now.as_second())),
        }
    }
}

/// In words.
fn away(seconds: i64) -> String {
    let (count, unit) = match seconds.unsigned_abs() {
        0 => return "now".into(),
        less @ ..120 => (less, "second"),
        less @ ..7_200 => (less / 60, "minute"),
        less @ ..172_800 => (less / 3_600, "hour"),
        more => (more / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    if seconds > 0 {
        format!("in {count} {unit}{plural}")
    } else {
        format!("{count} {unit}{plural} ago")
    }
}

/// How something stands: a word, a sign and a colour.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<span class="badge {{ tone.0 }}"><span class="sign" aria-hidden="true">{{ tone.1 }}</span>{{ word }}</span>"#
)]
pub(super) struct Badge {
    tone: Tone,
    pub(super) word: Text,
}

impl HtmlSafe for Badge {}

/// A class, and a sign for those who do not see its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tone(&'static str, &'static str);

pub(super) const GOOD: Tone = Tone("good", "✓");
pub(super) const BAD: Tone = Tone("bad", "✕");
pub(super) const WARNING: Tone = Tone("warning", "!");
pub(super) const BUSY: Tone = Tone("busy", "…");
pub(super) const PLAIN: Tone = Tone("plain", "–");

impl Badge {
    pub(super) fn of(tone: Tone, word: impl AsRef<str>) -> Self {
        let word = Text::from(word);
        Self { tone, word }
    }

    pub(super) fn condition(condition: &Condition) -> Self {
        Self::of(tone(condition), &condition.status)
    }

    pub(super) fn state(state: SettingsState) -> Self {
        use SettingsState::{
            Applied, AwaitingProof, Departed, Failed, Lost, Offered, Pending, Switching,
        };
        let (tone, word) = match state {
            Pending => (BUSY, "Pending"),
            Offered => (BUSY, "Offered"),
            Switching => (BUSY, "Switching"),
            Applied => (GOOD, "Applied"),
            Failed => (BAD, "Failed"),
            Lost => (BAD, "Lost"),
            AwaitingProof => (WARNING, "AwaitingProof"),
            Departed => (PLAIN, "Departed"),
        };
        Self::of(tone, word)
    }
}

fn tone(condition: &Condition) -> Tone {
    use ConditionType::{Overlapping, Progressing};
    let reason = Reason::of(&condition.reason);
    let holds = condition.status == "True";
    match (ConditionType::of(&condition.type_), reason) {
        (_, Some(Reason::Paused | Reason::ExpiringSoon | Reason::InsecureAllowed)) => WARNING,
        (_, Some(Reason::RolloutInProgress)) => BUSY,
        (Some(Progressing), Some(Reason::Halted | Reason::AgentsLost)) => BAD,
        (Some(Overlapping | Progressing), _) => PLAIN,
        _ if holds => GOOD,
        _ if condition.status == "False" => BAD,
        _ => WARNING,
    }
}

/// What a state says of an agent.
pub(super) const fn meaning(state: SettingsState) -> &'static str {
    match state {
        SettingsState::Pending => "It will be offered the revision.",
        SettingsState::Offered => "It was offered the revision and has not come back with it yet.",
        SettingsState::Switching => "It went away after the offer and is expected back.",
        SettingsState::Applied => "It proved that it runs the revision.",
        SettingsState::Failed => "It reported that the settings do not work for it.",
        SettingsState::Lost => "It went away after the offer and did not come back in time.",
        SettingsState::AwaitingProof => {
            "It must prove who it is, by more than what it was offered, before it is offered anything."
        }
        SettingsState::Departed => {
            "It went to the server of another, where its profile sends it. Whether it arrived is not seen from here."
        }
    }
}

/// By what an agent proved that it runs its settings.
pub(super) const fn evidence(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::SettingsHeader => "by the header that came with the settings",
        Evidence::ClientCertificate => "by the new client certificate",
        Evidence::Token => "by the new token",
        Evidence::Report => "by its own report",
        Evidence::None => "not at all",
    }
}

/// A profile, and where it is told of.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<a class="code" href="/ui/profiles/{{ key.namespace|urlencode_strict }}/{{ key.name|urlencode_strict }}">{{ shown }}</a>"#
)]
pub(super) struct ProfileLink {
    key: ProfileKey,
    shown: Text,
}

impl HtmlSafe for ProfileLink {}

impl From<&ProfileKey> for ProfileLink {
    fn from(key: &ProfileKey) -> Self {
        Self {
            shown: Text::from(key.to_string()),
            key: key.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_shown() {
        let text = |text: &str| Text::from(text).to_string();
        assert_eq!(text("node-7 ä א 日"), "node-7 ä א 日");
        assert_eq!(text("a\u{202e}b\0\n"), "a\\u{202e}b\\u{0}\\u{a}");
        assert_eq!(
            text("\u{2066}\u{200b}\u{e0041}"),
            "\\u{2066}\\u{200b}\\u{e0041}"
        );
        let badge = Badge::of(GOOD, "<b>\"\u{202e}").to_string();
        assert!(
            badge.ends_with("&#60;b&#62;&#34;\\u{202e}</span>"),
            "{badge}"
        );
    }

    #[test]
    fn what_stands_between_backticks_is_code() {
        let prose = |text: &str| Prose::from(text).to_string();
        assert_eq!(
            prose("a `b<` c `d`"),
            "a <code>b&#60;</code> c <code>d</code>"
        );
        assert_eq!(prose("a ` `b` c`"), "a <code> </code>b<code> c</code>");
        assert_eq!(prose("one ` is none"), "one ` is none");
        assert!(Prose::from("").is_empty());
    }

    #[test]
    fn times_are_told_in_the_largest_unit_that_says_enough() {
        for (seconds, words) in [
            (0, "now"),
            (1, "in 1 second"),
            (-119, "119 seconds ago"),
            (-120, "2 minutes ago"),
            (7_199, "in 119 minutes"),
            (-7_200, "2 hours ago"),
            (172_800, "in 2 days"),
        ] {
            assert_eq!(away(seconds), words);
        }
    }
}
