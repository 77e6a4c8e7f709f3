//! The addresses in pages. Every link, form and redirect of a page is made here, below the base
//! path that a reverse proxy may add.

use std::fmt::Write as _;
use std::sync::Arc;

/// The path below which a reverse proxy serves this server, such as `/tide`. Empty: the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasePath(Arc<str>);

impl BasePath {
    /// Creates the base path from a checked text: empty, or `/` and a path without a `/` at the
    /// end.
    pub fn new(path: &str) -> Self {
        Self(path.into())
    }

    pub(in crate::http) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the rest of a request's path below the base path; `None` if the path is elsewhere.
    pub(in crate::http) fn below<'p>(&self, path: &'p str) -> Option<&'p str> {
        if self.0.is_empty() {
            return None;
        }
        let rest = path.strip_prefix(&*self.0)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }
}

/// The maker of addresses. Names and ids are percent-encoded.
#[derive(Clone, Debug)]
pub(super) struct Links(pub(super) BasePath);

impl Links {
    /// Returns the address of a fixed path, which begins with `/`.
    pub(super) fn to(&self, path: &str) -> String {
        format!("{}{path}", self.0.as_str())
    }

    pub(super) fn jobs(&self) -> String {
        self.to("/jobs")
    }

    pub(super) fn schedules(&self) -> String {
        self.to("/schedules")
    }

    pub(super) fn definitions(&self) -> String {
        self.to("/definitions")
    }

    pub(super) fn forecast(&self) -> String {
        self.to("/forecast")
    }

    pub(super) fn new_job(&self) -> String {
        self.to("/job")
    }

    pub(super) fn new_schedule(&self) -> String {
        self.to("/schedule")
    }

    pub(super) fn job(&self, id: &str) -> String {
        self.to(&format!("/job/{}", segment(id)))
    }

    pub(super) fn schedule(&self, name: &str) -> String {
        self.to(&format!("/schedule/{}", segment(name)))
    }

    pub(super) fn definition(&self, name: &str) -> String {
        self.to(&format!("/definition/{}", segment(name)))
    }

    /// Returns the address with these query parameters. Parameters with an empty value are left
    /// out.
    pub(super) fn with_query(address: &str, pairs: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        pairs.iter().filter(|(_, value)| !value.is_empty()).for_each(|(name, value)| {
            query.append_pair(name, value);
        });
        match query.finish().as_str() {
            "" => address.to_owned(),
            query => format!("{address}?{query}"),
        }
    }
}

/// Encodes a text as one segment of a path.
fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_as_one_segment() {
        let links = Links(BasePath::new("/tide"));
        assert_eq!(
            links.definition("reg:5000/a b?#<"),
            "/tide/definition/reg%3A5000%2Fa%20b%3F%23%3C"
        );
        assert_eq!(Links(BasePath::default()).job("ab12"), "/job/ab12");
    }

    #[test]
    fn empty_parameters_are_left_out() {
        assert_eq!(
            Links::with_query("/jobs", &[("state", "failed"), ("q", "")]),
            "/jobs?state=failed"
        );
        assert_eq!(Links::with_query("/jobs", &[("q", "a=b&c")]), "/jobs?q=a%3Db%26c");
        assert_eq!(Links::with_query("/jobs", &[("q", "")]), "/jobs");
    }

    #[test]
    fn base_path_is_removed_only_as_whole_segments() {
        let base = BasePath::new("/tide");
        assert_eq!(base.below("/tide/jobs"), Some("/jobs"));
        assert_eq!(base.below("/tide"), Some(""));
        assert_eq!(base.below("/tidetable/jobs"), None);
        assert_eq!(BasePath::default().below("/jobs"), None);
    }
}
