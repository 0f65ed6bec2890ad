//! Rules that several fields share: expression and message.

/// That a URL has scheme, host and port, and then what a regular expression
/// says. User info is let through, since another rule refuses it in words of
/// its own. One expression instead of a URL function, so that every
/// implementation of CEL gives the same verdict.
macro_rules! url_form {
    ($rest:literal) => {
        concat!(
            r#"self.matches("^[a-z]*://([^/?#]*@)?"#,
            r#"([A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_])?|[\\[][0-9A-Fa-f:.]+[\\]])"#,
            r#"(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"#,
            $rest,
            r#"$")"#
        )
    };
}
pub(super) use url_form;

/// An expression and what to say when it does not hold.
pub(super) type Text = (&'static str, &'static str);

pub(super) const UNIQUE_NAMES: Text = (
    "self.all(h, self.exists_one(other, other.name.lowerAscii() == h.name.lowerAscii()))",
    "must have names that are unique without regard to case",
);

pub(super) const VALUE_OR_SOURCE: Text = (
    "has(self.value) != has(self.valueFrom)",
    "must have exactly one of `value` and `valueFrom`",
);

pub(super) const NO_CREDENTIAL_IN_CLEAR: Text = (
    "!(self.name.lowerAscii() in ['authorization', 'cookie', 'proxy-authorization', 'x-api-key']) || !has(self.value)",
    "may not carry a credential in clear text; put it into a Secret and use `valueFrom`",
);

pub(super) const HEADER_NAME: Text = (
    "self.matches('^[-!#$%&*+.^_`|~0-9A-Za-z]+$')",
    "must be an HTTP header name: letters, digits and any of !#$%&*+-.^_`|~",
);

pub(super) const HEADER_VALUE: Text = (
    "self.matches('^[!-~]([ -~]*[!-~])?$')",
    "must be printable ASCII without a space at either end",
);
