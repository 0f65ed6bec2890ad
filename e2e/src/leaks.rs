//! Looks for secrets where none may be: raw and in every common disguise.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Lines of a PEM body shorter than this are not told apart from chance.
const SHORTEST: usize = 12;

/// The secrets of a world, in all the forms that are looked for.
#[derive(Default)]
pub struct Leaks {
    needles: Vec<Needle>,
}

struct Needle {
    secret: String,
    form: &'static str,
    text: String,
}

impl std::fmt::Debug for Leaks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Leaks({} needles)", self.needles.len())
    }
}

impl Leaks {
    /// Adds a secret under a name that may be shown.
    pub fn add(&mut self, secret: &str, value: &str) {
        for (form, text) in forms(value) {
            let known = self.needles.iter().any(|needle| needle.text == text);
            if text.len() >= SHORTEST && !known {
                self.needles.push(Needle {
                    secret: secret.to_owned(),
                    form,
                    text,
                });
            }
        }
    }

    /// Looks through all files below `folders` and through `texts`.
    ///
    /// A leak is planted in `scratch` first: a search that does not find it proves nothing.
    ///
    /// # Errors
    /// When something is found (named by secret, form, file and line, never by
    /// value), or the planted leak is not.
    pub fn check(&self, folders: &[&Path], texts: &[(&str, &str)], scratch: &Path) -> Result<()> {
        self.check_planted(scratch)?;
        let mut found = Vec::new();
        for folder in folders {
            self.search_below(folder, &mut found)?;
        }
        for (name, text) in texts {
            self.search(name, text, &mut found);
        }
        if found.is_empty() {
            return Ok(());
        }
        bail!("secrets leaked:\n{}", found.join("\n"));
    }

    fn check_planted(&self, scratch: &Path) -> Result<()> {
        let needle = self.needles.last().context("no secret to look for")?;
        std::fs::create_dir_all(scratch)?;
        let file = scratch.join("planted.log");
        std::fs::write(&file, format!("a line\nthis leaks {}!\n", needle.text))?;
        let mut found = Vec::new();
        let searched = self.search_below(scratch, &mut found);
        std::fs::remove_file(&file)?;
        searched?;
        if found.is_empty() {
            bail!("the leak check did not find the leak that was planted for it");
        }
        Ok(())
    }

    fn search_below(&self, folder: &Path, found: &mut Vec<String>) -> Result<()> {
        for file in files_below(folder)? {
            let bytes = std::fs::read(&file)?;
            let name = file.display().to_string();
            self.search(&name, &String::from_utf8_lossy(&bytes), found);
        }
        Ok(())
    }

    fn search(&self, place: &str, text: &str, found: &mut Vec<String>) {
        for needle in &self.needles {
            if let Some(at) = text.find(&needle.text) {
                let line = text
                    .get(..at)
                    .map_or(0, |before| before.matches('\n').count())
                    + 1;
                let (secret, form) = (&needle.secret, needle.form);
                found.push(format!("  {secret} ({form}) in {place} line {line}"));
            }
        }
    }
}

pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.to_string_lossy().ends_with(".new") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

/// A value in every form in which it may turn up.
fn forms(value: &str) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    if value.contains("-----BEGIN") {
        let lines = value.lines().filter(|line| !line.starts_with("-----"));
        for line in lines {
            all.push(("PEM line", line.to_owned()));
        }
        let body: String = value
            .lines()
            .filter(|line| !line.starts_with("--"))
            .collect();
        all.push(("PEM body", body));
    }
    all.push(("raw", value.to_owned()));
    all.push(("JSON", json_escaped(value)));
    all.push(("hex", hex::encode(value)));
    all.push(("HEX", hex::encode_upper(value)));
    all.push(("URL", url_escaped(value)));
    // The value may stand anywhere inside what was encoded: try all three phases.
    for phase in 0..3 {
        all.push(("base64", inside_base64(&STANDARD_NO_PAD, value, phase)));
        all.push(("base64url", inside_base64(&URL_SAFE_NO_PAD, value, phase)));
    }
    all
}

/// The characters that `value` alone decides, when `phase` bytes stand before it.
fn inside_base64(engine: &impl base64::Engine, value: &str, phase: usize) -> String {
    let padded = [vec![0; phase], value.as_bytes().to_vec()].concat();
    let text = engine.encode(&padded);
    let start = (phase * 8).div_ceil(6);
    let end = padded.len() * 8 / 6;
    text.get(start..end).unwrap_or_default().to_owned()
}

fn json_escaped(value: &str) -> String {
    let quoted = serde_json::Value::String(value.to_owned()).to_string();
    quoted.trim_matches('"').to_owned()
}

fn url_escaped(value: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    fn finds(secret: &str, text: &str) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let mut leaks = Leaks::default();
        leaks.add("secret", secret);
        let error = leaks.check(&[], &[("text", text)], dir.path()).err();
        if let Some(error) = &error {
            assert!(!error.to_string().contains(secret));
        }
        error.is_some()
    }

    #[test]
    fn every_disguise_is_seen_through() {
        let secret = "correct+horse/battery=";
        let encoded = STANDARD.encode(format!("Authorization: Bearer {secret}, x"));
        for text in [
            secret.to_owned(),
            encoded,
            hex::encode(format!("Bearer {secret}")),
            hex::encode_upper(secret),
            "a?t=correct%2Bhorse%2Fbattery%3D".to_owned(),
        ] {
            assert!(finds(secret, &text), "{text}");
        }
        assert!(!finds(secret, "correct horse battery"));
    }

    #[test]
    fn one_line_of_a_key_is_a_leak() {
        let key = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\nabcdefgh12345678\n\
                   -----END PRIVATE KEY-----\n";
        assert!(finds(key, "x abcdefgh12345678 y"));
        assert!(finds(
            key,
            r"-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\nabcd"
        ));
        assert!(!finds(key, "-----BEGIN PRIVATE KEY-----"));
    }

    #[test]
    fn files_are_searched_in_folders_of_folders() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("log"), "token=0123456789abcdef").unwrap();
        let mut leaks = Leaks::default();
        leaks.add("token", "0123456789abcdef");
        let scratch = tempfile::tempdir().unwrap();
        let error = leaks.check(&[dir.path()], &[], scratch.path());
        assert!(error.unwrap_err().to_string().contains("a/b/log line 1"));
    }
}
