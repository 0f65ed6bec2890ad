//! What somebody may have meant who wrote a name that is unknown.

use strsim::osa_distance;

/// How a message names an unknown field, and those that are known.
const UNKNOWN: &str = "unknown field `";
const KNOWN: &str = "`, expected ";

/// A message about an unknown field on one line, with the name that was probably
/// meant; any other message as it is.
pub(super) fn with_nearest(message: String) -> String {
    let line = message.lines().next().unwrap_or_default();
    let parts = line.split_once(UNKNOWN).and_then(|(before, rest)| {
        let (written, known) = rest.split_once(KNOWN)?;
        Some((before, written, known.trim_start_matches("one of ")))
    });
    let Some((before, written, known)) = parts else {
        return message;
    };
    let names = known.split(", ").flat_map(|names| names.split(" or "));
    let names = names.map(|name| name.trim_matches('`'));
    let meant = nearest(written, names).map(|name| format!("is `{name}` meant? "));
    let meant = meant.unwrap_or_default();
    format!("{before}{UNKNOWN}{written}`: {meant}Known are {known}")
}

/// The most similar name, if one is similar.
fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = written.to_lowercase();
    let distance = |name: &str| osa_distance(&lower, &name.to_lowercase());
    let (distance, name) = names.map(|name| (distance(name), name)).min()?;
    (distance <= 1 + written.len() / 4).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_similar_is_found_and_no_other() {
        let names = ["listen", "path", "limits", "watchNamespaces"];
        for (written, found) in [
            ("lisen", Some("listen")),
            ("Path", Some("path")),
            ("limit", Some("limits")),
            ("watchNamespace", Some("watchNamespaces")),
            ("watch_namespaces", Some("watchNamespaces")),
            ("replicas", None),
            ("x", None),
        ] {
            assert_eq!(nearest(written, names.into_iter()), found, "{written}");
        }
    }

    #[test]
    fn a_message_names_what_was_meant() {
        let of = |message: &str| with_nearest(message.to_owned());
        let unknown = "line 4: unknown field `lisen`, expected one of path, listen\n --> 4:1\n";
        let said = "line 4: unknown field `lisen`: is `listen` meant? Known are path, listen";
        assert_eq!(of(unknown), said);
        let unlike = of("unknown field `replicas`, expected `path` or `listen`");
        assert_eq!(
            unlike,
            "unknown field `replicas`: Known are `path` or `listen`"
        );
        assert_eq!(of("missing field `kind`"), "missing field `kind`");
    }
}
